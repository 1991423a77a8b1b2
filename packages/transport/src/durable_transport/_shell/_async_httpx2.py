"""The asynchronous transport for httpx2."""

import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import uuid4

import httpcore2  # noqa: F401  (httpx2 imports it on first use, which would stall an event loop)
import httpx2

from durable_transport._effects import (
    Answer,
    AskHeaders,
    Breakage,
    Broke,
    Close,
    Effect,
    Emit,
    Open,
    Opened,
    Read,
    ReadAll,
    Sleep,
    Step,
    Store,
)
from durable_transport._entries import Sessions, Storage
from durable_transport._errors import GenerationError, may_go_on
from durable_transport._fields import Fields, raw
from durable_transport._generation import Generation
from durable_transport._headers import ambient_headers, session_headers
from durable_transport._link import Clocks
from durable_transport._request import DurableRequest, ProxyURL, read_request
from durable_transport._shape_generation import Reads, driver_for
from durable_transport._shell._errors_httpx2 import broke, flavoured
from durable_transport._shell._io_async import (
    HeaderSource,
    at_most,
    bounded_cleanup,
    evaluate,
    finish,
    run_blocking,
    sleep,
)
from durable_transport._stop import Stop, Stopped, StopWish
from durable_transport._storage import MemoryStorage
from durable_transport._timing import Timing
from durable_transport.protocol import ProxyHeader

T = TypeVar("T")

_CLOCKS = Clocks(monotonic=time.monotonic, wall=time.time, random=random.random)
_unanswered: ContextVar[DurableRequest | None] = ContextVar("durable_unanswered", default=None)
"""The caller's last request, while nobody knows what became of it: it may be tried again."""


class AsyncDurableTransport(httpx2.AsyncBaseTransport):
    """Sends requests through a durable proxy, so that their answers survive a drop.

    Args:
        proxy_url: The proxy's base URL, for example ``http://localhost:4000``.
        session: The session of requests that name none, as in `session`.
        storage: Where active generations are remembered; `MemoryStorage` when absent.
        headers: Headers for the proxy, such as credentials: a mapping, or a function that is
            called for every request, also for each reconnection. They do not go upstream.
        match: Which requests are made durable; the others go straight to where they are
            addressed. All, when absent.
        transport: Does the actual sending, and is closed with this one only when it was made
            here (when absent).
        timing: Time settings.
        reads: Where answers are read: ``log``, any bytes and as they come, or ``shapes``, text by
            the Electric HTTP API.

    Raises:
        InvalidProxyURL: ``proxy_url`` cannot be one.
        ValueError: ``reads`` is neither, or ``session`` is no id.
    """

    def __init__(
        self,
        proxy_url: str,
        *,
        session: str | None = None,
        storage: Storage | None = None,
        headers: HeaderSource = None,
        match: Callable[[httpx2.Request], bool] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        timing: Timing | None = None,
        reads: Reads = "log",
    ) -> None:
        self._driver = driver_for(reads)
        self._proxy = ProxyURL.parse(str(proxy_url))
        self._storage: Storage = MemoryStorage() if storage is None else storage
        self.sessions = Sessions(self._storage, self._proxy.text, clock=_CLOCKS.wall)
        """What is remembered of this proxy's sessions."""
        self._defaults = session_headers(session)
        self._headers = headers
        self._match = match
        self._timing = timing or Timing()
        self._owned = transport is None
        # A live answer holds its connection for minutes: a limit would be one on conversations.
        self._inner = transport or httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the answer's body is durable."""
        ambient = self._defaults | ambient_headers()
        resume = ProxyHeader.RESUME_ACTIVE_GENERATION
        is_resume = resume in request.headers or resume.lower() in ambient
        if self._match is not None and not is_resume and not self._match(request):
            return await self._inner.handle_async_request(request)
        asked = read_request(
            method=request.method,
            url=str(request.url),
            headers=Fields(request.headers.raw),
            # Read as a whole: it may have to be sent again.
            body=b"" if is_resume else await request.aread(),
            timeout=request.extensions.get("timeout", {}),
            ambient=ambient,
            new_id=uuid4,
            unanswered=_unanswered.get(),
        )
        generation = self._driver(
            asked,
            proxy=self._proxy,
            sessions=self.sessions,
            timing=self._timing,
            clocks=_CLOCKS,
        )
        connection = _Connection(self._inner, self._headers, blocking=self._storage.blocking)
        body = _Body(generation, connection, self._timing)
        _unanswered.set(asked)
        try:
            response = await body.respond()
        except GenerationError as error:
            if not may_go_on(error):
                _unanswered.set(None)
            raise
        _unanswered.set(None)
        return response

    async def stop(
        self,
        session_id: str,
        request_id: str | None = None,
        *,
        reason: str | None = None,
        actor: str | None = None,
        incarnation: str | None = None,
    ) -> Stopped:
        """End a generation, on whichever node of the proxy it runs; what was written is kept.

        Its readers get `GenerationAborted`. To stop one that has ended changes nothing. Closing or
        cancelling a response stops nothing: that only leaves it.

        Args:
            session_id: As in `session`.
            request_id: Likewise; None: the session's active generation, as this storage knows it;
                where it knows none, the newest that runs, which takes the right to list.
            reason: Told to whoever reads it, like ``actor``.
            actor: Who stops it.
            incarnation: Only this attempt of these ids (``X-Proxy-Incarnation``).

        Raises:
            GenerationNotFound: there is no such generation.
            ProxyUnreachable, ProxyRefused, NotADurableProxy: the proxy could not be told.
        """
        wish = StopWish(session_id, request_id, reason, actor, incarnation)
        stop = Stop(
            wish, proxy=self._proxy, sessions=self.sessions, timing=self._timing, clocks=_CLOCKS
        )
        connection = _Connection(self._inner, self._headers, blocking=self._storage.blocking)
        try:
            return await connection.run(stop.run())
        finally:
            with bounded_cleanup(self._timing.close):
                await connection.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they belong to the ``transport`` given."""
        if self._owned:
            await self._inner.aclose()


class _Connection:
    """Performs effects; holds at most one open answer."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, headers: HeaderSource, *, blocking: bool
    ) -> None:
        self._inner = inner
        self._headers = headers
        self._blocking = blocking
        self._response: httpx2.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None

    async def run(self, step: Step[T]) -> T:
        """Perform all effects of a step that hands nothing out; return its result."""
        answer = None
        while True:
            try:
                effect = step.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = await self.perform(effect)

    async def perform(self, effect: Effect) -> Any:  # noqa: PLR0911  (one case per effect)
        """Do what the driver asks for; return its answer."""
        match effect:
            case Read():
                return await self._read()
            case Store(function):
                return await run_blocking(function) if self._blocking else function()
            case AskHeaders():
                return await evaluate(self._headers)
            case Open():
                return await self._open(effect)
            case ReadAll(limit):
                return await self._read_all(limit)
            case Close():
                return await self.aclose()
            case Sleep(seconds):
                return await sleep(seconds)
            case Emit():  # pragma: no cover
                raise AssertionError("only the body hands something out")

    async def _open(self, effect: Open) -> Opened | Broke:
        await self.aclose()
        request = httpx2.Request(
            effect.method,
            effect.url,
            headers=raw(effect.headers),
            content=effect.content,
            extensions={"timeout": dict(effect.timeout)},
        )
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            return broke(error)
        self._parts = aiter(_async_stream(response))
        self._response = response
        return Opened(response.status_code, Fields(response.headers.raw))

    async def _read(self) -> bytes | Broke | None:
        if self._parts is None:
            return None
        try:
            while True:
                data = await anext(self._parts)
                if data:
                    return data
        except StopAsyncIteration:
            return None
        except httpx2.TransportError as error:
            return broke(error)

    async def _read_all(self, limit: int) -> bytes | Broke:
        parts = bytearray()
        while True:
            part = await self._read()
            if part is None:
                break
            if isinstance(part, Broke):
                await self.aclose()
                return part
            parts += part
            if len(parts) > limit:
                await self.aclose()
                error = httpx2.RemoteProtocolError(f"an answer of more than {limit} bytes")
                return Broke(Breakage.DROPPED, error)
        await self.aclose()
        return bytes(parts)

    async def aclose(self) -> None:
        """Close the open answer, if any."""
        response, self._response = self._response, None
        parts, self._parts = self._parts, None
        if response is not None:
            await response.aclose()
        if parts is not None:
            await finish(parts)


class _Body(httpx2.AsyncByteStream):
    """The unbroken body of one durable response."""

    def __init__(self, generation: Generation, connection: _Connection, timing: Timing) -> None:
        self._generation = generation
        self._connection = connection
        self._timing = timing
        self._steps: Step[None] | None = None
        self._busy = False
        self._closed = False

    async def respond(self) -> httpx2.Response:
        """The response whose body this is, or the whole one there is instead."""
        try:
            answer: Answer = await self._connection.run(self._generation.answer())
        except GenerationError as error:
            await self._leave()
            raise flavoured(error) from error.__cause__
        except BaseException:
            await self._leave()
            raise
        stream: httpx2.AsyncByteStream = self
        if answer.body is not None:
            await self._leave()
            stream = httpx2.ByteStream(answer.body)
        return httpx2.Response(
            answer.status,
            # Those of a resumed answer come out of JSON, which can hold any text.
            headers=raw(answer.headers, "replace"),
            stream=stream,
            extensions={"durable": self._generation.progress},
        )

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Parts(self)

    async def part(self) -> bytes:
        """The next part of the body."""
        if self._closed:
            raise StopAsyncIteration
        if self._steps is None:
            self._steps = self._generation.body()
        self._busy = True
        try:
            return await self._next(self._steps)
        except StopAsyncIteration:
            await self._leave()
            raise
        except GenerationError as error:
            await self._leave()
            raise flavoured(error) from error.__cause__
        except BaseException:
            await self._leave()
            raise
        finally:
            self._busy = False

    async def _next(self, steps: Step[None]) -> bytes:
        answer = None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration:
                raise StopAsyncIteration from None
            if isinstance(effect, Emit):
                data: bytes = effect.data
                return data
            answer = await self._connection.perform(effect)
            if self._closed:
                raise httpx2.ReadError("the response was closed while it was being read")

    async def aclose(self) -> None:
        """Stop reading, at once."""
        if self._closed:
            return
        # While an exception passes through (a cancellation, for one) there is no time to ask
        # whether the generation is over; an abandoned generator is no such exception. Nor is
        # there while another task is reading.
        in_peace = sys.exc_info()[0] in (None, GeneratorExit)
        try:
            if in_peace and self._steps is not None and not self._busy:
                with at_most(self._timing.settle):
                    await self._connection.run(self._generation.settle())
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Close what is open and store how far the consumer came; not stopped by cancellation."""
        if self._closed:
            return
        self._closed = True
        with bounded_cleanup(self._timing.close):
            await self._connection.run(self._generation.leave())


class _Parts:
    """The iterator over a body. It has no ``close`` that a ``yield from`` could call."""

    def __init__(self, body: _Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._body.part()


def _async_stream(response: httpx2.Response) -> httpx2.AsyncByteStream:
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        raise TypeError("transport= must be an asynchronous transport")
    return response.stream
