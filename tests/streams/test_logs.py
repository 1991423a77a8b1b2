"""What the command tells about itself: its log, and spans."""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from durable_streams_server import Create, Log, StorageError, StreamsApp
from durable_streams_server._logs import JsonFormatter, TextFormatter, fields
from durable_streams_server._request import Live
from durable_streams_server.otel import TracedApp, trace_commits
from streams.command import ServeProcess
from streams.serving import PATIENT, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


def record(text: str, **values: Any) -> logging.LogRecord:
    made = logging.LogRecord("durable_streams_server", logging.ERROR, "f", 1, text, (), None)
    made.__dict__.update(fields(**values) | {"created": 1.5})
    return made


# --------------------------------------------------------------------------- lines


def test_a_line_for_people() -> None:
    line = TextFormatter().format(record("it failed", path="a\nb", count=2, kind=Live.RAW))
    assert line == "1970-01-01T00:00:01.500Z error it failed path='a\\nb' count=2 kind='raw'"


def test_a_line_for_machines() -> None:
    line = JsonFormatter().format(record("it failed", path="a\nb", error=ValueError("x")))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "error",
        "logger": "durable_streams_server",
        "event": "it failed",
        "path": "a\nb",
        "error": "x",
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_is_kept(formatter: logging.Formatter) -> None:
    made = record("it failed")
    try:
        int("a defect")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    assert "ValueError: invalid literal" in line
    assert ("\n" in line) is isinstance(formatter, TextFormatter)


async def events(*options: str, **headers: str) -> list[dict[str, Any]]:
    """What a server logs that is asked for a stream and then stopped."""
    async with ServeProcess("sqlite://", "--log-format", "json", *options) as server:
        await server.put("s/secret", b"do not log this", **headers)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        text = server.errors()
    assert "do not log this" not in text
    assert "s3cret" not in text
    return [json.loads(line) for line in text.splitlines()]


async def test_starts_and_ends_are_logged() -> None:
    told = await events("--log-level", "info", "--admin-token", "s3cret")
    assert [one["event"] for one in told] == ["serving", "taking leave", "stopped"]
    assert told[0]["store"] == "sqlite"
    assert told[0]["url"].startswith("http://127.0.0.1:")


async def test_by_default_only_what_is_wrong_is_logged() -> None:
    assert await events() == []


async def test_every_request_is_logged_on_demand() -> None:
    told = await events("--log-level", "debug", X_Request_ID="abc-1", Authorization="s3cret")
    (request,) = [one for one in told if one["event"] == "request"]
    assert request["milliseconds"] >= 0
    assert {
        "method": "PUT",
        "path": "/v1/stream/s/secret",
        "status": 201,
    }.items() <= request.items()
    assert request["requestId"] == "abc-1"
    told = await events("--log-level", "debug", X_Request_ID="not an id")
    assert [one["requestId"] for one in told if one["event"] == "request"] == [None]


# --------------------------------------------------------------------------- spans


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.shutdown()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Any:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("test")


async def test_spans_of_commits(log: Log, spans: InMemorySpanExporter, tracer: Any) -> None:
    trace_commits(log, tracer)
    await log.transact(Create("s", data=b"abc"))
    await log.close()
    wanted = {"durable_streams.batch.requests": 1, "durable_streams.batch.bytes": 3}
    (span,) = [one for one in spans.get_finished_spans() if one.attributes == wanted]
    assert span.name == "durable_streams.commit"
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


async def test_spans_of_failed_commits(
    log: Log, spans: InMemorySpanExporter, tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no disk")

    trace_commits(log, tracer)
    monkeypatch.setattr(log._store, "commit", fail)
    with pytest.raises(StorageError):
        await log.transact(Create("s"))
    await log.close()
    status = spans.get_finished_spans()[-1].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, "StorageError")


async def test_spans_of_requests(log: Log, spans: InMemorySpanExporter, tracer: Any) -> None:
    async with serving(TracedApp(StreamsApp(log, limits=PATIENT), tracer), log) as server:
        trace = "0af7651916cd43dd8448eb211c80319c"
        await server.put("s", b"x", traceparent=f"00-{trace}-b7ad6b7169203331-01")
        await server.get("none")
        await server.settled(lambda: len(spans.get_finished_spans()) == 2)
    put, get = spans.get_finished_spans()
    assert (put.name, put.kind, get.name) == ("PUT", SpanKind.SERVER, "GET")
    assert put.attributes == {
        "http.request.method": "PUT",
        "url.path": "/v1/stream/s",
        "http.response.status_code": 201,
    }
    assert put.context is not None
    assert f"{put.context.trace_id:032x}" == trace, "under the caller's trace"
    assert get.parent is None


async def test_a_server_that_traces_takes_appends_as_others_do(url: str) -> None:
    async with ServeProcess(url, "--otel") as server:
        await server.put("s", b"a")
        assert (await server.post("s", b"b")).status == 204
        assert (await server.get("s")).body == b"ab"
        assert server.errors() == ""
