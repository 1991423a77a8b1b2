"""The commands' HTTP protocol: what goes the short way, what does not, and heads without an end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import Append, Create, Limits, Log, StreamsApp
from durable_streams_server._protocol import SHORT_BODY_BYTES, GuardedProtocol
from streams.event_parser import EventParser
from streams.gate import Gate
from streams.http_client import Connection
from streams.serving import PATIENT, served, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.serving import Served

pytestmark = pytest.mark.anyio

APPEND = b"POST /v1/stream/s HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n"


def append(body: bytes, *fields: bytes) -> bytes:
    head = b"".join(field + b"\r\n" for field in (*fields, b"Content-Length: %d" % len(body)))
    return APPEND + head + b"\r\n" + body


@pytest.fixture
async def stream(server: Served) -> Served:
    """Give a server that has the stream s."""
    await server.put("s")
    return server


async def content(server: Served) -> bytes:
    return (await server.get("s")).body


# --------------------------------------------------------------------------- which way


@pytest.mark.parametrize("split", range(1, len(append(b"abc"))))
async def test_an_append_in_two_pieces_wherever_they_part(stream: Served, split: int) -> None:
    data = append(b"abc")
    async with stream.connect() as connection:
        await connection.send(data[:split])
        await asyncio.sleep(0)
        await connection.send(data[split:])
        assert (await connection.reply()).status == 204
    assert await content(stream) == b"abc"


async def test_an_append_byte_by_byte(stream: Served) -> None:
    async with stream.connect() as connection:
        for byte in append(b"abc"):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await connection.reply()).status == 204
    assert await content(stream) == b"abc"


async def test_short_and_long_ways_take_turns_on_one_connection(stream: Served) -> None:
    long_body = b"l" * (SHORT_BODY_BYTES + 1)
    chunked = APPEND + b"Transfer-Encoding: chunked\r\n\r\n3\r\nccc\r\n0\r\n\r\n"
    read = b"GET /v1/stream/s?offset=-1 HTTP/1.1\r\nHost: h\r\n\r\n"
    async with stream.connect() as connection:
        for _ in range(2):
            for request in (append(b"a"), append(long_body), read, chunked, append(b"z")):
                await connection.send(request)
                assert (await connection.reply()).status in (200, 204)
    assert await content(stream) == (b"a" + long_body + b"ccc" + b"z") * 2


async def test_pipelined_requests_are_carried_out_and_answered_in_order(stream: Served) -> None:
    head = b"HEAD /v1/stream/s HTTP/1.1\r\nHost: h\r\n\r\n"
    bad = append(b"x", b"Producer-Id: p")
    async with stream.connect() as connection:
        await connection.send(append(b"a") + append(b"b") + head + bad + append(b"c") + head)
        statuses = []
        for of_head in (False, False, True, False, False, True):
            reply = await connection.reply(of_head=of_head)
            statuses.append((reply.status, reply.get("stream-next-offset")))
    assert [status for status, _ in statuses] == [204, 204, 200, 400, 204, 200]
    assert [int(offset or -1) for _, offset in statuses] == [1, 2, 2, -1, 3, 3]
    assert await content(stream) == b"abc"


async def test_a_client_that_expects_to_be_told_to_continue(stream: Served) -> None:
    async with stream.connect() as connection:
        head, body = append(b"abc", b"Expect: 100-continue")[:-3], b"abc"
        await connection.send(head)
        assert (await connection.head()).status == 100
        await connection.send(body)
        assert (await connection.reply()).status == 204
    assert await content(stream) == b"abc"


@pytest.mark.parametrize(
    ("version", "field"), [(b"1.1", b"Connection: close"), (b"1.0", b"Host: h")]
)
async def test_a_connection_that_is_not_kept(stream: Served, version: bytes, field: bytes) -> None:
    request = append(b"abc", field).replace(b"HTTP/1.1", b"HTTP/" + version)
    async with stream.connect() as connection:
        await connection.send(request)
        assert (await connection.reply()).status == 204
        assert await connection.ended() == b""


async def test_two_lengths_are_no_request(stream: Served) -> None:
    async with stream.connect() as connection:
        await connection.send(append(b"abc", b"Content-Length: 5"))
        reply = await connection.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (400, "bad_request")
        assert await connection.ended() == b""
    assert await content(stream) == b""


async def test_what_is_not_http_is_told_so_in_json(stream: Served) -> None:
    async with stream.connect() as connection:
        await connection.send(b"\x16\x03\x01 nonsense\r\n\r\n")
        reply = await connection.reply()
        assert (reply.status, reply["content-type"]) == (400, "application/json")


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
async def test_a_body_that_is_not_http_is_told_so_as_well(stream: Served, method: bytes) -> None:
    head = APPEND.replace(b"POST", method) + b"Transfer-Encoding: chunked\r\n\r\n"
    async with stream.connect() as connection:
        await connection.send(head + b"3\r\nabc\r\n")
        await asyncio.sleep(0.01)
        await connection.send(b"zz\r\n")
        reply = await connection.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (400, "bad_request")
        assert await connection.ended() == b""
    assert await content(stream) == b""


async def test_a_body_that_is_not_http_takes_no_answer_from_the_request_before(
    monkeypatch: pytest.MonkeyPatch, stream: Served
) -> None:
    gate = Gate()
    monkeypatch.setattr(stream.log._writer, "_commit", gate.before(stream.log._writer._commit))
    async with stream.connect() as connection:
        await connection.send(append(b"abc"))
        await gate.reached()
        await connection.send(APPEND + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert await connection.ended() == b""
        gate.open()


# --------------------------------------------------------------------------- ends


async def test_an_append_whose_client_has_left_is_carried_out(
    monkeypatch: pytest.MonkeyPatch, stream: Served
) -> None:
    gate = Gate()
    monkeypatch.setattr(stream.log._writer, "_commit", gate.before(stream.log._writer._commit))
    async with stream.connect() as connection:
        await connection.send(append(b"abc"))
        await gate.reached()
    await stream.settled(lambda: not stream.state.connections)
    gate.open()
    await stream.post("s", b"d")  # one commit later
    assert await content(stream) == b"abcd"


async def test_a_shutdown_lets_an_append_have_its_answer(
    monkeypatch: pytest.MonkeyPatch, stream: Served
) -> None:
    gate = Gate()
    monkeypatch.setattr(stream.log._writer, "_commit", gate.before(stream.log._writer._commit))
    async with stream.connect() as connection:
        await connection.send(append(b"abc"))
        await gate.reached()
        for one in list(stream.state.connections):
            one.shutdown()
        gate.open()
        reply = await connection.reply()
        assert (reply.status, reply["connection"]) == (204, "close")
        assert await connection.ended() == b""


async def test_idle_connections_are_ended_and_busy_ones_are_not(unit: float) -> None:
    async with served() as server:
        await server.put("s")
        async with server.connect() as connection:
            await connection.send(append(b"a"))
            await connection.reply()
            connections: Any = server.state.connections
            (protocol,) = [one for one in connections if one._idle_check is not None]
            protocol.timeout_keep_alive = 0.3 * unit
            protocol._check_idle()
            await asyncio.sleep(0.15 * unit)
            await connection.send(append(b"b"))
            await connection.reply()
            assert await connection.ended() == b""
        assert await content(server) == b"ab"


# --------------------------------------------------------------------------- heads


@asynccontextmanager
async def guarded(limits: Limits) -> AsyncIterator[int]:
    """Serve what answers nothing; give the port."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    http = partial(GuardedProtocol, limits)
    async with await Log.open() as log, serving(app, log, http=http) as server:
        yield server.port


@pytest.mark.parametrize("piece", [b"x" * 1000, b"x: y\r\n" * 200])
async def test_a_head_without_an_end_is_refused_by_its_size(piece: bytes) -> None:
    async with guarded(PATIENT) as port, Connection(port) as connection:
        await connection.send(b"POST /v1/stream/s HTTP/1.1\r\n")
        sent = 0
        while sent <= PATIENT.headers + len(piece):
            await connection.send(piece)
            await asyncio.sleep(0.01)
            sent += len(piece)
        reply = await connection.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (431, "headers_too_large")
        assert await connection.ended() == b""


async def test_a_connection_that_says_nothing_is_closed(unit: float) -> None:
    async with guarded(Limits(body_wait=0.2 * unit)) as port, Connection(port) as connection:
        assert await connection.ended() == b""


async def test_a_head_that_does_not_get_on_is_refused_by_its_time(unit: float) -> None:
    async with guarded(Limits(body_wait=0.2 * unit)) as port, Connection(port) as connection:
        await connection.send(b"GET /")
        reply = await connection.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (408, "request_timeout")
        assert await connection.ended() == b""


async def test_a_head_that_comes_slowly_is_served(unit: float) -> None:
    async with guarded(Limits(body_wait=0.5 * unit)) as port, Connection(port) as connection:
        for _ in range(3):
            for piece in (b"GET / HT", b"TP/1.1\r\nHos", b"t: h\r\n\r\n"):
                await asyncio.sleep(0.05 * unit)
                await connection.send(piece)
            assert (await connection.reply()).status == 204
        await asyncio.sleep(0.6 * unit)
        await connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await connection.reply()).status == 204


async def test_a_body_that_nobody_waits_for_has_an_end(unit: float) -> None:
    """It was refused before it was there: its client may not keep the connection by the byte."""
    limits = replace(PATIENT, body_wait=0.2 * unit)
    async with served(limits) as server, server.connect() as connection:
        await connection.request("TRACE", "/v1/stream/s", None, Content_Length="1000")
        assert (await connection.reply()).status == 405
        await connection.send(b"x")
        assert await connection.ended() == b""


# --------------------------------------------------------------------------- live answers


class Witness:
    """A middleware that sees what is sent, as one that compresses would."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def witnessed(message: Any) -> None:
            self.seen.append(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, witnessed)


async def test_nothing_goes_past_a_middleware() -> None:
    async with await Log.open() as log:
        witness = Witness(StreamsApp(log, limits=PATIENT))
        await log.transact(Create("s"))
        async with serving(witness, log, http=partial(GuardedProtocol, PATIENT)) as server:
            async with server.live("s?offset=-1&live=raw") as (connection, _):
                await server.waiting("s")
                for piece in (b"abc", b"def"):
                    await log.transact(Append("s", piece))
                    assert await connection.chunk() == piece
            assert witness.seen[-2:] == [b"abc", b"def"]


@pytest.mark.parametrize("mode", ["raw", "sse"])
async def test_a_reader_that_is_slower_than_the_stream_gets_every_byte(mode: str) -> None:
    pieces = [b"%07d" % number * 16_000 + b"\n" for number in range(60)]
    async with served() as server:
        await server.put("s")
        async with server.live(f"s?offset=-1&live={mode}") as (connection, _):
            await server.waiting("s")
            for piece in pieces:
                await server.log.transact(Append("s", piece))
            # More than the connection holds: the writer has not waited for the reader.
            await server.log.transact(Append("s", close=True))
            received = b""
            while part := await connection.chunk():
                received += part
        if mode == "raw":
            assert received == b"".join(pieces)
        else:
            events = EventParser().feed(received)
            text = "".join(event.data for event in events if event.name == "data")
            assert text.encode() == b"".join(pieces)
