"""Generations on real sockets: what the upstream sends is what the log has, and how it ended."""

from __future__ import annotations

import asyncio
import base64
import gzip
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from durable_proxy import Limits, Timeouts
from durable_proxy._answers import Accepted
from durable_proxy._errors import Refusal
from durable_transport.protocol import ErrorCode, Rejected, TerminalCode
from proxy.harness import (
    UNIT,
    control,
    data,
    eventually,
    generations,
    start_request,
    terminal,
)
from proxy.wire import LOOPBACK, Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from durable_streams_server import Log

pytestmark = pytest.mark.anyio

BINARY = bytes(range(256)) * 64
SPLIT = "data: größer \U0001f600\u2028\u0085\r\n\n".encode()


@pytest.mark.parametrize(
    "parts",
    [
        [b"data: one\n\n", b"data: two\n\n"],
        [SPLIT[index : index + 1] for index in range(len(SPLIT))],
        [BINARY, BINARY[::-1]],
        [b"\x00", b"\r", b"\n", b"\xff\xfe"],
        [b"x" * 3_000_000],
    ],
    ids=["sse", "utf-8 split", "binary", "line ends", "3 MB"],
)
async def test_the_log_has_every_byte_and_done(log: Log, parts: list[bytes]) -> None:
    async with upstream(pieces(*parts)) as up, generations(log) as running:
        request = start_request(f"{up.url}/v1/chat?x=1")
        answer = await running.start(request)
        assert isinstance(answer, Accepted)
        assert answer.start.status == 200
        assert answer.start.content_type == "text/event-stream"
        assert await data(log, request.paths) == b"".join(parts)
        record = await terminal(log, request.paths)
        assert (record.event, record.data_position) == ("done", len(b"".join(parts)))
        assert len(up.calls) == 1


async def test_the_first_bytes_are_readable_while_the_upstream_pauses(log: Log) -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"first")
        await go_on.wait()
        await wire.chunk(b"second")
        await wire.end()

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url)
        await running.start(request)
        async with asyncio.timeout(5 * UNIT), log.reader(request.paths.data) as reader:
            assert (await reader.next()).data == b"first"
            go_on.set()
            assert (await reader.next()).data == b"second"


async def test_headers_and_the_bytes_that_came_with_them_are_one_commit(log: Log) -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url)
        async with asyncio.timeout(5 * UNIT):
            await running.start(request)
        stream = await log.stat(request.paths.data)
        assert stream is not None
        assert stream.tail == 5


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_is_complete(log: Log, method: str, reply: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(reply)

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url, method=method, body=b"")
        assert isinstance(await running.start(request), Accepted)
        assert await data(log, request.paths) == b""
        assert (await terminal(log, request.paths)).event == "done"
        assert up.calls[0].method == method


async def _truncated_length(wire: Wire) -> None:
    await wire.head(framing="Content-Length: 100")
    await wire.raw(b"only this")
    wire.close()


async def _truncated_chunked(wire: Wire) -> None:
    await wire.head()
    await wire.chunk(b"only this")
    wire.close()


async def _truncated_in_a_chunk(wire: Wire) -> None:
    await wire.head()
    await wire.raw(b"40\r\nonly this")
    wire.close()


async def _broken(wire: Wire) -> None:
    await wire.head()
    await wire.chunk(b"only this")
    # The reset must not overtake the bytes.
    await asyncio.sleep(0.05 * UNIT)
    wire.reset()


async def _bad_gzip(wire: Wire) -> None:
    await wire.head(200, ("Content-Encoding", "gzip"))
    await wire.chunk(b"this is no gzip")
    await wire.end()


async def _truncated_gzip(wire: Wire) -> None:
    await wire.head(200, ("Content-Encoding", "gzip"))
    await wire.chunk(gzip.compress(b"only this")[:-8])
    await wire.end()


async def _truncated_deflate(wire: Wire) -> None:
    await wire.whole(200, zlib.compress(b"only this")[:-4], ("Content-Encoding", "deflate"))


async def _more_than_gzip(wire: Wire) -> None:
    packed = gzip.compress(b"only this")
    await wire.whole(200, packed + b"and more", ("Content-Encoding", "gzip"))


async def _unasked_coding(wire: Wire) -> None:
    await wire.head(200, ("Content-Encoding", "br"))
    await wire.chunk(b"whatever")
    await wire.end()


@pytest.mark.parametrize(
    ("script", "code", "body"),
    [
        (_truncated_length, TerminalCode.UPSTREAM_TRUNCATED, b"only this"),
        (_truncated_chunked, TerminalCode.UPSTREAM_TRUNCATED, b"only this"),
        (_truncated_in_a_chunk, TerminalCode.UPSTREAM_TRUNCATED, b"only this"),
        (_broken, TerminalCode.UPSTREAM_ERROR, b"only this"),
        (_truncated_gzip, TerminalCode.UPSTREAM_TRUNCATED, b"only this"),
        (_truncated_deflate, TerminalCode.UPSTREAM_TRUNCATED, b"only this"),
        (_more_than_gzip, TerminalCode.UPSTREAM_ERROR, b"only this"),
        (_bad_gzip, TerminalCode.UPSTREAM_ERROR, b""),
        (_unasked_coding, TerminalCode.UPSTREAM_ERROR, b""),
    ],
)
async def test_a_body_that_ends_badly_keeps_its_bytes_and_says_so(
    log: Log, script: object, code: TerminalCode, body: bytes
) -> None:
    async with upstream(script) as up, generations(log) as running:  # type: ignore[arg-type]
        request = start_request(up.url)
        assert isinstance(await running.start(request), Accepted)
        assert await data(log, request.paths) == body
        record = await terminal(log, request.paths)
        assert (record.event, record.payload["code"]) == ("error", code)
        assert up.url in record.payload["message"]
        truncated = code is TerminalCode.UPSTREAM_TRUNCATED
        assert record.payload["state"] == ("truncated" if truncated else "failed")
        assert record.payload["bytes"] == {"stored": len(body), "received": len(body)}


async def test_a_body_that_is_delimited_by_its_close_is_complete(log: Log) -> None:
    async def script(wire: Wire) -> None:
        await wire.raw(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        wire.close()

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url)
        await running.start(request)
        assert await data(log, request.paths) == b"all of it"
        assert (await terminal(log, request.paths)).event == "done"


async def test_a_packed_body_is_unpacked_and_loses_its_label(log: Log) -> None:
    packed = gzip.compress(SPLIT * 1000)

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Encoding", "gzip"), ("X-RateLimit-Remaining", "7"))
        for index in range(0, len(packed), 7):
            await wire.chunk(packed[index : index + 7])
        await wire.end()

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url, ("Accept-Encoding", "gzip, br"))
        answer = await running.start(request)
        assert isinstance(answer, Accepted)
        assert answer.start.headers == [("x-ratelimit-remaining", "7")]
        assert await data(log, request.paths) == SPLIT * 1000
        assert up.calls[0].values("accept-encoding") == ["identity"]


@pytest.mark.parametrize("cut", [None, -8])
async def test_the_body_of_a_no_is_unpacked_as_far_as_it_came(log: Log, cut: int | None) -> None:
    script = whole(400, gzip.compress(b"because")[:cut], ("Content-Encoding", "gzip"))
    async with upstream(script) as up, generations(log) as running:
        assert await running.start(start_request(up.url)) == Rejected(400, (), b"because")


async def test_a_packed_no_is_bounded(log: Log) -> None:
    script = whole(400, gzip.compress(bytes(50_000_000)), ("Content-Encoding", "gzip"))
    limits = Limits(error_body_bytes=1000)
    async with upstream(script) as up, generations(log, limits=limits) as running:
        assert await running.start(start_request(up.url)) == Rejected(400, (), bytes(1000))


@pytest.mark.parametrize("status", [301, 304, 400, 401, 404, 429, 500, 529])
async def test_an_upstream_that_says_no_is_passed_on(log: Log, status: int) -> None:
    body = b"" if status == 304 else b'{"error":{"type":"nope","\xff":1}}'
    headers = [
        ("Content-Type", "application/json"),
        ("Retry-After", "17"),
        ("Location", "http://evil.example/"),
        ("Set-Cookie", "a=b"),
        ("Request-Id", "req_1"),
    ]
    async with upstream(whole(status, body, *headers)) as up, generations(log) as running:
        request = start_request(up.url)
        answer = await running.start(request)
        assert answer == Rejected(
            status,
            (
                ("content-type", "application/json"),
                ("retry-after", "17"),
                ("location", "http://evil.example/"),
                ("request-id", "req_1"),
            ),
            body,
        )
        record = await terminal(log, request.paths)
        assert record.payload["code"] == TerminalCode.UPSTREAM_REJECTED
        assert base64.b64decode(record.payload["response"]["body"]) == body
        assert len(up.calls) == 1, "a redirect is not followed"


@pytest.mark.parametrize("endless", [True, False])
async def test_the_body_of_a_no_is_bounded(log: Log, *, endless: bool) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(500)
        await wire.chunk(b"e" * 5000)
        while endless:
            await wire.chunk(b"e" * 5000)
        wire.close()

    limits = Limits(error_body_bytes=1000 if endless else 10_000)
    async with upstream(script) as up, generations(log, limits=limits) as running:
        answer = await running.start(start_request(up.url))
        assert isinstance(answer, Rejected)
        # One that breaks off is given as far as it came.
        assert answer.body == b"e" * (1000 if endless else 5000)


async def _closes(wire: Wire) -> None:
    wire.close()


async def _resets(wire: Wire) -> None:
    wire.reset()


async def _garbage(wire: Wire) -> None:
    await wire.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


async def _half_a_head(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Ty")
    wire.close()


async def _huge_head(wire: Wire) -> None:
    await wire.head(200, *[("X-Filler", "f" * 1000)] * 5000)


async def _no_status(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "script", [_closes, _resets, _garbage, _half_a_head, _huge_head, _no_status]
)
async def test_an_upstream_that_does_not_answer_is_unreachable(log: Log, script: object) -> None:
    async with upstream(script) as up, generations(log) as running:  # type: ignore[arg-type]
        request = start_request(up.url)
        answer = await running.start(request)
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_UNREACHABLE
        assert up.url in answer.message
        record = await terminal(log, request.paths)
        assert record.payload["code"] == TerminalCode.UPSTREAM_UNREACHABLE


async def test_an_upstream_with_headers_beyond_measure_is_told_the_limit(log: Log) -> None:
    async with upstream(_huge_head) as up, generations(log) as running:
        answer = await running.start(start_request(up.url))
        assert isinstance(answer, Refusal)
        assert "sent headers of more than 100 KiB, the proxy's limit" in answer.message


async def test_a_refused_connection_and_a_name_that_does_not_resolve(log: Log) -> None:
    async with upstream(pieces()) as up:
        gone = up.url
    async with generations(log) as running:
        answer = await running.start(start_request(gone))
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_UNREACHABLE
        assert "connect" in answer.message
        assert LOOPBACK in answer.message


async def test_silence_before_the_headers(log: Log) -> None:
    async def script(_wire: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    timeouts = Timeouts(connect=5 * UNIT, answer=0.1 * UNIT, idle=5 * UNIT)
    async with upstream(script) as up, generations(log, timeouts=timeouts) as running:
        request = start_request(up.url)
        answer = await running.start(request)
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.UPSTREAM_TIMEOUT
        assert answer.status == 504
        record = await terminal(log, request.paths)
        assert record.payload["code"] == TerminalCode.UPSTREAM_TIMEOUT
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()


async def test_silence_in_mid_body(log: Log) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        for _ in range(4):
            await wire.chunk(b"tick")
            await asyncio.sleep(0.1 * UNIT)
        await asyncio.sleep(60 * UNIT)

    timeouts = Timeouts(connect=5 * UNIT, answer=5 * UNIT, idle=0.3 * UNIT)
    async with upstream(script) as up, generations(log, timeouts=timeouts) as running:
        request = start_request(up.url)
        await running.start(request)
        assert await data(log, request.paths) == b"tick" * 4
        record = await terminal(log, request.paths)
        assert record.payload["code"] == TerminalCode.UPSTREAM_TIMEOUT
        assert "sent nothing" in record.payload["message"]


async def test_the_request_goes_up_as_it_came(log: Log) -> None:
    body = random.Random(7).randbytes(300_000)
    async with upstream(whole(200, b"ok")) as up, generations(log) as running:
        request = start_request(
            f"{up.url}/v1/a%2Fb/~c?x=%2e&y=[1]",
            ("Authorization", "Bearer secret"),
            ("Content-Type", "application/json"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("Cookie", "proxy=session"),
            ("Connection", "keep-alive, x-hop"),
            ("X-Hop", "no"),
            ("X-Mine", "no"),
            ("X-Proxy-Strip", "x-mine"),
            method="PUT",
            body=body,
        )
        await running.start(request)
        await data(log, request.paths)
        (call,) = up.calls
        assert (call.method, call.path) == ("PUT", "/v1/a%2Fb/~c?x=%2e&y=[1]")
        assert call.body == body
        assert sorted((name.lower(), value) for name, value in call.headers) == [
            ("accept-encoding", "identity"),
            ("authorization", "Bearer secret"),
            ("content-length", "300000"),
            ("content-type", "application/json"),
            ("host", up.url.removeprefix("http://")),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ]


async def test_nothing_of_one_caller_reaches_the_upstream_with_the_next(log: Log) -> None:
    script = whole(200, b"ok", ("Set-Cookie", "session=first; Path=/"))
    async with upstream(script) as up, generations(log) as running:
        for _ in range(2):
            request = start_request(up.url)
            await running.start(request)
            await data(log, request.paths)
        assert [call.values("cookie") for call in up.calls] == [[], []]


async def test_a_finished_generation_leaves_nothing_running(log: Log) -> None:
    async with upstream(pieces(b"x")) as up, generations(log) as running:
        requests = [start_request(up.url) for _ in range(20)]
        await asyncio.gather(*map(running.start, requests))
        for request in requests:
            assert len(await control(log, request.paths)) == 2
        await eventually(lambda: running.active == 0)
        assert not running._tasks
