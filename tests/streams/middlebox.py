"""What stands between a client and a server, and spoils it: small reverse proxies on sockets."""

from __future__ import annotations

import asyncio
import re
import zlib
from contextlib import asynccontextmanager, closing, suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

from streams.http_client import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Middlebox:
    """Passes requests on, each over a connection of its own, and answers back as they are."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client: one request."""
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if await self.refused(head, writer):
                return
            up = await asyncio.open_connection(LOOPBACK, self._upstream)
            try:
                up[1].write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
                await self.answer(up[0], writer)
            finally:
                up[1].transport.abort()

    async def refused(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer a request here."""
        del head, writer
        return False

    async def answer(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        """Pass an answer on."""
        head = self.head(await up.readuntil(b"\r\n\r\n"))
        down.write(head)
        await self.body(up, down)
        await down.drain()

    def head(self, head: bytes) -> bytes:
        """Change status line and headers; gateways date what has no date."""
        return head.replace(b"\r\n", f"\r\nDate: {formatdate(usegmt=True)}\r\n".encode(), 1)

    async def body(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        while data := await up.read(65536):
            down.write(data)
            await down.drain()


class Buffers(Middlebox):
    """Keeps an answer until it is whole."""

    async def answer(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        down.write(self.head(await up.read(-1)))
        await down.drain()


class Clumps(Middlebox):
    """Passes on what has come every so often."""

    def __init__(self, upstream: int, seconds: float) -> None:
        super().__init__(upstream)
        self._seconds = seconds

    async def body(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        data = b"-"
        while data:
            await asyncio.sleep(self._seconds)
            data = await up.read(1 << 20)
            down.write(data)


class Cuts(Middlebox):
    """Cuts connections on which nothing comes for a while."""

    def __init__(self, upstream: int, seconds: float) -> None:
        super().__init__(upstream)
        self._seconds = seconds

    async def answer(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                now = asyncio.get_running_loop().time
                limit.reschedule(now() + self._seconds)
                down.write(self.head(await up.readuntil(b"\r\n\r\n")))
                while data := await up.read(65536):
                    limit.reschedule(now() + self._seconds)
                    down.write(data)
        except TimeoutError:
            down.transport.abort()


class Strips(Middlebox):
    """Takes header fields off."""

    def head(self, head: bytes) -> bytes:
        return super().head(re.sub(rb"(?i)\r\n(stream-[a-z-]+|etag): [^\r]*", b"", head))


class HidesFromPages(Middlebox):
    """Puts CORS headers of its own in place of the server's."""

    def head(self, head: bytes) -> bytes:
        return super().head(re.sub(rb"(?i)(expose-headers: )[^\r]*", rb"\1content-length", head))


class Ages(Middlebox):
    """Speaks HTTP/1.0, in which an answer ends with its connection."""

    def head(self, head: bytes) -> bytes:
        self._chunked = b"chunked" in head
        head = re.sub(rb"(?i)\r\ntransfer-encoding: [^\r]*", b"", head)
        return super().head(head.replace(b"HTTP/1.1", b"HTTP/1.0"))

    async def body(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        if not self._chunked:
            await super().body(up, down)
            return
        async for data in chunks(up):
            down.write(data)


class Compresses(Middlebox):
    """Compresses what comes in chunks, and flushes each."""

    def head(self, head: bytes) -> bytes:
        self._chunked = b"chunked" in head
        if self._chunked:
            head = head.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        return super().head(head)

    async def body(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        if not self._chunked:
            await super().body(up, down)
            return
        packer = zlib.compressobj(wbits=31)
        async for data in chunks(up):
            packed = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
            down.write(b"%x\r\n%b\r\n" % (len(packed), packed))
        packed = packer.flush()
        down.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))


class KeepsStreams(Middlebox):
    """Lets no DELETE through."""

    async def refused(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        if not head.startswith(b"DELETE"):
            return False
        writer.write(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        return True


async def chunks(up: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The body of a chunked answer."""
    while size := int(await up.readuntil(b"\r\n"), 16):
        yield (await up.readexactly(size + 2))[:-2]


@asynccontextmanager
async def standing(middlebox: Middlebox) -> AsyncIterator[str]:
    """Its URL, for as long as it stands there."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(middlebox.serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # connections are closed one turn later
