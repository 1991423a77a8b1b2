"""Whatever bytes arrive: an answer that is HTTP and no 5xx, no hang, and nobody else's bytes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from durable_streams_server import AdminAccess, Append, Create, Limits, Log, create_app
from durable_streams_server._protocol import StreamsProtocol
from streams.gate import PATIENCE, UNIT
from streams.http_client import LOOPBACK, Client
from streams.serving import serving

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("DURABLE_FUZZ_EXAMPLES", "60"))
"""So many requests are made up for each kind of server."""
SECRET = b"what only its own readers may see"
LAST = b"GET /health HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"
SHORT = replace(
    Limits(),
    body=2_000,
    headers=3_000,
    long_poll=0.02,
    rotate=0.05,
    raw_idle=0.02,
    heartbeat=0.02,
    body_wait=0.15 * UNIT,
)
"""Everything that waits ends soon, or it would be taken for a hang."""

# --------------------------------------------------------------------------- what is sent

_segments = st.sampled_from(
    [
        *(b"/", b"//", b"a", b"b", b"j", b".", b"..", b"/../", b"%2e%2e", b"%2F", b"%2f..%2f"),
        *(b"%00", b"%ff", b"%c3%28", b"%", b"%zz", b"%25", b"\\", b";", b"#", b"*", b"~", b"+"),
        *(b"\xc3\xa9", b"\xff", b"\x00", b"\x7f", b" ", b"\t", b"__ds", b"__ds/", b"%5f_ds/"),
        *(b"/v1/stream/", b"/v1/stream", b"/v1", b"v1/stream/", b"http://x/v1/stream/"),
        *(b"//x/v1/stream/", b"x" * 1100, b"subscriptions/", b"/claim", b"/ack", b"/streams/a"),
        *(b"/_admin/streams", b"/_admin", b"/metrics", b"/_inspector", b"/health", b"/ready"),
    ]
)
_values = st.sampled_from(
    [
        *(b"-1", b"now", b"", b"0" * 20, b"%020d" % 1, b"%020d" % 3, b"9" * 20, b"1", b"-0"),
        *(b"-2", b"+1", b"1e3", b"0x1", b"%00", b"%ff", b"\xd9\xa1" * 20, b"9" * 400, b"\xb2"),
        *(b"sse", b"long-poll", b"raw", b"SSE", b"a&offset=-1", b"[", b"%22", b"0" * 19 + b"_"),
    ]
)
_names = st.sampled_from([b"offset", b"live", b"cursor", b"limit", b"prefix", b"after", b"\xff"])
_pairs = st.tuples(_names, _values).map(b"=".join)
_queries = st.lists(_pairs, min_size=1, max_size=4).map(lambda all_: b"?" + b"&".join(all_))
_paths = st.one_of(
    st.sampled_from([b"/v1/stream/a", b"/v1/stream/j", b"/v1/stream/new"]),
    st.lists(_segments, min_size=1, max_size=5).map(b"".join),
    st.lists(_segments, max_size=3).map(lambda some: b"/v1/stream/" + b"".join(some)),
    st.sampled_from([b"*", b"/v1/stream/__ds/jwks.json", b"/v1/stream/__ds/subscriptions/s"]),
    st.lists(_segments, max_size=2).map(
        lambda some: b"/v1/stream/__ds/subscriptions/s" + b"".join(some)
    ),
    st.lists(_segments, max_size=2).map(lambda some: b"/_admin/streams" + b"".join(some)),
)
_targets = st.builds(bytes.__add__, _paths, st.just(b"") | _queries)
_methods = st.sampled_from(
    [
        *(b"GET", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"),
        *(b"get", b"QUERY", b"PROPFIND", b"", b"G\x00T", b"POST", b"PUT", b"GET", b"GET", b"POST"),
    ]
)
_fields = st.tuples(
    st.sampled_from(
        [
            *(b"Content-Type", b"Content-Type", b"Stream-TTL", b"Stream-Expires-At"),
            *(b"Stream-Seq", b"Stream-Closed", b"Producer-Id", b"Producer-Epoch", b"Producer-Seq"),
            *(b"Stream-Forked-From", b"Stream-Fork-Offset", b"Stream-Fork-Sub-Offset"),
            *(b"If-None-Match", b"Origin", b"Authorization", b"Accept", b"Host", b"Connection"),
            *(
                b"Upgrade",
                b"Expect",
                b"X-Forwarded-For",
                b"Content-Encoding",
                b"Range",
                b"",
                b"\xff",
            ),
        ]
    ),
    st.one_of(
        _values,
        _targets,
        st.binary(max_size=8),
        st.sampled_from(
            [
                *(b"text/plain", b"application/json", b"APPLICATION/JSON; charset=utf-8", b"a/b"),
                *(b"true", b"TRUE", b"0", b"1", b"01", b"9007199254740992", b"close", b"upgrade"),
                *(b"websocket", b"h2c", b"100-continue", b"2030-01-01T00:00:00Z", b"x" * 3100),
                *(b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"Bearer ", b"*"),
                *(
                    b"p",
                    b'"',
                    b'W/"1:0:0"',
                    b"a, b",
                    b"a\r\n b",
                    b"bytes=0-1",
                    b"\xc3\xa9",
                    b"\x00",
                ),
            ]
        ),
    ),
).map(b": ".join)
_bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            *(b"{}", b"[]", b"[1,2]", b"[[]]", b"{", b"NaN", b"1e999", b'"\\ud800"', b"[" * 1900),
            *(b'{"type": "pull-wake", "pattern": "*", "wake_stream": "w"}', b'{"streams": ["a"]}'),
            *(b'{"type": "webhook", "pattern": "**", "webhook": {"url": "http://127.0.0.1/"}}',),
            *(
                b'{"worker": "w"}',
                b'{"worker": "\\ud800"}',
                b'{"wake_id": "", "generation": 1e400}',
            ),
            *(
                b'{"type": "pull-wake", "pattern": "\\u0000[", "wake_stream": "\\udfff"}',
                b"x" * 2100,
            ),
            *(
                b'{"type": "pull-wake", "streams": ["/a", "%ff"], "wake_stream": "w"}',
                b"\xef\xbb\xbf1",
            ),
        ]
    ),
)


FRAMINGS = {
    "right": b"Content-Length: %(length)d\r\n\r\n%(body)b",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%(length)x\r\n%(body)b\r\n0\r\n\r\n",
    "wrong chunk": b"Transfer-Encoding: chunked\r\n\r\n%(length)x0\r\n%(body)b\r\n",
    "huge chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n%(body)b",
    "no chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n%(body)b",
    "both": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "short": b"Content-Length: %(length)d0\r\n\r\n%(body)b",
    "none": b"\r\n%(body)b",
}
LENGTHS = ["-1", "+1", "1, 1", "0x1", "1 1", "", "9" * 30, "99999999"]


def _framed(body: bytes, framing: str) -> bytes:
    """The end of a head, and a body that is as it says, or not."""
    wrong = b"Content-Length: %b\r\n\r\n%%(body)b" % framing.encode()
    return FRAMINGS.get(framing, wrong) % {b"body": body, b"length": len(body)}


_framings = st.sampled_from(["right", "right", "right", *FRAMINGS, *LENGTHS])
_requests = st.builds(
    lambda method, target, version, fields, rest: (
        b"%b %b %b\r\n%b%b"
        % (method, target, version, b"".join(one + b"\r\n" for one in fields), rest)
    ),
    _methods,
    _targets,
    st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"HTTP/1.1 "]),
    st.lists(_fields, max_size=5),
    st.builds(_framed, _bodies, _framings),
)
_wire = st.one_of(
    st.lists(_requests, min_size=1, max_size=3).map(b"".join),
    st.binary(min_size=1, max_size=60),
    st.builds(bytes.__add__, _requests, st.binary(max_size=20)),
)
_cuts = st.lists(st.floats(0, 1), max_size=3)

# --------------------------------------------------------------------------- what comes back

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [ -~]*")
_FIELD = re.compile(rb"[a-zA-Z0-9!#$%&'*+.^_`|~-]+: [\t -~\x80-\xff]*")


def answers(data: bytes) -> Iterator[tuple[int, dict[bytes, bytes], bytes]]:
    """The answers of a connection that has ended; anything that is not HTTP fails."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.split(b"\r\n")
        status = _STATUS_LINE.fullmatch(first)
        assert status, first
        assert all(map(_FIELD.fullmatch, lines)), lines
        names = [line.partition(b":")[0].lower() for line in lines]
        assert len(set(names)) == len(names), lines
        fields = dict(zip(names, (line.partition(b": ")[2] for line in lines), strict=True))
        code = int(status[1])
        body, data = _body(code, fields, data)
        yield code, fields, body


def _body(code: int, fields: dict[bytes, bytes], data: bytes) -> tuple[bytes, bytes]:
    if code < 200 or code in (204, 304):
        assert b"content-length" not in fields
        return b"", data
    if fields.get(b"transfer-encoding") != b"chunked":
        length = int(fields[b"content-length"])
        assert len(data) >= length
        return data[:length], data[length:]
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        assert data[length : length + 2] == b"\r\n"
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            return body, data


class Complaints(logging.Handler):
    """Keeps what the server could not help but log as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Fuzzed:
    """A server that is asked anything, for one test."""

    def __init__(self, protocol: str) -> None:
        self.guarded = protocol == "commands"
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.complaints = Complaints()
        self.client: Client

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await work

        self.loop.run_until_complete(bounded())

    async def start(self) -> None:
        logging.getLogger().addHandler(self.complaints)
        log = await self.stack.enter_async_context(await Log.open())
        await log.transact(Create("secret", data=SECRET), Create("a", "text/plain", b"abc"))
        await log.transact(Create("j", "application/json"), Append("j", b'{"a": [1, 2]},2,'))
        app = create_app(log, limits=SHORT, admin=AdminAccess())
        await app.startup()
        self.stack.push_async_callback(app.shutdown)
        http = partial(StreamsProtocol, app.streams) if self.guarded else "httptools"
        self.client = await self.stack.enter_async_context(serving(app, log, http=http))

    async def stop(self) -> None:
        logging.getLogger().removeHandler(self.complaints)
        await self.stack.aclose()

    async def try_out(self, wire: bytes, cuts: list[float]) -> None:
        received = await self._exchange(wire + LAST, sorted(int(len(wire) * cut) for cut in cuts))
        assert SECRET not in received
        statuses = []
        for status, fields, body in answers(received):
            statuses.append(status)
            assert status < 500, (status, body)
            if status >= 400 and self.guarded:
                assert fields[b"content-type"] == b"application/json"
                assert fields[b"x-content-type-options"] == b"nosniff"
        event(f"answers: {statuses[:2]}")
        assert self.complaints.texts == []
        still = await self.client.get("secret")
        assert (still.status, still.body) == (200, SECRET)

    async def _exchange(self, wire: bytes, cuts: list[int]) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.client.port)
        try:
            for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
                writer.write(wire[start:end])
                await asyncio.sleep(0)
            return await self._received(reader, writer)
        finally:
            writer.transport.abort()

    async def _received(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        received = b""
        try:
            # Our protocol ends what does not get on; uvicorn's own waits for the client to leave.
            async with asyncio.timeout(PATIENCE if self.guarded else 0.4 * UNIT):
                while piece := await reader.read(65536):
                    received += piece
        except ConnectionResetError:
            return received
        except TimeoutError:
            assert not self.guarded, "a connection hangs"
            writer.write_eof()
            return received + await reader.read()
        return received


@pytest.fixture(params=["commands", "uvicorn"])
def fuzzed(request: pytest.FixtureRequest) -> Iterator[Fuzzed]:
    running = Fuzzed(request.param)
    running.do(running.start())
    yield running
    running.do(running.stop())
    running.loop.close()


@given(wire=_wire, cuts=_cuts)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
def test_any_bytes(fuzzed: Fuzzed, wire: bytes, cuts: list[float]) -> None:
    fuzzed.do(fuzzed.try_out(wire, cuts))
