"""Connections that are kept for the next request to the same upstream."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from durable_proxy._connection import Connection
from durable_proxy._dial import Route

MAX_KEPT_CONNECTIONS = 100
KEPT_SECONDS = 4.0
"""How long a connection may be idle: less than the five seconds after which widespread servers
close one. Who closes first decides whether a request can be lost between the two."""


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: Connection
    expiry: asyncio.TimerHandle


class Pool:
    """Idle connections, bounded in number and time.

    Args:
        dial: Makes a new one.
    """

    def __init__(self, dial: Callable[[Route], Awaitable[Connection]]) -> None:
        self._dial = dial
        self._kept: defaultdict[Route, list[_Kept]] = defaultdict(list)
        self._count = 0
        self._closed = False

    async def acquire(self, route: Route) -> Connection:
        """A connection of nobody else's: a kept one that is still good, or a new one.

        Raises:
            DialError, ForbiddenError: there is none.
        """
        while kept := self._kept.get(route):
            connection = self._take(route, kept[-1])
            if not connection.is_stale:
                return connection
            connection.abort()
        return await self._dial(route)

    def release(self, route: Route, connection: Connection) -> None:
        """Take a connection back whose answer is of no more interest."""
        if not connection.finish():
            return
        if self._closed or self._count >= MAX_KEPT_CONNECTIONS:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(KEPT_SECONDS, self._expire, route, connection)
        self._kept[route].append(_Kept(connection, expiry))
        self._count += 1

    def close(self) -> None:
        """Close what is kept, and keep nothing more."""
        self._closed = True
        for route in list(self._kept):
            while kept := self._kept.get(route):
                self._take(route, kept[-1]).abort()

    def _expire(self, route: Route, connection: Connection) -> None:
        for kept in self._kept.get(route, ()):
            if kept.connection is connection:
                self._take(route, kept).abort()
                return

    def _take(self, route: Route, kept: _Kept) -> Connection:
        of_route = self._kept[route]
        of_route.remove(kept)
        if not of_route:
            del self._kept[route]
        self._count -= 1
        kept.expiry.cancel()
        return kept.connection
