"""Rules about files: what must not be in them, and that pins and make targets are complete."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from workspace._project import ROOT, packages, project_files

REGISTRIES = [
    *("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "npmjs" + ".com"),
    *("yarnpkg" + ".com", "deb.debian" + ".org", "npmmirror" + ".com", "crates" + ".io"),
]
"""Hosts of package registries: which one is used is the machine's business."""

MACHINE_PATH = re.compile(r"(?<![\w.~:/*-])/(?:root|work|home/\w+|Users/\w+)/")
"""A path that exists on one machine only."""

TARGETS = [
    *("demo", "test", "test-js", "test-browser", "format", "lint", "typecheck", "bench"),
    *("conformance", "clean"),
]


def _texts() -> dict[str, str]:
    texts = {}
    for path in project_files():
        try:
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return texts


def _pins() -> dict[str, str]:
    text = (ROOT / "requirements" / "dev.txt").read_text()
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile("|".join(map(re.escape, REGISTRIES)))
    assert {name: found for name, text in _texts().items() if (found := hosts.findall(text))} == {}


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {name: MACHINE_PATH.findall(text) for name, text in _texts().items()}
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_no_lock_file_with_addresses_is_kept() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in project_files()}
    assert [name for name in names if name.endswith(("uv.lock", "poetry.lock"))] == []
    for name in names:
        if name.endswith("package-lock.json"):
            lock = json.loads((ROOT / name).read_text())
            found = {key: one for key, one in lock["packages"].items() if "resolved" in one}
            # A package of this workspace is "resolved" to its folder.
            assert [key for key, one in found.items() if not one.get("link")] == [], name


def test_pins_are_hashed_and_name_no_address() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        pinned = [line for line in path.read_text().splitlines() if re.match(r"\S", line)]
        assert pinned, path
        assert [line for line in pinned if not re.match(r"^([\w.-]+==|#)", line)] == [], path
        assert "--hash=sha256:" in path.read_text(), path


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ours = {package.name for package in packages()}
    wanted = [Requirement(one) for one in root["dependency-groups"]["dev"]]
    for package in packages():
        project = package.metadata["project"]
        wanted += map(Requirement, project["dependencies"])
        for extra in project.get("optional-dependencies", {}).values():
            wanted += map(Requirement, extra)
    pins = _pins()
    missing = [
        str(one)
        for one in wanted
        if one.name not in ours
        and not SpecifierSet(str(one.specifier)).contains(
            pins.get(canonicalize_name(one.name), "0"), prereleases=True
        )
    ]
    assert missing == [], "run `make pins`"


def test_sibling_packages_are_named_with_the_version_they_need() -> None:
    versions = {package.name: package.metadata["project"]["version"] for package in packages()}
    for package in packages():
        for one in map(Requirement, package.metadata["project"]["dependencies"]):
            if one.name in versions:
                assert one.specifier.contains(versions[one.name]), (package.name, str(one))
                assert str(one.specifier), (package.name, str(one))


@pytest.mark.parametrize("target", TARGETS)
def test_make_lists_every_habit(target: str) -> None:
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert re.search(rf"^  {target}\s+\S", listed, re.MULTILINE)


def test_ci_runs_the_same_targets_as_people() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    steps = re.findall(r"^step make ([\w-]+)", script.read_text(), re.MULTILINE)
    assert steps[0] == "test"
    assert set(steps) >= {
        *("test", "lint", "typecheck", "test-js", "test-browser", "wheels", "conformance"),
    }
