"""The decisions are pure: no I/O, no clock, no chance, no database, no HTTP library."""

import ast
from pathlib import Path

import pytest

import durable_streams_server
import durable_transport.protocol

ROOT = Path(durable_streams_server.__file__).parent
PROTOCOL = Path(durable_transport.protocol.__file__).parent

PURE = {
    "_access": {"_request"},
    "_answer": {"_errors", "_json_mode", "_model"},
    "_chain": {"_errors", "_json_mode", "_model"},
    "_cursor": set(),
    "_describe": {"_model"},
    "_errors": set(),
    "_glob": {"_path"},
    "_journal": {"_segments"},
    "_json_mode": set(),
    "_model": set(),
    "_path": set(),
    "_plan": {"_model"},
    "_request": {"_json_mode", "_model"},
    "_segments": set(),
    "_sse": {"_json_mode", "_model"},
    "_stats": {"_errors", "_store", "figures"},
    "_store": {"_model", "_plan"},
    "_subscription": {"_wake"},
    "_subscription_answer": {"_answer", "_subscription", "_subscription_request"},
    "_subscription_request": {"_glob", "_path", "_subscription"},
    "_tail": {"_model"},
    "_tokens": set(),
    "_wake": set(),
    "_webhook_policy": {"addresses"},
    "addresses": set(),
    "figures": set(),
}
"""Pure modules, and the modules beside them that each may import."""

STANDARD = {
    "base64", "bisect", "collections", "collections.abc", "dataclasses", "datetime", "enum",
    "functools", "hashlib", "hmac", "http", "ipaddress", "itertools", "json",
    "math", "re", "struct", "typing", "urllib.parse",
}  # fmt: skip
LIBRARIES = {
    "_json_mode": {"pydantic_core"},
    "_store": {"sqlalchemy"},
    "_tail": {"asyncio"},
}
"""JSON is parsed by a library; a store's seam names the type of a connection; a tail hands out
futures, and a future needs no loop to be made."""

IMPURE_CALLS = {"time", "monotonic", "now", "utcnow", "today", "uuid4", "random", "open", "print"}


def _imports(module: str) -> dict[str, set[str]]:
    """Every imported module with the names taken from it, at whatever depth."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name, set())
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.setdefault(node.module or "", set()).update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_imports_only_what_it_may(module: str) -> None:
    ours = {f"durable_streams_server.{name}" for name in PURE[module]}
    allowed = ours | STANDARD | LIBRARIES.get(module, set()) | {"durable_transport.protocol"}
    assert set(_imports(module)) <= allowed


def test_a_pure_module_leans_on_pure_modules_only() -> None:
    assert set().union(*PURE.values()) <= set(PURE)


def test_the_tail_takes_nothing_from_asyncio_but_futures() -> None:
    assert _imports("_tail")["asyncio"] == {"Future"}


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_reads_no_clock_and_throws_no_dice(module: str) -> None:
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_text())):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else None
            name = function.attr if isinstance(function, ast.Attribute) else name
            assert name not in IMPURE_CALLS, f"{module} line {node.lineno} calls {name}"


def test_the_shared_protocol_imports_no_input_or_output() -> None:
    allowed = {*STANDARD, "uuid", "pydantic", "pydantic.alias_generators"}
    for path in PROTOCOL.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                name = node.module or ""
                assert name in allowed or name.startswith("durable_transport.protocol"), path.name
            elif isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed, path.name
