"""Upstreams in HTTP/2 on real sockets: ends, shared connections, windows, and what is sent once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from durable_proxy import _pool
from durable_proxy._http2_connection import Exchange
from durable_proxy._incoming import BUFFERED_BYTES
from durable_proxy._lifecycle import Event
from durable_proxy._upstream import Timeouts, Upstream, UpstreamError, open_upstream
from proxy.harness import TIMEOUTS, UNIT, data, eventually, generations, start_request, terminal
from proxy.test_egress import tunnels
from proxy.test_upstream import body_of, call, failure_of
from proxy.wire import upstream, whole
from proxy.wire2 import Upstream2, Wire2, client_tls, server_tls, upstream2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_proxy._start_request import StartRequest
    from durable_streams_server import Log

pytestmark = pytest.mark.anyio

HELLO = b"hello"
BIG = bytes(range(256)) * 16_000


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    async with asyncio.timeout(20 * UNIT), open_upstream(TIMEOUTS, tls=client_tls()) as opened:
        yield opened


def request_to(up: Upstream2, *headers: tuple[str, str], **options: object) -> StartRequest:
    return start_request(up.url, *headers, allow="https://127.0.0.1:*/**", **options)  # type: ignore[arg-type]


async def hello(wire: Wire2) -> None:
    wire.head()
    await wire.data(HELLO)
    wire.end()


# ---------------------------------------------------------------------- what is spoken


async def test_a_request_and_its_answer(client: Upstream) -> None:
    async def script(wire: Wire2) -> None:
        wire.connection.h2.send_headers(wire.stream, [(":status", "103")])
        wire.head(201, ("content-type", "text/plain"), ("x-request-id", "7"))
        await wire.data(b"hel")
        await wire.data(b"lo")
        wire.trailers(("x-sum", "1"))

    async with upstream2(script) as up:
        request = request_to(up, ("Authorization", "Bearer k"), ("X-Empty", ""), body=b"question")
        async with client.send(request) as answer:
            start = answer.start()
            assert await body_of(answer) == HELLO
    assert (start.status, start.content_type) == (201, "text/plain")
    assert start.headers == [("x-request-id", "7")]
    (seen,) = up.calls
    assert (seen.method, seen.path, seen.body) == ("POST", "/", b"question")
    assert seen.values(":authority") == [up.url.removeprefix("https://")]
    assert seen.values("content-length") == ["8"]
    assert seen.values("authorization") == ["Bearer k"]
    assert seen.values("x-empty") == [""]
    assert seen.values("host") == []


@pytest.mark.parametrize("ours", [("h2", "http/1.1"), ("http/1.1",)], ids=["both", "one"])
async def test_what_both_sides_speak_is_spoken(ours: tuple[str, ...]) -> None:
    async with (
        upstream(whole(200, HELLO), server_tls("http/1.1")) as up,
        open_upstream(TIMEOUTS, tls=client_tls(*ours)) as client,
    ):
        url = up.url.replace("http:", "https:")
        for _ in range(3):
            request = start_request(url, allow="https://127.0.0.1:*/**")
            assert await call(client, request) == HELLO
        assert (len(up.calls), up.connections) == (3, 1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_an_answer_without_a_body(client: Upstream, method: str) -> None:
    async def script(wire: Wire2) -> None:
        length = () if method == "DELETE" else (("content-length", "5"),)
        wire.head(200 if length else 204, *length, end=method != "GET")
        if method == "GET":
            await wire.data(HELLO)
            wire.end()

    async with upstream2(script) as up:
        body = await call(client, request_to(up, method=method, body=b""))
        assert body == (HELLO if method == "GET" else b"")


# ---------------------------------------------------------------------- how an answer ends


async def _reset(wire: Wire2) -> None:
    wire.break_off()


async def _reset_in_good_order(wire: Wire2) -> None:
    wire.break_off(ErrorCodes.NO_ERROR)


async def _reset_as_not_taken(wire: Wire2) -> None:
    # The answer has begun: it was looked at.
    wire.break_off(ErrorCodes.REFUSED_STREAM)


async def _lost(wire: Wire2) -> None:
    wire.connection.lose()


async def _gone_away(wire: Wire2) -> None:
    wire.go_away(wire.stream, ErrorCodes.INTERNAL_ERROR)
    wire.connection.lose()


async def _garbage(wire: Wire2) -> None:
    wire.connection.raw(b"\xff" * 100)


async def _frame_of_a_stream_that_never_was(wire: Wire2) -> None:
    wire.connection.raw(b"\x00\x00\x01\x00\x00\x00\x00\x00\x63x")


@pytest.mark.parametrize(
    "ending",
    [
        _reset,
        _reset_in_good_order,
        _reset_as_not_taken,
        _lost,
        _gone_away,
        _garbage,
        _frame_of_a_stream_that_never_was,
    ],
)
async def test_an_answer_that_breaks_off_keeps_its_bytes(log: Log, ending: object) -> None:
    async def script(wire: Wire2) -> None:
        wire.head()
        await wire.data(HELLO)
        await asyncio.sleep(0.02 * UNIT)
        await ending(wire)  # type: ignore[operator]

    async with upstream2(script) as up, generations(log, tls=client_tls()) as running:
        request = request_to(up)
        await running.start(request)
        assert (await terminal(log, request.paths)).payload["code"] == "upstream_error"
        assert await data(log, request.paths) == HELLO
        assert len(up.calls) == 1


async def test_headers_beyond_measure(log: Log) -> None:
    async def script(wire: Wire2) -> None:
        wire.head(200, *[(f"x-filler-{number}", "f" * 1000) for number in range(200)])

    async with upstream2(script) as up, generations(log, tls=client_tls()) as running:
        request = request_to(up)
        await running.start(request)
        payload = (await terminal(log, request.paths)).payload
        assert payload["code"] == "upstream_unreachable"
        assert "more than 100 KiB" in payload["message"]


@pytest.mark.parametrize("promised", [4, 6])
@pytest.mark.parametrize("last", ["data", "empty", "trailers"])
async def test_a_length_that_is_not_kept(log: Log, promised: int, last: str) -> None:
    """The other answers on the connection go on."""
    release = asyncio.Event()

    async def script(wire: Wire2) -> None:
        if wire.call.path == "/other":
            wire.head()
            await wire.data(HELLO)
            await release.wait()
            await wire.data(HELLO)
            wire.end()
            return
        wire.head(200, ("content-length", str(promised)))
        wire.sent_at_once(HELLO, end=last == "data")
        if last == "empty":
            wire.end()
        elif last == "trailers":
            wire.trailers(("x", "1"))

    async with upstream2(script) as up, generations(log, tls=client_tls()) as running:
        other = start_request(f"{up.url}/other", allow="https://127.0.0.1:*/**")
        await running.start(other)
        request = request_to(up)
        await running.start(request)
        code = (await terminal(log, request.paths)).payload["code"]
        assert code == ("upstream_truncated" if promised > len(HELLO) else "upstream_error")
        body = await data(log, request.paths)
        assert body == (HELLO if promised > len(HELLO) else b"")
        release.set()
        assert (await terminal(log, other.paths)).event == "done"
        assert await data(log, other.paths) == 2 * HELLO
        assert len(up.connections) == 1


async def test_no_bytes_where_some_were_promised(client: Upstream) -> None:
    async def script(wire: Wire2) -> None:
        wire.head(200, ("content-length", "5"), end=True)

    async with upstream2(script) as up:
        assert (await failure_of(client, request_to(up))).ending.event is Event.TRUNCATED


async def test_silence(log: Log) -> None:
    """Signs of life of the connection are none of the answer."""

    async def script(wire: Wire2) -> None:
        wire.head()
        await wire.data(HELLO)
        while True:
            await asyncio.sleep(0.02 * UNIT)
            wire.connection.h2.ping(b"12345678")
            wire.connection.flush()

    times = Timeouts(connect=5 * UNIT, answer=10 * UNIT, idle=0.2 * UNIT)
    async with (
        upstream2(script) as up,
        generations(log, timeouts=times, tls=client_tls()) as running,
    ):
        request = request_to(up)
        await running.start(request)
        assert (await terminal(log, request.paths)).payload["code"] == "upstream_timeout"
        (wire,) = up.connections[0].wires.values()
        await asyncio.wait_for(wire.reset.wait(), 5 * UNIT)


# ---------------------------------------------------------------------- sending once


async def test_what_was_not_looked_at_is_sent_again(client: Upstream) -> None:
    """By its number, and by the code of its end; and on another connection if need be."""
    told = asyncio.Event()

    async def script(wire: Wire2) -> None:
        match len(up.calls):
            case 1:
                wire.break_off(ErrorCodes.REFUSED_STREAM)
            case 3:
                wire.go_away(wire.stream - 2)
                told.set()
            case _:
                await hello(wire)

    async with upstream2(script) as up:
        assert await call(client, request_to(up)) == HELLO
        assert (len(up.calls), len(up.connections)) == (2, 1)
        assert await call(client, request_to(up)) == HELLO
        assert (len(up.calls), len(up.connections)) == (4, 2)
        assert told.is_set()


async def test_who_takes_no_requests_is_not_asked_for_ever(client: Upstream) -> None:
    async def script(wire: Wire2) -> None:
        wire.break_off(ErrorCodes.REFUSED_STREAM)

    async with upstream2(script) as up:
        assert (await failure_of(client, request_to(up))).ending.event is Event.UNREACHABLE
        assert len(up.calls) == 2


@pytest.mark.parametrize("ending", [_reset, _lost, _gone_away])
async def test_what_may_have_been_looked_at_is_not_sent_again(
    client: Upstream, ending: object
) -> None:
    async def script(wire: Wire2) -> None:
        await ending(wire)  # type: ignore[operator]

    async with upstream2(script) as up:
        assert (await failure_of(client, request_to(up))).ending.event is Event.UNREACHABLE
        assert len(up.calls) == 1


async def test_who_goes_away_finishes_what_is_under_way(client: Upstream) -> None:
    """As servers do before they are restarted; the next request has a new connection."""

    async def script(wire: Wire2) -> None:
        wire.head()
        await wire.data(b"hel")
        if len(up.calls) == 1:
            wire.go_away(2**31 - 1)
            wire.go_away(wire.stream)
            await asyncio.sleep(0.05 * UNIT)
        await wire.data(b"lo")
        wire.end()

    async with upstream2(script) as up:
        async with client.send(request_to(up)) as first:
            await asyncio.sleep(0.02 * UNIT)
            assert await call(client, request_to(up)) == HELLO
            assert await body_of(first) == HELLO
        assert len(up.connections) == 2
        await eventually(lambda: up.lost == 1)


# ---------------------------------------------------------------------- sharing


async def test_requests_at_the_same_time_share_a_connection(client: Upstream) -> None:
    async with upstream2(hello) as up:
        for _ in range(2):
            bodies = await asyncio.gather(*(call(client, request_to(up)) for _ in range(40)))
            assert bodies == [HELLO] * 40
        assert (len(up.calls), len(up.connections)) == (80, 1)


async def test_a_connection_is_not_asked_for_more_than_it_takes(client: Upstream) -> None:
    most = 0

    async def script(wire: Wire2) -> None:
        nonlocal most
        most = max(most, wire.connection.h2.open_inbound_streams)
        wire.head()
        await asyncio.sleep(0.02 * UNIT)
        await wire.data(HELLO)
        wire.end()

    async with upstream2(script, most_streams=3) as up:
        assert await call(client, request_to(up)) == HELLO  # its settings are known now
        bodies = await asyncio.gather(*(call(client, request_to(up)) for _ in range(12)))
        assert bodies == [HELLO] * 12
        assert most <= 3
        assert 4 <= len(up.connections) <= 13


async def test_one_who_leaves_does_not_disturb_the_others(client: Upstream) -> None:
    async def script(wire: Wire2) -> None:
        wire.head()
        await wire.data(b"hel")
        await wires.put(wire)

    wires: asyncio.Queue[Wire2] = asyncio.Queue()
    async with upstream2(script) as up, client.send(request_to(up)) as stays:
        kept = await wires.get()
        async with client.send(request_to(up)):
            left = await wires.get()
        await asyncio.wait_for(left.reset.wait(), 5 * UNIT)
        await kept.data(b"lo")
        kept.end()
        assert await body_of(stays) == HELLO
        assert len(up.connections) == 1


async def test_one_who_leaves_while_the_connection_is_made_leaves_it_to_the_others(
    client: Upstream,
) -> None:
    async with upstream2(hello) as up:
        first = asyncio.create_task(call(client, request_to(up)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(call(client, request_to(up))) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == [HELLO] * 3
        assert len(up.connections) == 1


async def test_an_idle_connection_ends(client: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "KEPT_SECONDS", 0.05 * UNIT)
    async with upstream2(hello) as up:
        await call(client, request_to(up))
        await eventually(lambda: up.lost == 1)
        assert await call(client, request_to(up)) == HELLO
        assert len(up.connections) == 2


async def test_a_connection_whose_end_has_come_is_not_asked(client: Upstream) -> None:
    async with upstream2(hello) as up:
        await call(client, request_to(up))
        up.connections[0].lose()
        await asyncio.sleep(0)
        assert await call(client, request_to(up)) == HELLO
        assert (len(up.calls), len(up.connections)) == (2, 2)


async def test_everybody_who_waits_for_a_connection_learns_that_there_is_none(
    client: Upstream,
) -> None:
    async with upstream2(hello) as up:
        pass
    failures = await asyncio.gather(
        *(call(client, request_to(up)) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, UpstreamError) for one in failures)


# ---------------------------------------------------------------------- windows


async def test_who_is_not_read_from_sends_no_more_and_holds_up_nobody(client: Upstream) -> None:
    async def script(wire: Wire2) -> None:
        wire.head(200, ("content-length", str(len(BIG))))
        await wire.data(BIG)
        wire.end()

    async with upstream2(script) as up, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(client.send(request_to(up))) for _ in range(4)]
        assert await call(client, request_to(up)) == BIG
        for answer in slow:
            assert isinstance(answer._lease, Exchange)
            assert sum(map(len, answer._lease._body)) <= BUFFERED_BYTES
        for answer in slow:
            assert await body_of(answer) == BIG
        assert len(up.connections) == 1


async def test_bodies_that_nobody_wants_do_not_use_up_the_connection(client: Upstream) -> None:
    """Neither those that are left, nor those that are longer than they may be."""

    async def script(wire: Wire2) -> None:
        if wire.call.path == "/long":
            wire.head(200, ("content-length", "1"))
            wire.sent_at_once(BIG)
            return
        wire.head()
        await wire.data(BIG)
        wire.end()

    async with upstream2(script) as up:
        for _ in range(150):
            async with client.send(request_to(up)) as answer:
                await answer._lease.read(UNIT)
            long = start_request(f"{up.url}/long", allow="https://127.0.0.1:*/**")
            assert (await failure_of(client, long)).ending.event is Event.BROKE
        assert await call(client, request_to(up)) == BIG
        assert len(up.connections) == 1


@pytest.mark.parametrize("window", [None, 64 * 1024 * 1024], ids=["small", "large"])
async def test_a_long_request_goes_up_whole(client: Upstream, window: int | None) -> None:
    async with upstream2(hello, window=window) as up:
        assert await call(client, request_to(up)) == HELLO  # its settings are known now
        up.calls.clear()
        bodies = [BIG + bytes([number]) for number in range(3)]
        await asyncio.gather(*(call(client, request_to(up, body=body)) for body in bodies))
        assert sorted(one.body for one in up.calls) == bodies


# ---------------------------------------------------------------------- the way there


async def test_through_a_tunnel(log: Log) -> None:
    async with (
        upstream2(hello) as up,
        tunnels() as through,
        generations(log, egress=through.egress, tls=client_tls()) as running,
    ):
        requests = [request_to(up) for _ in range(3)]
        await asyncio.gather(*(running.start(request) for request in requests))
        assert [await data(log, request.paths) for request in requests] == [HELLO] * 3
        assert (len(up.connections), len(through.asked)) == (1, 1)


async def test_a_short_write_does_not_wait_for_an_acknowledgement(client: Upstream) -> None:
    async with upstream2(hello) as up, client.send(request_to(up)) as answer:
        assert isinstance(answer._lease, Exchange)
        transport = answer._lease.connection._transport
        assert transport is not None
        connected = transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await body_of(answer)
