"""Connections that are kept for the next request to the same upstream, or shared by several."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from durable_proxy._connection import Connection
from durable_proxy._dial import DialError, Route
from durable_proxy._http2_connection import Exchange, Http2Connection

MAX_KEPT_CONNECTIONS = 100
KEPT_SECONDS = 4.0
"""How long a connection may be idle: less than the five seconds after which widespread servers
close one. Who closes first decides whether a request can be lost between the two."""
ATTEMPTS = 5
"""How often a new connection may be full before whoever waited for it gets a place."""
REMEMBERED_ROUTES = 1000
LOOKS = 4
"""How often the event loop may read before a connection on which more and more comes is passed
over."""

Lease = Connection | Exchange
"""What one request is sent over: a connection of its own, or its part of a shared one."""


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: Connection | Http2Connection
    expiry: asyncio.TimerHandle


class Pool:
    """Connections between requests, bounded in number and time, and those that are shared.

    Whether an upstream speaks HTTP/2 is known once there is a connection. So requests to one over
    TLS that nothing is known of wait for the same first connection instead of making one each.

    Args:
        dial: Makes a new one.
    """

    def __init__(self, dial: Callable[[Route], Awaitable[Connection | Http2Connection]]) -> None:
        self._dial = dial
        self._kept: defaultdict[Route, list[_Kept]] = defaultdict(list)
        self._count = 0
        self._shared: dict[Route, list[Http2Connection]] = {}
        self._dialing: dict[Route, asyncio.Task[None]] = {}
        self._unshared: set[Route] = set()
        self._closed = False

    async def acquire(self, route: Route) -> Lease:
        """What nobody else uses: kept, shared, or new.

        Raises:
            DialError, ForbiddenError: there is nothing.
        """
        await self._look(route)
        for _ in range(ATTEMPTS):
            if (ready := self._ready(route)) is not None:
                return ready
            if route.scheme == "https" and route not in self._unshared:
                await self._dial_for_all(route)
                continue
            made = await self._dial(route)
            if isinstance(made, Connection):
                return made
            self._unshared.discard(route)
            self._share(route, made)
        raise DialError("has no room for another request")

    def release(self, route: Route, lease: Lease) -> None:
        """Take back what an answer came over that is of no more interest."""
        if isinstance(lease, Exchange):
            lease.finish()
            if lease.connection.is_idle:
                self._keep_shared(route, lease.connection)
        elif lease.finish():
            self._keep(route, lease)

    async def close(self) -> None:
        """Close what is kept, and keep nothing more."""
        self._closed = True
        for route in list(self._kept):
            while kept := self._kept.get(route):
                self._take(route, kept[-1]).abort()
        self._shared.clear()
        for dialing in self._dialing.values():
            dialing.cancel()
        await asyncio.gather(*self._dialing.values(), return_exceptions=True)

    # ------------------------------------------------------------------ one for each request

    def _ready(self, route: Route) -> Lease | None:
        for shared in self._shared.get(route, ()):
            if shared.has_room and not shared.is_stale:
                return self._open(route, shared)
        while kept := self._kept.get(route):
            connection = self._take(route, kept[-1])
            if isinstance(connection, Connection) and not connection.is_stale:
                return connection
            self._drop(route, connection)
        return None

    def _keep(self, route: Route, connection: Connection | Http2Connection) -> None:
        if self._closed:
            connection.abort()
            return
        if self._count >= MAX_KEPT_CONNECTIONS:
            longest = next(iter(self._kept))
            self._drop(longest, self._take(longest, self._kept[longest][0]))
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(KEPT_SECONDS, self._expire, route, connection)
        self._kept[route].append(_Kept(connection, expiry))
        self._count += 1

    def _expire(self, route: Route, connection: Connection | Http2Connection) -> None:
        if (kept := self._find(route, connection)) is not None:
            self._take(route, kept)
            self._drop(route, connection)

    def _find(self, route: Route, connection: Connection | Http2Connection) -> _Kept | None:
        of_route = self._kept.get(route, ())
        return next((kept for kept in of_route if kept.connection is connection), None)

    def _take(self, route: Route, kept: _Kept) -> Connection | Http2Connection:
        of_route = self._kept[route]
        of_route.remove(kept)
        if not of_route:
            del self._kept[route]
        self._count -= 1
        kept.expiry.cancel()
        return kept.connection

    def _drop(self, route: Route, connection: Connection | Http2Connection) -> None:
        if isinstance(connection, Http2Connection):
            self._unshare(route, connection)
        connection.abort()

    # ------------------------------------------------------------------ shared by many

    async def _dial_for_all(self, route: Route) -> None:
        """Wait for the one new connection that everybody waits for."""
        dialing = self._dialing.get(route)
        if dialing is None:
            # A task of its own: whoever asked first may leave while others wait.
            dialing = asyncio.create_task(self._dial_and_keep(route), name="upstream dial")
            self._dialing[route] = dialing
            dialing.add_done_callback(lambda task: self._dialed(route, task))
        await asyncio.shield(dialing)

    def _dialed(self, route: Route, task: asyncio.Task[None]) -> None:
        del self._dialing[route]
        if not task.cancelled():
            task.exception()  # whoever still waits is told

    async def _dial_and_keep(self, route: Route) -> None:
        made = await self._dial(route)
        if isinstance(made, Http2Connection):
            self._share(route, made)
            return
        if len(self._unshared) >= REMEMBERED_ROUTES:
            self._unshared.clear()
        self._unshared.add(route)
        self._keep(route, made)

    async def _look(self, route: Route) -> None:
        """Let the event loop read what has come on connections that nobody uses.

        Unlike in HTTP/1.1 it need not be their end: it may be about an answer that was left.
        """
        for _ in range(LOOKS):
            if not any(one.is_stale for one in self._shared.get(route, ())):
                return
            await asyncio.sleep(0)

    def _share(self, route: Route, connection: Http2Connection) -> None:
        if not self._closed:
            self._shared.setdefault(route, []).append(connection)
        self._keep_shared(route, connection)

    def _open(self, route: Route, connection: Http2Connection) -> Exchange:
        if (kept := self._find(route, connection)) is not None:
            self._take(route, kept)
        return connection.open()

    def _keep_shared(self, route: Route, connection: Http2Connection) -> None:
        if connection.is_closing:
            self._drop(route, connection)
        else:
            self._keep(route, connection)

    def _unshare(self, route: Route, connection: Http2Connection) -> None:
        of_route = self._shared.get(route, [])
        if connection in of_route:
            of_route.remove(connection)
        if not of_route:
            self._shared.pop(route, None)
