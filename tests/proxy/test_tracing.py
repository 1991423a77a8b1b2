"""Spans and log lines of a proxy: what is told, under whose trace, and what never is."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from durable_proxy import create_app
from durable_proxy.otel import trace
from durable_streams_server.observing import LoggedApp
from durable_transport.protocol import generation_paths
from proxy.command import serving as serving_command
from proxy.harness import ANY_LOOPBACK, UNIT, Served, eventually, serving
from proxy.wire import Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET = "a-secret-of-the-service"
WRONG = "not-the-secret-at-all"
KEY = "sk-upstream-key-of-the-user"


@pytest.fixture(autouse=True)
def _quick_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


class Traced:
    """A proxy whose spans are kept."""

    def __init__(self, proxy: Served, exporter: InMemorySpanExporter) -> None:
        self.proxy = proxy
        self._exporter = exporter

    async def start(self, url: str, **headers: str) -> httpx2.Response:
        return await self.proxy.start(url, traceparent=CALLER, **headers)

    async def spans(self, name: str) -> Sequence[ReadableSpan]:
        """Those of a name, once there is one."""
        await eventually(lambda: bool(self._named(name)))
        return self._named(name)

    def _named(self, name: str) -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == name]

    def text(self) -> str:
        return "".join(span.to_json() for span in self._exporter.get_finished_spans())


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    """Give a proxy with a tracer."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app("sqlite://", allow=[ANY_LOOPBACK], drain_seconds=0)
    trace(app, provider.get_tracer("test"))
    async with serving(app) as proxy:
        yield Traced(proxy, exporter)


async def test_one_trace_from_the_sdk_to_the_upstream(traced: Traced) -> None:
    async with upstream(pieces(b"Hello")) as up:
        await traced.start(up.url)
        (generation,) = await traced.spans("durable_proxy.generation")
        (sent,) = up.calls[0].values("traceparent")
    calls = [one for one in await traced.spans("POST") if one.kind is SpanKind.CLIENT]
    servers = [one for one in await traced.spans("POST") if one.kind is SpanKind.SERVER]
    (call,), (server,) = calls, servers
    ids = [format(span.context.span_id, "016x") for span in (server, generation, call)]
    parents = [format(span.parent.span_id, "016x") for span in (server, generation, call)]  # type: ignore[union-attr]
    assert parents == ["00f067aa0ba902b7", ids[0], ids[1]]
    assert sent == f"00-{TRACE}-{ids[2]}-01"
    assert dict(generation.attributes or {})["durable_proxy.state"] == "completed"
    assert dict(generation.attributes or {})["durable_proxy.bytes"] == 5
    assert [event.name for event in generation.events] == ["durable_proxy.first_byte"]
    assert dict(call.attributes or {})["http.response.status_code"] == 200
    assert generation.status.status_code is StatusCode.UNSET
    assert await traced.spans("durable_streams.commit")


@pytest.mark.parametrize(("status", "code"), [(500, "upstream_rejected")])
async def test_a_bad_end_is_an_error_of_both(traced: Traced, status: int, code: str) -> None:
    async with upstream(whole(status, b"no")) as up:
        await traced.start(up.url)
        (generation,) = await traced.spans("durable_proxy.generation")
    assert (generation.status.status_code, generation.status.description) == (
        StatusCode.ERROR,
        code,
    )
    (call,) = [one for one in await traced.spans("POST") if one.kind is SpanKind.CLIENT]
    assert dict(call.attributes or {})["http.response.status_code"] == status
    assert call.status.status_code is StatusCode.ERROR


async def test_the_generation_outlasts_the_request_and_ends_with_a_stop(traced: Traced) -> None:
    async with upstream(_endless) as up:
        answer = (await traced.start(up.url)).json()
        await traced.proxy.client.post(answer["stopUrl"])
        (generation,) = await traced.spans("durable_proxy.generation")
        assert generation.status.description == "aborted"
        (server, *_) = [one for one in await traced.spans("POST") if one.kind is SpanKind.SERVER]
        assert server.end_time is not None
        assert generation.end_time is not None
        assert server.end_time < generation.end_time


async def test_no_span_has_a_secret(traced: Traced) -> None:
    async with upstream(pieces(b"an answer")) as up:
        await traced.start(f"{up.url}/v1?key={KEY}", Authorization=f"Bearer {KEY}")
        await traced.spans("durable_proxy.generation")
    assert TRACE in traced.text()
    assert KEY not in traced.text()
    assert "an answer" not in traced.text()


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"data: one\n\n")
    await asyncio.sleep(60 * UNIT)


# --------------------------------------------------------------------------- log lines


async def test_a_line_for_each_end_and_for_each_request_and_no_secret_in_any(
    tmp_path: Path,
) -> None:
    options = ("--log-format", "json", "--log-level", "debug", "--otel", "--secret", SECRET)
    async with upstream(pieces(b"an answer")) as up, serving_command(tmp_path, *options) as command:
        session, request = uuid4(), uuid4()
        headers = {"X-Proxy-Url": f"{up.url}/v1?key={KEY}", "Authorization": f"Bearer {KEY}"}
        async with httpx2.AsyncClient(trust_env=False, base_url=command.url) as client:
            path, own = f"/api/{session}/{request}", {"X-Proxy-Secret": SECRET}
            started = (await client.post(path, headers=headers | own)).json()
            signature = started["durableDataUrl"].partition("signature=")[2]
            live = f"{started['durableDataUrl']}&offset=-1&live=raw"
            assert (await client.get(live)).text == "an answer"
            await client.get("/api/generations", headers={"X-Proxy-Secret": WRONG})
        assert await command.terminate() == 0
        text = command.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    (ended,) = [line for line in lines if line["event"] == "generation ended"]
    assert (ended["level"], ended["logger"]) == ("info", "durable_proxy")
    assert (ended["session"], ended["request"]) == (str(session), str(request))
    assert (ended["state"], ended["code"], ended["storedBytes"]) == ("completed", None, 9)
    assert ended["upstream"] == up.url
    assert ended["principal"] == "service"
    requests = [line for line in lines if line["event"] == "request"]
    data = f"/v1/stream/{generation_paths(session, request).data}"
    assert [(one["path"], one["status"]) for one in requests] == [
        (path, 200),
        (data, 200),
        ("/api/generations", 401),
    ]
    for secret in (SECRET, KEY, signature, WRONG, "an answer"):
        assert secret not in text


async def test_what_went_wrong_is_told_with_its_code(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "durable_proxy")
    app = create_app("sqlite://", allow=[ANY_LOOPBACK], drain_seconds=0)
    app.add_middleware(LoggedApp)
    async with upstream(_endless) as up, serving(app) as proxy:
        answer = (await proxy.start(up.url)).json()
        await proxy.client.post(answer["stopUrl"], json={"reason": "my diary, page one"})
        await eventually(lambda: bool(_ends(caplog)))
    (told,) = _ends(caplog)
    assert (told["state"], told["code"], told["message"]) == ("aborted", "aborted", None)
    assert "diary" not in str(told)


def _ends(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [
        record.__dict__["fields"]
        for record in caplog.records
        if record.getMessage() == "generation ended"
    ]
