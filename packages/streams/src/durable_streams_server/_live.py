"""Answers that grow while the stream does: server-sent events, and wire bytes as they are."""

import asyncio
import random
from collections.abc import Callable
from functools import partial

from durable_streams_server import _answer as render
from durable_streams_server._cursor import next_cursor
from durable_streams_server._exchange import DirectBody, Exchange
from durable_streams_server._follow import follow
from durable_streams_server._model import Chunk
from durable_streams_server._reader import Reader
from durable_streams_server._request import Live
from durable_streams_server._sse import (
    HEARTBEAT,
    control_event,
    data_event,
    hold_back_partial_text,
    is_text,
)
from durable_transport.protocol import format_offset


async def send_events(
    reader: Reader, exchange: Exchange, client_cursor: str | None, clock: Callable[[], float]
) -> None:
    """Answer with server-sent events until the stream is closed or it is time to reconnect.

    Args:
        reader: Entered, at the position of the first byte to send.
        exchange: Not started.
        client_cursor: The cursor that the client sent (PROTOCOL section 10.1).
        clock: Epoch seconds, for cursors.

    Raises:
        ClientGoneError: the client has left, or took nothing for `Limits.send` seconds.
        LogError: the stream cannot be read any further; the answer has not been ended.
    """
    head = render.of_event_stream(base64=not is_text(reader.stream.content_type))
    await exchange.start(head.status, head.all_headers(length=False))
    cursor = next_cursor(client_cursor, clock(), random.random())  # noqa: S311 - spreads load
    async with exchange.watching(reader):
        await _Events(reader, exchange, cursor, clock).send_all()
    await exchange.finish()


class _Events:
    """The server-sent events of one answer."""

    def __init__(
        self, reader: Reader, exchange: Exchange, cursor: str, clock: Callable[[], float]
    ) -> None:
        self._reader = reader
        self._exchange = exchange
        self._direct = exchange.direct
        self._cursor = cursor
        self._clock = clock
        self._held = b""  # the start of a code point whose rest is not there yet

    async def send_all(self) -> None:
        """Send until the stream is closed, the reader is stopped or the answer is old enough."""
        limits, loop = self._exchange.limits, asyncio.get_running_loop()
        until = loop.time() + limits.rotate
        # Whoever is up to date is told so at once; after that, silence is only kept alive.
        chunk, told = await self._reader.read(), False
        while True:
            chunk, self._held = hold_back_partial_text(self._held, chunk)
            if chunk.data or chunk.closed or not told:
                await self._exchange.send_part(self._event(chunk))
                told = True
            else:
                await self._exchange.send_part(HEARTBEAT)
            quiet = min(limits.heartbeat, until - loop.time())
            if chunk.closed or self._reader.stopped or quiet <= 0:
                break
            chunk = await self._next(quiet, until)

    async def _next(self, quiet: float, until: float) -> Chunk:
        """What is not sent at once: the next chunk, or an empty one after ``quiet`` seconds."""
        if self._direct is None:
            chunk = await self._reader.next(quiet)
        else:
            await follow(self._reader, self._send_now, quiet=quiet, until=until)
            chunk = await self._reader.read()
        self._move_cursor()
        return chunk

    def _send_now(self, chunk: Chunk) -> bool:
        self._move_cursor()
        whole, held = hold_back_partial_text(self._held, chunk)
        if whole.data and (self._direct is None or not self._direct.write(self._event(whole))):
            return False
        self._held = held
        return True

    def _move_cursor(self) -> None:
        self._cursor = max(self._cursor, next_cursor(None, self._clock(), 0.0), key=int)

    def _event(self, chunk: Chunk) -> bytes:
        """Data (if there is any) and control event, encoded once for all readers at this place."""
        key = (chunk.start, chunk.end, chunk.up_to_date, chunk.closed, self._cursor)
        return self._reader.shared_frame(key, partial(_encode, chunk, self._cursor))


def _encode(chunk: Chunk, cursor: str) -> bytes:
    data = data_event(chunk.data, chunk.stream.content_type) if chunk.data else b""
    return data + control_event(
        next_offset=format_offset(chunk.end),
        cursor=cursor,
        up_to_date=chunk.up_to_date,
        closed=chunk.closed,
    )


async def send_raw(reader: Reader, exchange: Exchange) -> None:
    """Send a stream's wire bytes, live and without framing, as the body of a started answer.

    The body ends when the stream is closed, after `Limits.raw_idle` seconds without a byte, when
    the answer has lived for `Limits.rotate` seconds, or when the log shuts down; the client finds
    out which by asking again. Bytes are on disk before they are sent.

    Args:
        reader: Entered, at the position of the first byte to send.
        exchange: Started: status and headers are the caller's.

    Raises:
        ClientGoneError: the client has left, or took nothing for `Limits.send` seconds.
        LogError: the stream cannot be read any further; the answer has not been ended.
    """
    limits, reader.mode = exchange.limits, Live.RAW
    loop, direct = asyncio.get_running_loop(), exchange.direct
    until = loop.time() + limits.rotate
    async with exchange.watching(reader):
        while not reader.stopped:
            quiet = max(0.0, min(limits.raw_idle, until - loop.time()))
            if direct is not None:
                await follow(reader, partial(_write, direct), quiet=quiet, until=until)
                quiet = 0.0
            chunk = await reader.next(quiet)
            if chunk.data:
                await exchange.send_part(chunk.data)
            if chunk.closed or not chunk.data:
                break
    await exchange.finish()


def _write(direct: DirectBody, chunk: Chunk) -> bool:
    return direct.write(chunk.data)
