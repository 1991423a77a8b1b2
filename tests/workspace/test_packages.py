"""Every package is complete, and imports only what lies below it."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workspace._project import ROOT, imports_of, packages, project_files

if TYPE_CHECKING:
    from workspace._project import Package

MAY_IMPORT = {
    "durable_transport": set[str](),
    "durable_streams_server": {"durable_transport"},
    "durable_proxy": {"durable_transport", "durable_streams_server"},
    "durable_ai_transport": {"durable_transport"},
    "durable_ai_db": {"durable_transport"},
    "durable_ai_db_proxy": {
        *("durable_transport", "durable_streams_server", "durable_proxy", "durable_ai_db"),
    },
}
"""Which packages of ours a package may import: nothing points upwards."""

CHAT_LIBRARIES = {"openai", "anthropic", "pydantic_ai", "ag_ui"}
NO_CHAT = {"durable_transport", "durable_streams_server", "durable_proxy", "durable_ai_db"}
"""Packages that know no chat protocol."""

MAX_LINES = 500

PARTS = {
    "ag_ui": "ag_ui_protocol",
    "opentelemetry": "opentelemetry_api",
    "pydantic_core": "pydantic",
    "httpcore": "httpx",
    "httpcore2": "httpx2",
}
"""Modules that come with a distribution of another name, which fixes their version."""

each_package = pytest.mark.parametrize("package", packages(), ids=lambda package: package.name)


@each_package
def test_package_has_all_its_files(package: Package) -> None:
    wanted = ["README.md", "CHANGELOG.md", "LICENSE", f"src/{package.module}/py.typed"]
    assert [name for name in wanted if not (package.folder / name).is_file()] == []
    assert (package.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@each_package
def test_metadata_is_fit_to_publish(package: Package) -> None:
    project = package.metadata["project"]
    assert canonicalize_name(package.name) == package.name
    assert package.module == package.name.replace("-", "_")
    assert project["license"] == "Apache-2.0"
    assert project["readme"] == "README.md"
    assert project["requires-python"] == ">=3.11"
    assert project["description"]
    assert "Typing :: Typed" in project["classifiers"]
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)} <= set(
        project["classifiers"]
    )
    assert package.metadata["build-system"]["build-backend"] == "hatchling.build"


@each_package
def test_changelog_names_the_version(package: Package) -> None:
    version = re.escape(package.metadata["project"]["version"])
    changelog = (package.folder / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[?{version}\b", changelog, re.MULTILINE)


@each_package
def test_every_package_configures_no_tool(package: Package) -> None:
    assert set(package.metadata.get("tool", {})) <= {"hatch"}


@each_package
def test_imports_of_our_own_point_downwards(package: Package) -> None:
    ours = set(MAY_IMPORT)
    allowed = MAY_IMPORT[package.module] | {package.module}
    wrong = [
        str(found)
        for module in package.modules
        for found in imports_of(module)
        if (top := found.module.partition(".")[0]) in ours and top not in allowed
    ]
    assert wrong == []


@each_package
def test_packages_use_each_other_only_through_the_front_door(package: Package) -> None:
    private = re.compile(r"^(?!%s\b)durable_\w+\..*\b_" % package.module)  # noqa: UP031
    wrong = [
        str(found)
        for module in package.modules
        for found in imports_of(module)
        if private.match(found.module)
    ]
    assert wrong == []


@each_package
def test_imports_are_declared_dependencies(package: Package) -> None:
    project = package.metadata["project"]
    optional = [one for extra in project.get("optional-dependencies", {}).values() for one in extra]
    declared = {Requirement(one).name for one in project["dependencies"] + optional}
    known = {name.replace("-", "_").lower() for name in declared} | {package.module}
    known |= sys.stdlib_module_names
    wrong = [
        str(found)
        for module in package.modules
        for found in imports_of(module)
        if not found.only_for_types
        and PARTS.get(top := found.module.partition(".")[0], top) not in known
    ]
    assert wrong == []


@each_package
def test_no_chat_protocol_below_the_adapters(package: Package) -> None:
    if package.module in NO_CHAT:
        found = [one for module in package.modules for one in imports_of(module)]
        assert [str(one) for one in found if one.module.partition(".")[0] in CHAT_LIBRARIES] == []


@each_package
def test_public_names_are_importable_and_listed_once(package: Package) -> None:
    for init in package.modules:
        inner = init.relative_to(package.source).parent.parts
        if init.name != "__init__.py" or any(part.startswith("_") for part in inner):
            continue
        name = ".".join((package.module, *inner))
        module = importlib.import_module(name)
        exported = module.__all__
        assert len(exported) == len(set(exported)), name
        assert [one for one in exported if not hasattr(module, one)] == [], name


def test_no_module_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in project_files()
        if path.suffix == ".py"
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
    assert Path(__file__).relative_to(ROOT).as_posix() in lines
