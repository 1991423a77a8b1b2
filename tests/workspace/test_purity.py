"""The modules that decide, and what they may import: nothing with a clock, a socket or a file."""

from __future__ import annotations

import ast
import re

import pytest

from workspace._project import Package, imports_of, packages

PURE = {
    "durable_transport": [
        *("_answers", "_backoff", "_effects", "_errors", "_fields", "_headers", "_http_url"),
        *("_link", "_merge", "_progress", "_request", "_shape", "_timing"),
        *("_stream", "_stream._calls", "_stream._encode", "_stream._errors", "_stream._follow"),
        *("_stream._head", "_stream._link", "_stream._place", "_stream._producer"),
        *("_stream._snapshot", "_stream._sse", "_stream._units", "_stream._url"),
        *("protocol", "protocol._codes", "protocol._control", "protocol._generation"),
        *("protocol._headers", "protocol._offsets", "sse"),
    ],
    "durable_streams_server": [
        *(
            "_access",
            "_answer",
            "_chain",
            "_cursor",
            "_describe",
            "_errors",
            "_glob",
            "_journal",
            "_json_mode",
            "_model",
            "_path",
            "_plan",
        ),
        *("_request", "_segments", "_sse", "_stats", "_store"),
        *("_subscription", "_subscription_answer", "_subscription_request"),
        *("_tokens", "_wake", "_webhook_policy"),
        *("addresses", "figures", "_cli._diagnosis", "_cli._piece"),
    ],
    "durable_proxy": [
        *(
            "_allowlist",
            "_answers",
            "_coding",
            "_egress",
            "_electric_url",
            "_errors",
            "_figures",
            "_guard",
            "_headers",
            "_http1",
            "_http2",
            "_lifecycle",
            "_quota",
            "_shape_request",
            "_shapes",
            "_signing",
            "_start_request",
        ),
        *("_status", "_stop_request", "_urls", "_v1_errors", "_v1_request"),
        *("_upstream_request", "generation", "targets"),
    ],
    "durable_ai_transport": [
        *("tanstack._chunks", "tanstack._conversation", "tanstack._errors", "tanstack._legacy"),
        *("tanstack._messages", "tanstack._processor", "tanstack._snapshot"),
        *("tanstack._structured", "tanstack._wire"),
        *("_encode", "vercel._chunks", "vercel._errors", "vercel._json", "vercel._message"),
        *("vercel._sse", "vercel._tool_parts"),
    ],
    "durable_ai_db": [
        *("live._aggregates", "live._changes", "live._collection", "live._graph"),
        *("live._operators", "live._sorted"),
        *(
            "materialize",
            "materialize._collections",
            "materialize._document",
            "materialize._draft",
            "materialize._format",
        ),
        *(
            "materialize._json",
            "materialize._links",
            "materialize._materializer",
            "materialize._message",
        ),
        *(
            "materialize._order",
            "materialize._parts",
            "materialize._rows",
            "materialize._session_chunks",
        ),
        *("materialize._stats", "materialize._text", "materialize._usage"),
        *("materialize.formats", "materialize.formats._agui", "materialize.formats._anthropic"),
        *("materialize.formats._openai_chat", "materialize.formats._openai_responses"),
        *("materialize.formats._tanstack", "materialize.formats._vercel"),
        *("materialize.history", "materialize.history._agui", "materialize.history._content"),
        *("materialize.history._openai", "materialize.history._resolve"),
        *("materialize.history._steps", "materialize.history._tanstack"),
        *("materialize.history._vercel",),
        *("_calls", "_errors", "_rows", "_session_state", "state"),
    ],
    "durable_ai_db_proxy": [
        *("_agent_call", "_answer", "_decide_answers", "_decide_messages", "_decide_runs"),
        *("_decide_session", "_decision", "_errors", "_ids", "_models", "_phase", "_policy"),
        *("_presence", "_rows", "_run", "_state", "_view"),
    ],
}

MAY_IMPORT = {
    *(
        "__future__",
        "collections.abc",
        "dataclasses",
        "enum",
        "functools",
        "itertools",
        "types",
        "typing",
    ),
    "statistics",
    "struct",
    *("base64", "binascii", "bisect", "datetime", "email.utils", "ipaddress", "json", "math", "re"),
    *("urllib.parse", "uuid", "pydantic", "pydantic.alias_generators", "pydantic_core"),
    "contextvars",  # headers that hold for a block of the caller's code
    "hashlib",
    "hmac",
    "itertools",
    "http",  # for HTTPStatus
    "httptools",  # a parser: arithmetic on bytes
    *("codecs", "collections", "contextlib", "copy", "heapq"),
    "weakref",  # what nobody has any more is kept up to date no longer
    *("h2.config", "h2.connection", "h2.errors", "h2.events", "h2.exceptions", "h2.settings"),
    "zlib",  # arithmetic on bytes
    "ag_ui.core",  # the models of a protocol
}

each_package = pytest.mark.parametrize("package", packages(), ids=lambda package: package.name)


@each_package
def test_pure_modules_import_only_what_is_pure(package: Package) -> None:
    allowed = MAY_IMPORT | {f"{name}.{module}" for name in PURE for module in PURE[name]}
    wrong = [
        str(found)
        for module in PURE[package.module]
        for found in imports_of(package.module_file(module))
        if not found.only_for_types and found.module not in allowed
    ]
    assert wrong == []


@each_package
def test_the_list_names_modules_that_exist(package: Package) -> None:
    missing = [one for one in PURE[package.module] if not package.module_file(one).is_file()]
    assert missing == []


@each_package
def test_what_says_that_it_is_pure_is_on_the_list(package: Package) -> None:
    listed = {package.module_file(one) for one in PURE[package.module]}
    claims = {
        module
        for module in package.modules
        if re.search(r"\bPure\.", ast.get_docstring(ast.parse(module.read_text())) or "")
    }
    assert claims - listed == set()
