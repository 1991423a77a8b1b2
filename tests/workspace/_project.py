"""The project's own files and what they import, for the tests of the house rules."""

from __future__ import annotations

import ast
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file of the project: what is committed, and what would be."""
    git = shutil.which("git")
    assert git, "git is needed to tell the project's files from generated ones"
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    paths = (ROOT / name for name in sorted(set(listed.split("\0")) - {""}))
    return tuple(path for path in paths if path.is_file())


@dataclass(frozen=True)
class Package:
    """One package of the workspace."""

    folder: Path
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the name it is published under."""
        return str(self.metadata["project"]["name"])

    @property
    def module(self) -> str:
        """Return the name it is imported by."""
        return self.source.name

    @property
    def source(self) -> Path:
        """Return the folder of its modules."""
        (source,) = (path for path in (self.folder / "src").iterdir() if path.is_dir())
        return source

    @property
    def modules(self) -> tuple[Path, ...]:
        """Return all its modules."""
        return tuple(
            path
            for path in project_files()
            if path.is_relative_to(self.source) and path.suffix == ".py"
        )

    def module_file(self, name: str) -> Path:
        """Return the file of a module that is named relative to the package."""
        path = self.source.joinpath(*name.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def packages() -> tuple[Package, ...]:
    """Return every package of the workspace."""
    return tuple(
        Package(path.parent, tomllib.loads(path.read_text()))
        for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))
    )


@dataclass(frozen=True)
class Import:
    """One import statement's module."""

    file: Path
    line: int
    module: str
    only_for_types: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> list[Import]:
    """Return the absolute modules that a file imports anywhere, those only for types marked."""
    found: list[Import] = []
    _collect(ast.parse(file.read_text()), file, found, only_for_types=False)
    return found


def _collect(node: ast.AST, file: Path, found: list[Import], *, only_for_types: bool) -> None:
    match node:
        case ast.Import(names=names):
            found += [Import(file, node.lineno, name.name, only_for_types) for name in names]
        case ast.ImportFrom(module=str(module), level=0):
            found.append(Import(file, node.lineno, module, only_for_types))
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            for statement in node.body:
                _collect(statement, file, found, only_for_types=True)
            for statement in node.orelse:
                _collect(statement, file, found, only_for_types=only_for_types)
        case _:
            for child in ast.iter_child_nodes(node):
                _collect(child, file, found, only_for_types=only_for_types)
