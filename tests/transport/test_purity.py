"""The decisions are pure: no I/O, no clock, no chance, no HTTP library."""

import ast
import sys
from pathlib import Path

import pytest

import durable_transport

ROOT = Path(durable_transport.__file__).parent

IMPURE = {
    "__init__.py",  # gathers the public names
    "httpx.py",
    "_storage.py",
    "_filelock.py",
}
PURE = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.rglob("*.py")
    if path.parent.name != "_shell" and str(path.relative_to(ROOT)) not in IMPURE
)
ALLOWED = {
    "base64", "binascii", "codecs", "collections", "contextvars", "dataclasses", "datetime",
    "email.utils", "enum", "functools", "hashlib", "http", "json", "logging", "re", "types",
    "typing", "urllib.parse", "uuid", "pydantic",
}  # fmt: skip


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_only_what_is_pure(module: str) -> None:
    for name in _imports(ROOT / module):
        if name.partition(".")[0] == "durable_transport":
            assert "_shell" not in name
            assert f"{name.rpartition('.')[2]}.py" not in IMPURE
        else:
            assert (
                name in ALLOWED
                or name.partition(".")[0] in ALLOWED - sys.stdlib_module_names
                or (name == "collections.abc" or name.startswith("pydantic."))
            )


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_make_no_ids_and_read_no_clock(module: str) -> None:
    text = (ROOT / module).read_text()
    for call in ("uuid4(", "uuid1(", ".now(", "time.time", "monotonic()", "open("):
        found = [line for line in text.splitlines() if call in line and "self.now" not in line]
        assert not [line for line in found if "_link.now" not in line and "def " not in line]


def test_the_list_is_not_empty() -> None:
    assert {"_merge.py", "_backoff.py", "_generation.py", "_link.py", "_request.py"} <= set(PURE)
