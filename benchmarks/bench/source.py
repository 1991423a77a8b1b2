"""The upstream of the relay: an HTTP server whose chunks carry the time they were sent at.

`POST /COUNT/INTERVAL/PHASE` answers COUNT chunks, one every INTERVAL microseconds, the first one
PHASE microseconds after the request. A fourth number is the padding of a chunk, and a fifth the
number of chunks after which the connection breaks.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import httptools
import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
PADDING_BYTES = 64
NEVER = 1 << 60


class Source(asyncio.Protocol):
    """One connection: requests one after the other, each answered with a timed body."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._padding = b""
        self._breaks_after = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Send nothing more."""
        del exc
        self._transport = None
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Keep the target of the request."""
        self._url = url

    def on_message_complete(self) -> None:
        """Begin the answer."""
        count, interval, phase, *more = map(int, self._url.strip(b"/").split(b"/"))
        padding, self._breaks_after = (*more, *(PADDING_BYTES, NEVER)[len(more) :])
        self._padding = b"x" * padding
        self._write(HEAD)
        start = self._loop.time() + phase / 1e6
        if phase:
            self._timer = self._loop.call_at(start, self._next, 0, count, start, interval / 1e6)
        else:
            self._next(0, count, start, interval / 1e6)

    def _next(self, number: int, count: int, start: float, interval: float) -> None:
        if number == count:
            self._write(b"0\r\n\r\n")
            return
        if number == self._breaks_after and self._transport:
            self._transport.abort()
            return
        record = b'data: {"n": %d, "t": %d, "pad": "%s"}\n\n'
        record %= (number, time.monotonic_ns(), self._padding)
        self._write(b"%x\r\n%s\r\n" % (len(record), record))
        due = start + (number + 1) * interval
        self._timer = self._loop.call_at(due, self._next, number + 1, count, start, interval)

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Source, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
