"""A connection to an upstream in HTTP/2, and the requests that share it.

To whoever asks, an `Exchange` is what a `Connection` is: a request goes out, its answer is read as
it comes. What is not fetched is not acknowledged, and beyond its window nothing more is sent: one
slow reader holds up nobody else.
"""

import asyncio
from typing import assert_never, cast

from durable_proxy._connection import FIRST_REFUSING_STATUS, is_readable
from durable_proxy._http1 import GarbageError, Head, TruncatedError
from durable_proxy._http2 import (
    BodyCame,
    ClientSession,
    Ended,
    Happened,
    HeadCame,
    NotTaken,
    Overlong,
    Reset,
    RoomToSend,
    Shortened,
)
from durable_proxy._incoming import (
    BUFFERED_BYTES,
    BrokenError,
    Failure,
    Incoming,
    NotTakenError,
)
from durable_proxy._upstream_request import UpstreamRequest

ACKNOWLEDGED_AT_BYTES = BUFFERED_BYTES // 4
"""Fetched bytes are acknowledged in steps of this size: each step costs time."""
UNSENT_BYTES = 1024 * 1024
"""How much may wait for the socket: whoever asks and asks and takes no answers is not served."""


class Http2Connection(asyncio.Protocol):
    """A connection that many requests share."""

    def __init__(self) -> None:
        self._session = ClientSession(BUFFERED_BYTES)
        self._transport: asyncio.Transport | None = None
        self._exchanges: set[Exchange] = set()
        self._by_stream: dict[int, Exchange] = {}
        self._lost = False
        self.writing_paused = False

    # ------------------------------------------------------------------ for the pool

    def open(self) -> "Exchange":
        """Room for one request."""
        exchange = Exchange(self)
        self._exchanges.add(exchange)
        return exchange

    @property
    def has_room(self) -> bool:
        """It takes another request."""
        return not self.is_closing and len(self._exchanges) < self._session.most_streams

    @property
    def is_idle(self) -> bool:
        """Nobody uses it."""
        return not self._exchanges

    @property
    def is_closing(self) -> bool:
        """It takes nothing more."""
        gone = self._lost or self._transport is None or self._transport.is_closing()
        return gone or self._session.leaving

    @property
    def is_stale(self) -> bool:
        """While nobody used it, something has come that may be its end, or it has ended."""
        return self.is_closing or (self.is_idle and is_readable(self._transport))

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ for an exchange

    def begin(self, exchange: "Exchange", request: UpstreamRequest) -> int:
        """Send the head of a request; its stream.

        Raises:
            NotTakenError: there is no more room.
        """
        if self.is_closing:
            raise NotTakenError
        try:
            stream = self._session.ask(request)
        except GarbageError as error:
            raise NotTakenError from error
        self._by_stream[stream] = exchange
        self._flush()
        return stream

    def send(self, stream: int, body: bytes, start: int) -> int:
        """Send on in the body of a request; where it is then."""
        if self.writing_paused:
            return start
        start = self._session.send(stream, body, start)
        self._flush()
        return start

    def acknowledge(self, stream: int, size: int) -> None:
        """Let so much more come."""
        self._session.acknowledge(stream, size)
        self._flush()

    def leave(self, exchange: "Exchange", stream: int | None, unacknowledged: int) -> None:
        """Give the room back."""
        self._exchanges.discard(exchange)
        if stream is not None:
            self._by_stream.pop(stream, None)
            self._session.cancel(stream)
            self.acknowledge(stream, unacknowledged)

    def cancel(self, stream: int) -> None:
        """Break the answer of a stream off."""
        self._by_stream.pop(stream, None)
        self._session.cancel(stream)
        self._flush()

    def _flush(self) -> None:
        data = self._session.outgoing()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNSENT_BYTES:
                self.abort()

    # ------------------------------------------------------------------ called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce us."""
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Read on, and give every exchange its own."""
        try:
            for one in self._session.feed(data):
                self._give(one)
        except GarbageError as error:
            self._fail(error)
            return
        self._flush()

    def _give(self, one: Happened) -> None:
        if isinstance(one, RoomToSend):
            self._wake_all()
            return
        exchange = self._by_stream.get(one.stream)
        if exchange is not None:
            exchange.happened(one)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        self._lost = True
        self._fail(BrokenError(str(exc)))

    def _fail(self, failure: Failure) -> None:
        for exchange in list(self._by_stream.values()):
            exchange.fail(failure)
        self.abort()

    def pause_writing(self) -> None:
        """Hand no bodies to the socket."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self.writing_paused = False
        self._wake_all()

    def _wake_all(self) -> None:
        for exchange in list(self._by_stream.values()):
            exchange.wake()


class Exchange(Incoming):
    """One request on a connection, and its answer."""

    def __init__(self, connection: Http2Connection) -> None:
        super().__init__()
        self.connection = connection
        self._stream: int | None = None
        self._head: Head | None = None
        self._complete = False
        self._unacknowledged = 0

    async def ask(self, request: UpstreamRequest) -> Head:
        """Send a request upstream and wait for the head of its answer.

        Raises:
            GarbageError, TruncatedError, BrokenError, NotTakenError: there will be none.
        """
        stream = self._stream = self.connection.begin(self, request)
        sent, before = 0, -1
        while sent < len(request.body) and self._wants_more():
            if sent == before:  # no room
                await self._wait()
            before, sent = sent, self.connection.send(stream, request.body, sent)
        while self._head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._head

    def finish(self) -> None:
        """The answer is of no more interest."""
        self._forget()
        self.connection.leave(self, self._stream, self._unacknowledged)
        self._unacknowledged = 0

    def wake(self) -> None:
        """Something may go on."""
        self._wake()

    def fail(self, failure: Failure) -> None:
        """Nothing more will come."""
        if not self._complete:
            self._fail(failure)

    def happened(self, one: Happened) -> None:
        """Take what concerns this exchange."""
        match one:
            case BodyCame(data=data, size=size):
                self._body.append(data)
                self._unacknowledged += size
                self._wake()
            case HeadCame(head=head):
                self._head = head
                self._wake()
            case Ended():
                self._complete = True
                self._wake()
            case Shortened():
                self._fail(TruncatedError())
            case Overlong():
                self._fail(GarbageError("more of a body than was promised"))
            case Reset():
                self._fail(BrokenError("the stream was reset"))
            case NotTaken():
                # Who has begun to answer has looked at the request.
                self._fail(NotTakenError() if self._head is None else BrokenError())
            case RoomToSend():
                self._wake()
            case _:
                assert_never(one)

    def _wants_more(self) -> bool:
        if self._failure is not None or self._complete:
            return False
        return self._head is None or self._head.status < FIRST_REFUSING_STATUS

    # ------------------------------------------------------------------ receiving

    def _is_over(self) -> bool:
        return self._complete

    def _fetched(self) -> None:
        if self._unacknowledged >= ACKNOWLEDGED_AT_BYTES and self._stream is not None:
            self.connection.acknowledge(self._stream, self._unacknowledged)
            self._unacknowledged = 0

    def _give_up(self) -> None:
        if self._stream is not None:
            self.connection.cancel(self._stream)
