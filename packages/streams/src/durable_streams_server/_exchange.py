"""One HTTP request over ASGI: reading it, answering it, noticing that nobody is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from durable_streams_server._answer import Answer, HeaderList
from durable_streams_server._request import Headers, RequestError, check_size, header, parse_headers
from durable_transport.protocol import ErrorCode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY_TOO_SLOW = "body too slow"


@dataclass(frozen=True)
class Limits:
    """Bounds of what one request may cost. Sizes in bytes, times in seconds.

    Attributes:
        long_poll: How long a long-poll waits for news.
        rotate: How long one SSE or raw answer lives before the client is sent to reconnect.
        raw_idle: How long a raw answer stays open without a byte: tells a quiet stream from a
            dead connection.
        heartbeat: Time between comments on a quiet SSE answer.
        send: How long a client may take to accept more bytes.
        body_wait: How long a client may take to send its body.
    """

    body: int = 16 * 1024 * 1024
    headers: int = 64 * 1024
    long_poll: float = 20.0
    rotate: float = 60.0
    raw_idle: float = 20.0
    heartbeat: float = 15.0
    send: float = 30.0
    body_wait: float = 60.0


def raw_path(scope: Scope) -> str:
    """The path as it came over the wire, percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    return scope["path"] if raw is None else raw.decode("latin-1")


def local_path(scope: Scope) -> str:
    """The raw path within where the application is mounted."""
    return raw_path(scope).removeprefix(scope.get("root_path", ""))


class ClientGoneError(Exception):
    """The client has left, or takes nothing any more: nobody is there to be told."""


DIRECT_BODY = "durable.direct_body"
"""ASGI extension of our protocol: a `DirectBody`."""


class DirectBody(Protocol):
    """Writes pieces of the body of one answer without waiting."""

    def is_behind(self, send: Send) -> bool:
        """``send`` is the server's own, not what a middleware has put before it."""

    def write(self, data: bytes) -> bool:
        """Send a piece; False, and nothing is sent, when it has to wait or nobody is there."""


class Waits(Protocol):
    """Somebody who waits for news, such as a `Reader`."""

    def stop(self) -> None:
        """Wait no longer."""


class Exchange:
    """One request and its answer.

    Attributes:
        limits: What it may cost.
        status: Of the answer; 0 before it has begun.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: Limits,
        *,
        extra_headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._extra = extra_headers
        self._scope = scope
        self._receive = receive
        self._send = send
        self.limits = limits
        self.status = 0
        self._headers: Headers | None = None
        self._gone = False
        self._started = False

    @property
    def method(self) -> str:
        """The request method, upper case."""
        method: str = self._scope["method"]
        return method

    @property
    def raw_path(self) -> str:
        """The path as it came over the wire, percent-encoded."""
        return raw_path(self._scope)

    @property
    def root_path(self) -> str:
        """The part of the path that belongs to where the application is mounted."""
        root: str = self._scope.get("root_path", "")
        return root

    @property
    def local_path(self) -> str:
        """The raw path within where the application is mounted."""
        return local_path(self._scope)

    @property
    def peer(self) -> str | None:
        """Address of the other end of the connection; None when it has none."""
        client = self._scope.get("client")
        return client[0] if client else None

    @property
    def query(self) -> bytes:
        """The query string, percent-encoded."""
        query: bytes = self._scope.get("query_string", b"")
        return query

    @property
    def headers(self) -> Headers:
        """The request's header fields (raises `RequestError` when they are too large)."""
        if self._headers is None:
            headers = parse_headers(self._scope["headers"])
            check_size(headers, self.limits.headers)
            self._headers = headers
        return self._headers

    @property
    def url(self) -> str:
        """The URL that was asked for, without its query."""
        return self.origin + self.raw_path

    @property
    def origin(self) -> str:
        """Scheme and host as the client knows the server."""
        scheme = self._scope.get("scheme", "http")
        host = header(self.headers, b"host") or "localhost"
        return f"{scheme}://{host}"

    async def body(self) -> bytes:
        """The whole request body.

        Raises:
            RequestError: larger than the limit, or not there in time.
            ClientGoneError: the client left while sending.
        """
        declared = header(self.headers, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self.limits.body:
            raise self._too_large()
        message = await self._receive_within(self.limits.body_wait)
        if not message.get("more_body", False):
            return self._checked(message.get("body", b""))
        return await self._long_body(message.get("body", b""))

    async def _long_body(self, first: bytes) -> bytes:
        pieces, size = [first], len(first)
        deadline = asyncio.get_running_loop().time() + self.limits.body_wait
        more = True
        while more and size <= self.limits.body:
            remaining = deadline - asyncio.get_running_loop().time()
            message = await self._receive_within(max(remaining, 0.0))
            piece, more = message.get("body", b""), message.get("more_body", False)
            pieces.append(piece)
            size += len(piece)
        return self._checked(b"".join(pieces))

    async def _receive_within(self, seconds: float) -> Message:
        """The next message of the request. A bare timer, because appends pay for it each time."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests are served in a task")
        timer = asyncio.get_running_loop().call_later(seconds, task.cancel, _BODY_TOO_SLOW)
        try:
            message = await self._receive()
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (_BODY_TOO_SLOW,) or task.uncancel() > 0:
                raise
            raise RequestError(
                ErrorCode.REQUEST_TIMEOUT, "the body did not arrive within the time limit"
            ) from cancelled
        finally:
            timer.cancel()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self.limits.body:
            raise self._too_large()
        return body

    def _too_large(self) -> RequestError:
        return RequestError(
            ErrorCode.BODY_TOO_LARGE, f"the body is larger than {self.limits.body} bytes"
        )

    # ------------------------------------------------------------------ answering

    async def send_answer(self, answer: Answer) -> None:
        """Send a whole answer.

        When a growing answer has begun already there is only its end to send: an end of a live body
        says nothing, the client asks again and is told then.
        """
        if self._started:
            await self.finish()
            return
        self.status = answer.status
        head = self.method == "HEAD"
        headers = [*self._extra, *answer.all_headers(length=not head)]
        body = b"" if head else answer.body
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: HeaderList) -> None:
        """Send status and headers of an answer whose body grows."""
        self._started, self.status = True, status
        headers = [*self._extra, *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        # Without a first body message the server would keep the headers back.
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def send_part(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slower than we are.

        Raises:
            ClientGoneError: the client took nothing for the time limit.
        """
        if self._gone:
            raise ClientGoneError
        try:
            async with asyncio.timeout(self.limits.send):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError as error:
            raise ClientGoneError from error

    @property
    def direct(self) -> DirectBody | None:
        """The way around tasks for pieces of a started body, if the server has one.

        Only when nothing stands between us and the server that might want to see the pieces.
        """
        direct: DirectBody | None = self._scope.get("extensions", {}).get(DIRECT_BODY)
        return direct if direct is not None and direct.is_behind(self._send) else None

    async def finish(self) -> None:
        """End the body."""
        await self._send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def watching(self, reader: Waits) -> AsyncIterator[None]:
        """Stop the reader as soon as the client leaves, for as long as the block lasts."""

        async def wait_for_disconnect() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self._gone = True
            reader.stop()

        watcher = asyncio.create_task(wait_for_disconnect())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])
