"""The upstream: requests to it, and its answers, over a pool of connections.

Whatever goes wrong becomes an `UpstreamError` that carries the generation's `Ending`; its message
is for the reader and names the upstream's host, never an internal text.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi

from durable_proxy._coding import CodingError, decoder_for
from durable_proxy._dial import (
    HTTP1,
    HTTP2,
    Dialer,
    DialError,
    ForbiddenError,
    Resolver,
    Route,
    resolve_by_system,
)
from durable_proxy._egress import Egress
from durable_proxy._headers import content_type_of, forwardable_headers
from durable_proxy._http1 import (
    MAX_OVERHEAD_BYTES,
    GarbageError,
    Head,
    OverheadError,
    TruncatedError,
)
from durable_proxy._incoming import BrokenError, NotTakenError, SilentError
from durable_proxy._lifecycle import Ending, Event
from durable_proxy._pool import Lease, Pool
from durable_proxy._upstream_request import UpstreamRequest
from durable_transport.protocol import Rejected, StartPayload

ERROR_BODY_SECONDS = 10.0
"""How long the body of an upstream's error answer may take."""

Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the upstream may take, in seconds.

    Attributes:
        connect: To accept a connection.
        answer: From the request to the response headers. Models that think before they speak
            need minutes.
        idle: Between two pieces of the body.
        total: From the request to the end of the body.
    """

    connect: float = 10.0
    answer: float = 600.0
    idle: float = 300.0
    total: float = 6 * 3600.0


class UpstreamError(Exception):
    """The upstream did not do what it should; `ending` says what."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        super().__init__(ending)

    def __str__(self) -> str:
        return f"{self.ending.event}: {self.ending.message}"


class Upstream:
    """Sends requests upstream, over one pool of connections. Made by `open_upstream`.

    Attributes:
        timeouts: As given. Whoever relays sees to the total one.
    """

    def __init__(self, timeouts: Timeouts, pool: Pool) -> None:
        self.timeouts = timeouts
        self._pool = pool

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator["UpstreamAnswer"]:
        """Send a request; in the context, its response headers are in. No redirect is followed.

        Raises:
            UpstreamError: there will be no response.
        """
        route = Route(
            request.target.scheme,
            request.target.host,
            request.target.port,
            any_address=request.any_address,
        )
        try:
            async with asyncio.timeout(self.timeouts.answer):
                lease, head = await self._begin(request, route)
        except TimeoutError:
            message = f"{request.target.origin} did not answer in {self.timeouts.answer:g} s"
            raise UpstreamError(Ending(Event.SILENT, message)) from None
        try:
            yield UpstreamAnswer(request, head, lease, self.timeouts.idle)
        finally:
            self._pool.release(route, lease)

    async def _begin(self, request: UpstreamRequest, route: Route) -> tuple[Lease, Head]:
        try:
            return await self._try(request, route)
        except NotTakenError:
            pass
        # The other side has said that it did not look at the request (RFC 9113 section 8.7), as
        # one does that is about to be restarted. In any other case nothing is sent twice.
        try:
            return await self._try(request, route)
        except NotTakenError as error:
            raise UpstreamError(_unreachable(request, "takes no requests")) from error

    async def _try(self, request: UpstreamRequest, route: Route) -> tuple[Lease, Head]:
        lease = await self._connect(request, route)
        try:
            return lease, await _ask(lease, request)
        except BaseException:
            self._pool.release(route, lease)
            raise

    async def _connect(self, request: UpstreamRequest, route: Route) -> Lease:
        try:
            return await self._pool.acquire(route)
        except DialError as error:
            raise UpstreamError(_unreachable(request, str(error))) from error
        except ForbiddenError as error:
            message = (
                f"{request.target.origin} has an address that is not public ({error.kind});"
                f" to allow it, start the proxy with a pattern that names the host without a *:"
                f" --allow '{request.target.origin}/**'"
            )
            raise UpstreamError(Ending(Event.FORBIDDEN, message)) from error


async def _ask(lease: Lease, request: UpstreamRequest) -> Head:
    try:
        answer = await lease.ask(request)
    except OverheadError as error:
        did = f"sent headers of more than {MAX_OVERHEAD_BYTES // 1024} KiB, the proxy's limit"
        raise UpstreamError(_unreachable(request, did)) from error
    except GarbageError as error:
        raise UpstreamError(_unreachable(request, "did not answer in HTTP")) from error
    except (TruncatedError, BrokenError) as error:
        did = "closed the connection before it answered"
        raise UpstreamError(_unreachable(request, did)) from error
    if answer.status not in range(200, 600):
        raise UpstreamError(_unreachable(request, "did not answer in HTTP"))
    return answer


@asynccontextmanager
async def open_upstream(
    timeouts: Timeouts,
    *,
    tls: ssl.SSLContext | None = None,
    egress: Egress | None = None,
    resolve: Resolver = resolve_by_system,
) -> AsyncIterator[Upstream]:
    """An upstream for as long as the block lasts.

    Args:
        timeouts: How long the upstream may take.
        tls: For other certificates than those that this machine trusts.
        egress: The proxy that all calls go through.
        resolve: What resolves names.
    """
    # In a thread, because it reads certificates from disk.
    trusted = await asyncio.to_thread(_trusted_here) if tls is None else tls
    dialer = Dialer(seconds=timeouts.connect, tls=trusted, egress=egress, resolve=resolve)
    pool = Pool(dialer.dial)
    try:
        yield Upstream(timeouts, pool)
    finally:
        await pool.close()
        await asyncio.sleep(0)  # the loop closes their sockets in its next round


def _trusted_here() -> ssl.SSLContext:
    """What OpenSSL finds on this machine, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` included.

    Where there is nothing, as in a slim container, it is Mozilla's list.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    found = paths.cafile or (paths.capath and any(Path(paths.capath).iterdir()))
    if not found and sys.platform != "win32":
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols([HTTP2, HTTP1])
    return context


def _unreachable(request: UpstreamRequest, did: str) -> Ending:
    return Ending(Event.UNREACHABLE, f"{request.target.origin} {did}")


class UpstreamAnswer:
    """Response headers that are in, and a body that is coming.

    Attributes:
        status: The response's.
    """

    def __init__(self, request: UpstreamRequest, head: Head, lease: Lease, idle: float) -> None:
        self._origin = request.target.origin
        self.status = head.status
        # As latin-1, so that the bytes which came are the bytes that will be sent.
        self._raw_headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in head.headers
        ]
        self._lease = lease
        self._idle = idle

    @property
    def accepted(self) -> bool:
        """The status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the range of success

    def start(self) -> StartPayload:
        """What a reader has to know before the body."""
        return StartPayload(
            status=self.status,
            content_type=content_type_of(self._raw_headers),
            headers=forwardable_headers(self._raw_headers),
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
        headers = forwardable_headers(self._raw_headers)
        if (content_type := content_type_of(self._raw_headers)) is not None:
            headers.insert(0, ("content-type", content_type))
        rejected = Rejected(self.status, tuple(headers), bytes(body))
        return Ending(Event.REJECTED, f"{self._origin} answered {self.status}", rejected)

    async def copy_to(self, sink: Sink) -> None:
        """Give the body to ``sink`` piece by piece, as it comes, until its promised end.

        Raises:
            UpstreamError: it ended in any other way.
        """
        try:
            await self._copy_to(sink)
        except SilentError:
            message = f"{self._origin} sent nothing for {self._idle:g} s"
            raise UpstreamError(Ending(Event.SILENT, message)) from None
        except TruncatedError as error:
            # The connection was closed in good order, but neither the promised length nor the
            # last chunk had come.
            message = f"{self._origin} ended its answer before the end it had promised"
            raise UpstreamError(Ending(Event.TRUNCATED, message)) from error
        except CodingError as error:
            message = f"{self._origin} packed its answer in a way that cannot be undone: {error}"
            raise UpstreamError(Ending(Event.BROKE, message)) from error
        except GarbageError as error:
            message = f"{self._origin} sent something in its answer that is not HTTP"
            raise UpstreamError(Ending(Event.BROKE, message)) from error
        except BrokenError as error:
            message = f"the connection to {self._origin} broke before the end of its answer"
            raise UpstreamError(Ending(Event.BROKE, message)) from error

    async def _copy_to(self, sink: Sink) -> None:
        # No coding was asked for; but some upstreams pack anyway.
        decoder = decoder_for(self._content_encoding)
        while packed := await self._lease.read(self._idle):
            for piece in decoder.feed(packed):
                await sink(piece)
        if not decoder.complete:
            message = f"{self._origin} ended its packed answer before the end of what was packed"
            raise UpstreamError(Ending(Event.TRUNCATED, message))

    @property
    def _content_encoding(self) -> str:
        return ",".join(value for name, value in self._raw_headers if name == "content-encoding")


class _EnoughError(Exception):
    """The part of an error body that is kept is full."""
