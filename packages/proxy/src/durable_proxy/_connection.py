"""One connection to an upstream: a request goes out, its answer is read as it comes.

What has come and is not fetched yet waits here; beyond a limit the socket is not read from until
it is fetched. `asyncio` calls the methods of the protocol; nothing in them waits.
"""

import asyncio
import selectors
from typing import cast

from durable_proxy._http1 import (
    GarbageError,
    Head,
    ResponseParser,
    TruncatedError,
    request_bytes,
)
from durable_proxy._incoming import BUFFERED_BYTES, BrokenError, Incoming
from durable_proxy._upstream_request import UpstreamRequest

SEND_STEP_BYTES = 256 * 1024
"""A longer request is handed to the socket in pieces of this size."""

_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.DefaultSelector
)
"""Asks once with one system call, where the default one takes four on Linux."""

FIRST_REFUSING_STATUS = 300


class Connection(Incoming, asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: asyncio.Transport | None = None
        self._parser: ResponseParser | None = None
        self._buffered = 0
        self._lost = False
        self._sent = False
        self._reading_paused = False
        self._writing_paused = False

    # ------------------------------------------------------------------ for the user

    async def ask(self, request: UpstreamRequest) -> Head:
        """Send a request upstream and wait for the head of its answer.

        Raises:
            GarbageError, TruncatedError, BrokenError: there will be none.
        """
        target = request.target
        head = request_bytes(
            request.method,
            target.path + target.query,
            target.authority,
            request.headers,
            request.body,
        )
        return await self.request(request.method, head, request.body)

    async def request(self, method: str, head: bytes, body: bytes) -> Head:
        """Send a request and wait for the head of its answer.

        Raises:
            GarbageError, TruncatedError, BrokenError: there will be none.
        """
        parser = self._parser = ResponseParser(method, self._body)
        self._sent = False
        await self._send(parser, head, body)
        while parser.head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return parser.head

    def finish(self) -> bool:
        """The answer is of no more interest.

        Returns:
            Whether the connection can carry another request; it is closed when it cannot.
        """
        parser, self._parser = self._parser, None
        self._forget()
        self._buffered = 0
        reusable = parser is not None and parser.reusable and self._sent and self._failure is None
        if not reusable or self._is_closing:
            self.abort()
            return False
        self._resume_reading()
        return True

    @property
    def is_stale(self) -> bool:
        """While nobody used it, the other side has closed it, or said what nobody asked for.

        The socket itself is asked: what has come since the event loop last looked counts. So a
        request is not written into a connection whose end is here already, and needs no second
        attempt, which for a paid one must not be.
        """
        return self._is_closing or is_readable(self._transport)

    def begin_tunnel(self) -> None:
        """From here on the connection is one to somebody behind the other side."""
        self._parser = None

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _is_closing(self) -> bool:
        return self._lost or self._transport is None or self._transport.is_closing()

    # ------------------------------------------------------------------ sending

    async def _send(self, parser: ResponseParser, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if len(body) <= SEND_STEP_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            for start in range(0, len(body), SEND_STEP_BYTES):
                while self._writing_paused and self._wants_more(parser):
                    await self._wait()
                if not self._wants_more(parser):
                    return
                self._transport.write(body[start : start + SEND_STEP_BYTES])
        self._sent = True

    def _wants_more(self, parser: ResponseParser) -> bool:
        """The upstream is there and has not said no before it had the whole request."""
        if self._failure is not None or parser.complete:
            return False
        return parser.head is None or parser.head.status < FIRST_REFUSING_STATUS

    # ------------------------------------------------------------------ receiving

    def _is_over(self) -> bool:
        return self._parser is None or self._parser.complete

    def _fetched(self) -> None:
        self._buffered = 0
        self._resume_reading()

    def _give_up(self) -> None:
        self.abort()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    # ------------------------------------------------------------------ called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on, and wake whoever waits for what it has brought."""
        parser = self._parser
        if parser is None:
            self.abort()  # nobody has asked for anything
            return
        try:
            parser.feed(data)
        except GarbageError as error:
            self._fail(error)
            return
        self._buffered += len(data)
        if self._buffered >= BUFFERED_BYTES and self._transport and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        if self._body or parser.head is not None:
            self._wake()

    def eof_received(self) -> None:
        """Take the end for the end of a body that has no other; the connection is closed."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._lost = True
        if exc is None:
            self._end()
        elif self._parser is not None and not self._parser.complete:
            self._fail(BrokenError(str(exc)))
        self._wake()

    def _end(self) -> None:
        if self._parser is None or self._failure is not None:
            return
        try:
            self._parser.end()
        except TruncatedError as error:
            self._fail(error)
        self._wake()

    def pause_writing(self) -> None:
        """Hand nothing more to the socket."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._writing_paused = False
        self._wake()


def is_readable(transport: asyncio.Transport | None) -> bool:
    """Something has come that the event loop has not seen yet: bytes, or an end."""
    socket = None if transport is None else transport.get_extra_info("socket")
    if socket is None:
        return True
    with _Selector() as selector:
        selector.register(socket.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))
