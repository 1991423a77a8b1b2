"""Stands between clients and a server, and keeps answers back when it is told to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streams.http_client import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Holding:
    """Passes bytes on, both ways; those of the server only until `hold`."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self._server_port = server_port
        self._held = False
        self._writers: set[asyncio.StreamWriter] = set()

    def hold(self) -> None:
        """From now on the server carries out what it is asked, and nobody is told."""
        self._held = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        self._writers.add(writer)
        try:
            there = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there[1])
        await asyncio.gather(
            self._pass_on(reader, there[1], answers=False),
            self._pass_on(there[0], writer, answers=True),
        )

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while piece := await source.read(65536):
                if not (answers and self._held):
                    target.write(piece)
        except ConnectionError:
            pass  # the other end was killed, which is what it is here for
        finally:
            target.transport.abort() if answers else target.close()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def holding(server_port: int) -> AsyncIterator[Holding]:
    """Stand before a server for as long as the block lasts."""
    between = Holding(server_port)
    server = await asyncio.start_server(between.serve, LOOPBACK, 0)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.cut()
        await asyncio.sleep(0)
