"""A small real upstream on a real socket, whose every byte and pause is the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

LOOPBACK = "127.0.0.1"


@dataclass
class Call:
    """One request as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Wire:
    """The answering side of one request."""

    def __init__(self, call: Call, writer: asyncio.StreamWriter) -> None:
        self.call = call
        self._writer = writer

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int = 200, *headers: tuple[str, str], framing: str = "") -> None:
        """Send status and headers; chunked unless the framing says otherwise."""
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers)]
        lines.append(framing or "Transfer-Encoding: chunked")
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def whole(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        await self.head(status, *headers, framing=f"Content-Length: {len(body)}")
        await self.raw(body)

    def close(self) -> None:
        """End the connection in good order: the other side reads an end."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection: the other side reads an error and no end."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = "Callable[[Wire], Awaitable[None]]"


@dataclass
class Upstream:
    """A listening upstream; it counts its calls."""

    port: int
    script: Callable[[Wire], Awaitable[None]]
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody closed a connection before its answer was complete."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (call := await _read(reader)) is not None:
                self.calls.append(call)
                await self._answer(call, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _answer(
        self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Run the script, unless the client leaves first."""
        answering = asyncio.ensure_future(self.script(Wire(call, writer)))
        leaving = asyncio.create_task(_gone(reader))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.left.set()
                raise ConnectionResetError
            await answering
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)


async def _gone(reader: asyncio.StreamReader) -> None:
    # Requests are not pipelined: there is nothing to be read but the end.
    with contextlib.suppress(ConnectionError):
        assert await reader.read(1) == b""


async def _read(reader: asyncio.StreamReader) -> Call | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    call = Call(method, path, headers, b"")
    for length in call.values("content-length"):
        call.body = await reader.readexactly(int(length))
    return call


@asynccontextmanager
async def upstream(
    script: Callable[[Wire], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """Listen for as long as the block lasts."""
    serving: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await up.serve(reader, writer)
        serving.discard(task)

    server = await asyncio.start_server(connected, LOOPBACK, 0, ssl=tls)
    up = Upstream(server.sockets[0].getsockname()[1], script)
    try:
        yield up
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def pieces(*parts: bytes) -> Callable[[Wire], Awaitable[None]]:
    """A script that answers 200 with these chunks, each in a packet of its own."""

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        for part in parts:
            await wire.chunk(part)
            await asyncio.sleep(0)
        await wire.end()

    return script


def whole(status: int, body: bytes, *headers: tuple[str, str]) -> Callable[[Wire], Awaitable[None]]:
    """A script that answers at once."""

    async def script(wire: Wire) -> None:
        await wire.whole(status, body, *headers)

    return script
