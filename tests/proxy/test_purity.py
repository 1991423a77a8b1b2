"""The modules that only decide, and what they may import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import durable_proxy

SOURCE = Path(durable_proxy.__file__).parent

PURE = {
    "_allowlist.py": {"collections.abc", "dataclasses", "typing"},
    "_answers.py": {"collections.abc", "dataclasses"},
    "_coding.py": {"collections.abc", "typing", "zlib"},
    "_egress.py": {"base64", "dataclasses", "typing", "urllib.parse"},
    "_electric_url.py": {"dataclasses", "urllib.parse"},
    "_errors.py": {"collections.abc", "dataclasses", "types"},
    "_figures.py": {"collections", "durable_streams_server.figures"},
    "_guard.py": {
        *("collections.abc", "dataclasses", "enum", "hashlib", "hmac", "ipaddress", "re"),
        *("typing", "urllib.parse"),
    },
    "_headers.py": {"collections.abc", "re"},
    "_http1.py": {"dataclasses", "httptools"},
    "_http2.py": {
        *("collections.abc", "contextlib", "dataclasses"),
        *("h2.config", "h2.connection", "h2.errors", "h2.events", "h2.exceptions", "h2.settings"),
    },
    "_lifecycle.py": {"collections.abc", "dataclasses", "datetime", "enum", "types"},
    "_quota.py": {"collections", "collections.abc"},
    "_shape_request.py": {
        *("collections.abc", "dataclasses", "enum", "re", "types", "urllib.parse", "uuid"),
    },
    "_shapes.py": {
        *("codecs", "collections.abc", "dataclasses", "datetime", "hashlib", "json", "typing"),
        *("durable_streams_server", "uuid"),  # for types
    },
    "_signing.py": {
        *("base64", "collections.abc", "dataclasses", "enum", "hashlib", "hmac", "typing"),
    },
    "_start_request.py": {"dataclasses", "re", "uuid"},
    "_status.py": {"collections.abc", "dataclasses", "durable_streams_server", "typing", "uuid"},
    "_stop_request.py": {"dataclasses", "json", "typing"},
    "_upstream_request.py": {"typing"},
    "_urls.py": {"dataclasses", "functools", "ipaddress", "re"},
    "_v1_errors.py": {"collections.abc", "dataclasses", "enum", "types"},
    "_v1_request.py": {"enum", "urllib.parse", "uuid"},
}
"""No event loop, no store, no HTTP library, no clock, no randomness."""

OURS = {"durable_transport.protocol"} | {f"durable_proxy.{name[:-3]}" for name in PURE}


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_only_what_is_listed(name: str) -> None:
    tree = ast.parse((SOURCE / name).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported - OURS == PURE[name]


def test_the_public_names() -> None:
    assert durable_proxy.__all__ == [
        "Limits",
        "PatternError",
        "Principal",
        "Proxy",
        "Right",
        "SecretError",
        "Timeouts",
        "__version__",
        "create_app",
    ]
