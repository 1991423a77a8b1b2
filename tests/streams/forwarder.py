"""A TCP forwarder in front of a server that can lose connections, or let them go silent."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HOST = "127.0.0.1"
CUT_SECONDS = 0.3


@dataclass(eq=False)
class Link:
    """One connection.

    Attributes:
        sent: What the client has sent so far.
        frozen: Nothing is passed on any more, and nobody is told.
        muted: No answer is passed on any more.
    """

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bytearray = field(default_factory=bytearray)
    frozen: bool = False
    muted: bool = False


class Forwarder:
    """Passes bytes between a port of its own and a server's.

    Attributes:
        port: To connect to.
        refusing: New connections are closed at once.
        cut_after: A connection on which the client has sent this ends before the answer to it.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.refusing = False
        self.freezing = False
        self.cut_after: bytes | None = None
        self._server_port = port
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self, which: Callable[[Link], bool] = lambda _: True) -> None:
        """End connections."""
        for link in filter(which, list(self._links)):
            link.frozen = True
            link.client.transport.abort()
            link.server.transport.abort()

    def freeze(self, which: Callable[[Link], bool] = lambda _: True) -> int:
        """Let connections go silent; how many that are."""
        frozen = [link for link in self._links if which(link)]
        for link in frozen:
            link.frozen = True
        return len(frozen)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.refusing:
                await self._pass(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, server = await asyncio.open_connection(HOST, self._server_port)
        link = Link(writer, server, frozen=self.freezing)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass_requests(link, reader), self._pass_answers(link, from_server)
            )
        finally:
            self._links.discard(link)
            server.transport.abort()

    async def _pass_requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if link.frozen:
                    continue
                link.sent += data
                if self.cut_after is not None and self.cut_after in data and not link.muted:
                    link.muted = True
                    loop = asyncio.get_running_loop()
                    loop.call_later(CUT_SECONDS, link.client.transport.abort)
                link.server.write(data)
                await link.server.drain()
        link.server.transport.abort()

    async def _pass_answers(self, link: Link, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if not link.frozen and not link.muted:
                    link.client.write(data)
                    await link.client.drain()
        if not link.frozen:
            link.client.transport.abort()


def listens(link: Link) -> bool:
    """The connection is the one that hears notifications."""
    return b"LISTEN " in link.sent
