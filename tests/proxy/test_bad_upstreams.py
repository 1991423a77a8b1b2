"""Upstreams that send too much, never end, or say what is not so: an end with a reason, in time."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest

from durable_proxy import Limits, Timeouts
from durable_proxy._errors import Refusal
from durable_transport.protocol import ErrorCode, TerminalCode
from proxy.harness import UNIT, data, generations, start_request, terminal
from proxy.wire import Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from durable_streams_server import Log

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("limit", [0, 1, 4, 7, 8])
async def test_an_answer_that_is_too_large_ends_there(log: Log, limit: int) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        for part in (b"1234", b"5678", b"9"):
            await wire.chunk(part)
            await asyncio.sleep(0.02 * UNIT)
        await asyncio.sleep(60 * UNIT)

    limits = Limits(response_bytes=limit)
    async with upstream(script) as up, generations(log, limits=limits) as running:
        request = start_request(up.url)
        await running.start(request)
        assert await data(log, request.paths) == b"123456789"[:limit]
        record = await terminal(log, request.paths)
        payload = record.terminal_payload()
        assert (record.event, payload.code, payload.state) == ("error", "too_large", "too_large")
        assert f"more than {limit} bytes" in (payload.message or "")
        assert payload.bytes is not None
        assert payload.bytes.stored == limit < (payload.bytes.received or 0)
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()


@pytest.mark.parametrize("script", [whole(200, b"12345678"), pieces(b"1234", b"5678")])
async def test_an_answer_as_large_as_is_taken_is_complete(log: Log, script: object) -> None:
    limits = Limits(response_bytes=8)
    async with upstream(script) as up, generations(log, limits=limits) as running:  # type: ignore[arg-type]
        request = start_request(up.url)
        await running.start(request)
        assert (await terminal(log, request.paths)).event == "done"
        assert await data(log, request.paths) == b"12345678"


async def test_what_unpacks_to_too_much_ends_at_the_limit(log: Log) -> None:
    packed = gzip.compress(bytes(50_000_000))
    limits = Limits(response_bytes=1_000_000)
    script = whole(200, packed, ("Content-Encoding", "gzip"))
    async with upstream(script) as up, generations(log, limits=limits) as running:
        request = start_request(up.url)
        await running.start(request)
        record = await terminal(log, request.paths)
        assert (record.payload["code"], record.data_position) == ("too_large", 1_000_000)


async def test_an_upstream_that_never_ends_is_ended(log: Log) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        while True:
            await wire.chunk(b"tick")
            await asyncio.sleep(0.02 * UNIT)

    timeouts = Timeouts(connect=5 * UNIT, answer=5 * UNIT, idle=5 * UNIT, total=0.3 * UNIT)
    async with upstream(script) as up, generations(log, timeouts=timeouts) as running:
        request = start_request(up.url)
        await running.start(request)
        body = await data(log, request.paths)
        record = await terminal(log, request.paths)
        assert body.startswith(b"ticktick")
        payload = record.terminal_payload()
        assert (payload.code, payload.state) == (TerminalCode.UPSTREAM_TIMEOUT, "timed_out")
        assert payload.reason == "too_long"
        assert "did not come to an end" in (payload.message or "")
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()


async def test_the_limit_for_the_whole_holds_before_the_headers_too(log: Log) -> None:
    async def script(_wire: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    timeouts = Timeouts(connect=5 * UNIT, answer=5 * UNIT, idle=5 * UNIT, total=0.1 * UNIT)
    async with upstream(script) as up, generations(log, timeouts=timeouts) as running:
        answer = await running.start(start_request(up.url))
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_TIMEOUT
