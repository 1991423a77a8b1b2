"""Connections to upstreams: a name is resolved once, and what was checked is connected to.

Every address of the name is judged before the first is tried; a name with one address that may
not be called is not called at all. Nothing resolves the name again, so a name server that answers
the next question differently changes nothing (DNS rebinding).
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

from durable_proxy._connection import Connection
from durable_proxy._egress import Egress
from durable_proxy._http1 import GarbageError, TruncatedError, request_bytes
from durable_proxy._http2_connection import Http2Connection
from durable_proxy._incoming import BrokenError
from durable_proxy._urls import is_address
from durable_streams_server.addresses import why_not_public

HTTP1, HTTP2 = "http/1.1", "h2"
"""What they are called in ALPN (RFC 7301)."""
STAGGER_SECONDS = 0.25
"""How long one address is tried alone before the next is tried beside it (RFC 8305)."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its addresses, the best one first; OSError when it has none."""


class DialError(Exception):
    """There is no connection; the text says what the upstream did not do."""


class ForbiddenError(Exception):
    """The name leads to an address that may not be called; `kind` says what that is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)

    def __str__(self) -> str:
        return f"an address that is {self.kind}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection leads; one that is kept serves only its own route.

    Attributes:
        any_address: Also an address that is not public.
    """

    scheme: str
    host: str
    port: int
    any_address: bool

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine's resolver has for a name."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that cannot be asked for
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class _Chooser(asyncio.Protocol):
    """Makes way, as soon as TLS is established, for the protocol that was agreed on (ALPN)."""

    def __init__(self) -> None:
        self.chosen: Connection | Http2Connection | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Choose."""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        agreed = None if tls is None else tls.selected_alpn_protocol()
        chosen = self.chosen = Http2Connection() if agreed == HTTP2 else Connection()
        cast("asyncio.Transport", transport).set_protocol(chosen)
        chosen.connection_made(transport)
        if self._early:
            chosen.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """Keep what a server in HTTP/2 says first, if that is before we know of the connection."""
        self._early += data


class Dialer:
    """Makes connections.

    Args:
        seconds: How long one may take, from the name to the end of the TLS handshake.
        tls: Which certificates are trusted.
        egress: A proxy to go through. Names are resolved by it then, and to guard its network is
            its own affair.
        resolve: What resolves names otherwise.
    """

    def __init__(
        self,
        *,
        seconds: float,
        tls: ssl.SSLContext,
        egress: Egress | None = None,
        resolve: Resolver = resolve_by_system,
    ) -> None:
        self._seconds = seconds
        self._tls = tls
        self._egress = egress
        self._resolve = resolve

    async def dial(self, route: Route) -> Connection | Http2Connection:
        """Make a connection.

        Raises:
            DialError: there is none.
            ForbiddenError: there may be none.
        """
        try:
            async with asyncio.timeout(self._seconds):
                if self._egress is None:
                    return await self._directly(route)
                return await self._through(self._egress, route)
        except TimeoutError:
            raise DialError(f"did not accept a connection in {self._seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise DialError("has a certificate that is not trusted here") from error
        except ssl.SSLError as error:
            raise DialError("does not speak TLS as it should") from error
        except OSError as error:
            raise DialError("cannot be connected to") from error

    async def _directly(self, route: Route) -> Connection | Http2Connection:
        addresses = await self._addresses(route)
        opened = await _first_to_connect(addresses, route.port)
        is_tls = route.scheme == "https"
        try:
            _, protocol = await asyncio.get_running_loop().create_connection(
                _Chooser,
                sock=opened,
                ssl=self._tls if is_tls else None,
                # The name, and not the address: certificates are about names.
                server_hostname=route.host if is_tls else None,
            )
        except BaseException:
            opened.close()
            raise
        return _chosen(protocol)

    async def _addresses(self, route: Route) -> Sequence[str]:
        if is_address(route.host):
            addresses: Sequence[str] = [route.host]
        else:
            addresses = await self._resolve(route.host, route.port)
        if not addresses:
            raise OSError("no address")
        if not route.any_address:
            for address in addresses:
                if (kind := why_not_public(address)) is not None:
                    raise ForbiddenError(kind)
        return addresses

    async def _through(self, egress: Egress, route: Route) -> Connection | Http2Connection:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(Connection, egress.host, egress.port)
        try:
            await _ask_for_tunnel(connection, egress, route)
            if route.scheme != "https":
                return connection
            tunnel = _Chooser()
            secure = await loop.start_tls(transport, tunnel, self._tls, server_hostname=route.host)
        except BaseException:
            transport.abort()
            raise
        if secure is None or secure.is_closing():
            raise DialError("closed the connection")
        tunnel.connection_made(secure)
        return _chosen(tunnel)


def _chosen(protocol: _Chooser) -> Connection | Http2Connection:
    assert protocol.chosen is not None  # a connection is made before whoever waits for it is told
    return protocol.chosen


async def _ask_for_tunnel(connection: Connection, egress: Egress, route: Route) -> None:
    place = route.authority
    head = request_bytes("CONNECT", place, place, egress.headers, b"")
    try:
        answer = await connection.request("CONNECT", head, b"")
    except (GarbageError, TruncatedError, BrokenError) as error:
        raise DialError("is behind an egress proxy that does not answer") from error
    if not 200 <= answer.status < 300:  # noqa: PLR2004 - the range of success
        raise DialError(f"is behind an egress proxy that answered {answer.status}")
    connection.begin_tunnel()


async def _first_to_connect(addresses: Sequence[str], port: int) -> socket.socket:
    """A socket connected to one of the addresses, tried in their order (RFC 8305)."""
    if len(addresses) == 1:
        return await _connect(addresses[0], port)
    waiting = list(addresses)
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError("no address")
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop(0), port)))
            done, attempts = await asyncio.wait(
                attempts,
                timeout=STAGGER_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                if (error := attempt.exception()) is None:
                    attempts |= done - {attempt}
                    return attempt.result()
                failure = error
        raise failure
    finally:
        await _abandon(attempts)


async def _abandon(attempts: set[asyncio.Task[socket.socket]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for late in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(late, socket.socket):
            late.close()


async def _connect(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        # Or a short write after another waits for its acknowledgement, for 40 ms. (asyncio does
        # it only to sockets whose protocol is named.)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
