"""Connections to upstreams on real sockets: what is kept, what is sent, and what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from durable_proxy import _pool
from durable_proxy._connection import Connection
from durable_proxy._incoming import BUFFERED_BYTES
from durable_proxy._lifecycle import Event
from durable_proxy._pool import Pool
from durable_proxy._upstream import Upstream, UpstreamAnswer, UpstreamError, open_upstream
from proxy.harness import TIMEOUTS, UNIT, eventually, start_request
from proxy.wire import LOOPBACK, Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from durable_proxy._dial import Route
    from durable_proxy._start_request import StartRequest

pytestmark = pytest.mark.anyio

HELLO = whole(200, b"hello")


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    async with asyncio.timeout(20 * UNIT), open_upstream(TIMEOUTS) as opened:
        yield opened


async def body_of(answer: UpstreamAnswer) -> bytes:
    body = bytearray()

    async def keep(piece: bytes) -> None:
        body.extend(piece)

    await answer.copy_to(keep)
    return bytes(body)


async def call(client: Upstream, request: StartRequest) -> bytes:
    async with client.send(request) as answer:
        return await body_of(answer)


async def failure_of(client: Upstream, request: StartRequest) -> UpstreamError:
    with pytest.raises(UpstreamError) as failed:
        await call(client, request)
    return failed.value


# ---------------------------------------------------------------------- kept connections


@pytest.mark.parametrize(
    "script",
    [HELLO, pieces(b"hel", b"lo"), whole(404, b"hello"), whole(204, b"")],
    ids=["length", "chunked", "not found", "no content"],
)
async def test_one_connection_carries_request_after_request(
    client: Upstream, script: Callable[[Wire], Awaitable[None]]
) -> None:
    async with upstream(script) as up:
        bodies = [await call(client, start_request(up.url)) for _ in range(5)]
        assert len(set(bodies)) == 1
        assert (len(up.calls), up.connections) == (5, 1)


async def test_requests_at_the_same_time_have_connections_of_their_own(client: Upstream) -> None:
    async with upstream(HELLO) as up:
        await asyncio.gather(*(call(client, start_request(up.url)) for _ in range(5)))
        assert up.connections == 5
        await asyncio.gather(*(call(client, start_request(up.url)) for _ in range(5)))
        assert up.connections == 5


async def _says_close(wire: Wire) -> None:
    await wire.whole(200, b"hello", ("Connection", "close"))


async def _says_too_much(wire: Wire) -> None:
    await wire.whole(200, b"hello")
    await wire.raw(b"HTTP/1.1 200 OK\r\n\r\n")


async def _ends_after_it(wire: Wire) -> None:
    await wire.whole(200, b"hello")
    wire.close()


@pytest.mark.parametrize("script", [_says_close, _says_too_much, _ends_after_it])
async def test_a_connection_that_is_not_kept(
    client: Upstream, script: Callable[[Wire], Awaitable[None]]
) -> None:
    async with upstream(script) as up:
        for _ in range(3):
            assert await call(client, start_request(up.url)) == b"hello"
            await asyncio.sleep(0.02 * UNIT)
        assert (len(up.calls), up.connections) == (3, 3)


async def test_a_request_on_a_kept_connection_is_never_sent_twice(client: Upstream) -> None:
    async def script(wire: Wire) -> None:
        if len(up.calls) == 1:
            await wire.whole(200, b"hello")
        else:
            wire.close()

    async with upstream(script) as up:
        await call(client, start_request(up.url))
        error = await failure_of(client, start_request(up.url))
        assert error.ending.event is Event.UNREACHABLE
        assert (len(up.calls), up.connections) == (2, 1)


async def test_an_end_that_the_loop_has_not_seen_makes_a_connection_stale() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, sock=ours)
        before = connection.is_stale
        theirs.close()
        assert (before, connection.is_stale) == (False, True)
        connection.abort()
        await asyncio.sleep(0)


async def test_an_answer_that_is_left_is_not_read_to_its_end(client: Upstream) -> None:
    async def endless(wire: Wire) -> None:
        await wire.head()
        while True:
            await wire.chunk(b"x" * 1000)

    async with upstream(endless) as up:
        async with client.send(start_request(up.url)) as answer:
            assert answer.accepted
        await up.left.wait()


async def test_idle_connections_end(client: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "KEPT_SECONDS", 0.05 * UNIT)
    async with upstream(HELLO) as up:
        await call(client, start_request(up.url))
        await up.left.wait()
        await call(client, start_request(up.url))
        assert up.connections == 2


async def test_idle_connections_are_bounded(
    client: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "MAX_KEPT_CONNECTIONS", 2)
    async with upstream(HELLO) as up:
        await asyncio.gather(*(call(client, start_request(up.url)) for _ in range(5)))
        await asyncio.gather(*(call(client, start_request(up.url)) for _ in range(5)))
        assert up.connections == 8


async def test_what_is_kept_is_closed_at_the_end() -> None:
    async with upstream(HELLO) as up:
        async with open_upstream(TIMEOUTS) as client:
            await call(client, start_request(up.url))
            assert not up.left.is_set()
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()


async def test_a_connection_returned_to_a_closed_pool_is_closed() -> None:
    async def never(_route: Route) -> Connection:
        raise AssertionError

    async with upstream(HELLO) as up, open_upstream(TIMEOUTS) as client:
        async with client.send(start_request(up.url)) as answer:
            await body_of(answer)
            await client._pool.close()
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()
    assert not Pool(never)._kept


# ---------------------------------------------------------------------- requests


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


BIG = bytes(30_000_000)


async def test_a_refusal_before_the_end_of_the_request_is_heard(client: Upstream) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 8\r\n\r\ntoo long")
        await asyncio.sleep(60 * UNIT)

    async with listening(serve) as url, client.send(start_request(url, body=BIG)) as answer:
        assert not answer.accepted
        assert await body_of(answer) == b"too long"


async def test_a_request_that_nobody_takes_ends_with_the_patience_for_the_answer() -> None:
    async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60 * UNIT)

    timeouts = type(TIMEOUTS)(connect=5 * UNIT, answer=0.2 * UNIT, idle=5 * UNIT)
    async with listening(serve) as url, open_upstream(timeouts) as client:
        error = await failure_of(client, start_request(url, body=BIG))
        assert error.ending.event is Event.SILENT


async def test_an_end_in_the_middle_of_the_request(client: Upstream) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with listening(serve) as url:
        error = await failure_of(client, start_request(url, body=BIG))
        assert error.ending.event is Event.UNREACHABLE


async def test_a_long_request_goes_up_whole(client: Upstream) -> None:
    async with upstream(HELLO) as up:
        body = bytes(range(256)) * 20_000
        assert await call(client, start_request(up.url, body=body)) == b"hello"
        assert up.calls[0].body == body
        assert await call(client, start_request(up.url)) == b"hello"
        assert up.connections == 1


async def test_interim_answers_are_passed_over(client: Upstream) -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01 * UNIT)
        await wire.raw(b"HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n")
        await asyncio.sleep(0.01 * UNIT)
        await wire.whole(200, b"hello", ("X-Final", "1"))

    async with upstream(script) as up, client.send(start_request(up.url)) as answer:
        assert answer.start().headers == [("x-final", "1")]
        assert await body_of(answer) == b"hello"


# ---------------------------------------------------------------------- bodies


async def test_an_upstream_is_not_read_from_while_nobody_takes_what_it_sent(
    client: Upstream,
) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head(framing=f"Content-Length: {len(BIG)}")
        for start in range(0, len(BIG), 100_000):
            await wire.raw(BIG[start : start + 100_000])
            sent = start + 100_000

    async with upstream(script) as up, client.send(start_request(up.url)) as answer:
        seen = -1
        while sent != seen:  # until it is stuck
            seen = sent
            await asyncio.sleep(0.1 * UNIT)
        assert sent < len(BIG)
        assert isinstance(answer._lease, Connection)
        assert answer._lease._buffered < BUFFERED_BYTES + 1_000_000
        assert await body_of(answer) == BIG


async def test_bytes_that_came_before_a_reset_are_given(client: Upstream) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"only this")
        await asyncio.sleep(0.05 * UNIT)
        wire.reset()

    async with upstream(script) as up, client.send(start_request(up.url)) as answer:
        await eventually(lambda: answer._lease._failure is not None)
        got = bytearray()

        async def keep(piece: bytes) -> None:
            got.extend(piece)

        with pytest.raises(UpstreamError) as failed:
            await answer.copy_to(keep)
        assert failed.value.ending.event is Event.BROKE
        assert got == b"only this"


async def test_garbage_in_the_middle_is_no_truncation(client: Upstream) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"only this")
        await wire.raw(b"what?\r\n")

    async with upstream(script) as up:
        error = await failure_of(client, start_request(up.url))
        assert error.ending.event is Event.BROKE
        assert "not HTTP" in str(error)


async def test_bytes_that_are_no_body_are_no_sign_of_life() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"tick")
        await wire.raw(b"5;")
        while True:
            await wire.raw(b"x")
            await asyncio.sleep(0.02 * UNIT)

    timeouts = type(TIMEOUTS)(connect=5 * UNIT, answer=5 * UNIT, idle=0.2 * UNIT)
    async with upstream(script) as up, open_upstream(timeouts) as client:
        async with asyncio.timeout(10 * UNIT):
            error = await failure_of(client, start_request(up.url))
        assert error.ending.event is Event.SILENT


async def test_a_slow_taker_is_not_the_upstreams_silence() -> None:
    async def slowly(_piece: bytes) -> None:
        await asyncio.sleep(0.3 * UNIT)

    timeouts = type(TIMEOUTS)(connect=5 * UNIT, answer=5 * UNIT, idle=0.2 * UNIT)
    async with (
        upstream(pieces(b"a")) as up,
        open_upstream(timeouts) as client,
        client.send(start_request(up.url)) as answer,
    ):
        await answer.copy_to(slowly)
