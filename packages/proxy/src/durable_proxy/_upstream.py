"""The upstream: the one module that knows the HTTP client and its exceptions.

Whatever goes wrong becomes an `UpstreamError` that carries the generation's `Ending`; its message
is for the reader and names the upstream's host, never an internal text.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import anyio.lowlevel
import httpx2

from durable_proxy._coding import CodingError, Decoder, decoder_for
from durable_proxy._headers import content_type_of, forwardable_headers
from durable_proxy._lifecycle import Ending, Event
from durable_proxy._start_request import StartRequest
from durable_transport.protocol import Rejected, StartPayload

ERROR_BODY_SECONDS = 10.0
"""How long the body of an upstream's error answer may take."""
MAX_KEPT_CONNECTIONS = 100

_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)

Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the upstream may take, in seconds.

    Attributes:
        connect: To accept a connection.
        answer: From the request to the response headers. Models that think before they speak
            need minutes.
        idle: Between two pieces of the body.
    """

    connect: float = 10.0
    answer: float = 600.0
    idle: float = 300.0


class UpstreamError(Exception):
    """The upstream did not do what it should; `ending` says what."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        super().__init__(ending)

    def __str__(self) -> str:
        return f"{self.ending.event}: {self.ending.message}"


class Upstream:
    """Sends requests upstream, over one pool of connections. Made by `open_upstream`."""

    def __init__(self, timeouts: Timeouts, client: httpx2.AsyncClient) -> None:
        self._timeouts = timeouts
        self._client = client

    @asynccontextmanager
    async def send(self, request: StartRequest) -> AsyncIterator["UpstreamAnswer"]:
        """Send a request; in the context, its response headers are in.

        Raises:
            UpstreamError: there will be no response.
        """
        response = await self._send(request)
        try:
            if response.status_code not in range(200, 600):
                raise UpstreamError(_unreachable(request, "did not answer in HTTP"))
            yield UpstreamAnswer(request, response, self._timeouts.idle)
        finally:
            await response.aclose()

    async def _send(self, request: StartRequest) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._timeouts.answer):
                return await self._client.send(
                    self._build(request), stream=True, auth=None, follow_redirects=False
                )
        except TimeoutError:
            message = f"{request.target.origin} did not answer in {self._timeouts.answer:g} s"
            raise UpstreamError(Ending(Event.SILENT, message)) from None
        except httpx2.ConnectTimeout as error:
            did = f"did not accept a connection in {self._timeouts.connect:g} s"
            raise UpstreamError(_unreachable(request, did)) from error
        except httpx2.ConnectError as error:
            raise UpstreamError(_unreachable(request, "cannot be connected to")) from error
        except _ERRORS as error:
            did = "closed the connection, or did not answer in HTTP"
            raise UpstreamError(_unreachable(request, did)) from error

    def _build(self, request: StartRequest) -> httpx2.Request:
        # Not the client's own build_request: it would add the client's default headers. Silence
        # is timed here, with one limit for the headers and one for the body.
        return httpx2.Request(
            request.method,
            str(request.target),
            headers=list(request.headers),
            content=request.body or None,
            extensions={"timeout": {"connect": self._timeouts.connect}},
        )


@asynccontextmanager
async def open_upstream(
    timeouts: Timeouts, client: httpx2.AsyncClient | None = None
) -> AsyncIterator[Upstream]:
    """An upstream for as long as the block lasts.

    Args:
        timeouts: How long the upstream may take.
        client: For other certificates or an egress proxy; the caller closes it. Its redirects,
            cookies and authentication are not used.
    """
    if client is not None:
        yield Upstream(timeouts, client)
        return
    # anyio looks its backend up at the first use, which takes a tenth of a second: not while
    # answers are running.
    await anyio.lowlevel.checkpoint()
    # In a thread, because making a client reads certificates from disk.
    async with await asyncio.to_thread(_make_client) as own:
        yield Upstream(timeouts, own)


def _make_client() -> httpx2.AsyncClient:
    """A client that adds nothing of its own and remembers nothing of anybody."""
    return httpx2.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_KEPT_CONNECTIONS),
        trust_env=False,
    )


def _unreachable(request: StartRequest, did: str) -> Ending:
    return Ending(Event.UNREACHABLE, f"{request.target.origin} {did}")


class UpstreamAnswer:
    """Response headers that are in, and a body that is coming."""

    def __init__(self, request: StartRequest, response: httpx2.Response, idle: float) -> None:
        self._origin = request.target.origin
        self._response = response
        self._idle = idle

    @property
    def accepted(self) -> bool:
        """The status is 2xx."""
        return self._response.is_success

    def start(self) -> StartPayload:
        """What a reader has to know before the body."""
        return StartPayload(
            status=self._response.status_code,
            content_type=self._content_type,
            headers=self._headers(),
        )

    async def rejection(self, limit: int) -> Ending:
        """The upstream's no, with at most ``limit`` bytes of its body.

        A body that breaks off is given as far as it came: the status is what counts.
        """
        body = bytearray()

        async def keep(piece: bytes) -> None:
            body.extend(piece[: limit - len(body)])
            if len(body) >= limit:
                raise _EnoughError

        try:
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                await self.copy_to(keep)
        except (_EnoughError, UpstreamError, TimeoutError):
            pass
        status, headers = self._response.status_code, self._headers()
        if self._content_type is not None:
            headers.insert(0, ("content-type", self._content_type))
        rejected = Rejected(status, tuple(headers), bytes(body))
        return Ending(Event.REJECTED, f"{self._origin} answered {status}", rejected)

    async def copy_to(self, sink: Sink) -> None:
        """Give the body to ``sink`` piece by piece, as it comes, until its promised end.

        Raises:
            UpstreamError: it ended in any other way.
        """
        try:
            await self._copy_to(sink)
        except TimeoutError:
            message = f"{self._origin} sent nothing for {self._idle:g} s"
            raise UpstreamError(Ending(Event.SILENT, message)) from None
        except httpx2.RemoteProtocolError as error:
            # The connection was closed in good order, but neither the promised length nor the
            # last chunk had come. (Chunks that are garbage end here as well.)
            message = f"{self._origin} ended its answer before the end it had promised"
            raise UpstreamError(Ending(Event.TRUNCATED, message)) from error
        except CodingError as error:
            message = f"{self._origin} packed its answer in a way that cannot be undone: {error}"
            raise UpstreamError(Ending(Event.BROKE, message)) from error
        except _ERRORS as error:
            message = f"the connection to {self._origin} broke before the end of its answer"
            raise UpstreamError(Ending(Event.BROKE, message)) from error

    async def _copy_to(self, sink: Sink) -> None:
        decoder = self._decoder()
        loop = asyncio.get_running_loop()
        # One timer for the whole body; it stands still while the sink is what is slow.
        async with (
            asyncio.timeout(self._idle) as silence,
            aclosing(self._pieces()) as pieces,
        ):
            async for packed in pieces:
                silence.reschedule(None)
                for piece in decoder.feed(packed):
                    await sink(piece)
                silence.reschedule(loop.time() + self._idle)
        if not decoder.complete:
            message = f"{self._origin} ended its packed answer before the end of what was packed"
            raise UpstreamError(Ending(Event.TRUNCATED, message))

    def _decoder(self) -> Decoder:
        # None was asked for; but some upstreams pack anyway.
        return decoder_for(
            "" if self._is_read else self._response.headers.get("content-encoding", "")
        )

    def _pieces(self) -> AsyncGenerator[bytes, None]:
        # What a client of the caller's own has read already, for a hook or a test, it has unpacked.
        return self._response.aiter_bytes() if self._is_read else self._response.aiter_raw()

    @property
    def _is_read(self) -> bool:
        return self._response.is_stream_consumed

    @property
    def _content_type(self) -> str | None:
        return content_type_of(self._raw_headers)

    @property
    def _raw_headers(self) -> list[tuple[str, str]]:
        # As latin-1, so that the bytes which came are the bytes that will be sent.
        return [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in self._response.headers.raw
        ]

    def _headers(self) -> list[tuple[str, str]]:
        return forwardable_headers(self._raw_headers)


class _EnoughError(Exception):
    """The part of an error body that is kept is full."""
