"""HTTP over a bare socket: every byte of the framing is seen, none is made up."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

LOOPBACK = "127.0.0.1"


@dataclass
class Head:
    """Status and header fields of an answer."""

    status: int
    fields: list[tuple[str, str]]

    def __getitem__(self, name: str) -> str:
        (value,) = self.values(name)
        return value

    def get(self, name: str) -> str | None:
        values = self.values(name)
        assert len(values) < 2, f"{name} is there twice"
        return values[0] if values else None

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name.lower()]


@dataclass
class Reply(Head):
    """A whole answer."""

    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request_bytes(method: str, target: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    """A request as it goes over the wire; ``_`` in the names of headers is a hyphen."""
    lines = [f"{method} {target} HTTP/1.1", "Host: streams.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join([*lines, "", ""])
    return text.encode("latin-1") + (body or b"")


class BodyCutError(Exception):
    """The connection ended in the middle of the body."""


class Connection:
    """One connection to a server. Leaving the block cuts it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._remaining: int | None = None

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(LOOPBACK, self._port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, method: str, target: str, body: bytes | None = None, /, **headers: str
    ) -> None:
        await self.send(request_bytes(method, target, body, headers))

    async def head(self) -> Head:
        """The status line and headers of the next answer."""
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text[:-4].split("\r\n")
        pairs = [line.partition(": ")[::2] for line in lines]
        return Head(int(first.split(" ")[1]), [(name.lower(), value) for name, value in pairs])

    async def chunk(self) -> bytes:
        """One chunk of a chunked body; empty at its end."""
        try:
            async with asyncio.timeout(PATIENCE):
                size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
                data = await self.reader.readexactly(size + 2)
        except asyncio.IncompleteReadError as error:
            raise BodyCutError from error
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def body(self, head: Head, *, of_head: bool = False) -> bytes:
        """The body as the headers frame it."""
        if of_head or head.status in (204, 304):
            return b""
        if head.get("transfer-encoding") == "chunked":
            pieces = []
            while piece := await self.chunk():
                pieces.append(piece)
            return b"".join(pieces)
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(int(head["content-length"]))

    async def reply(self, *, of_head: bool = False) -> Reply:
        head = await self.head()
        return Reply(head.status, head.fields, await self.body(head, of_head=of_head))

    async def ended(self) -> bytes:
        """What comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


class Client:
    """Asks one server, one connection for each request."""

    def __init__(self, port: int, prefix: str = "/v1/stream/") -> None:
        self.port = port
        self.prefix = prefix

    def connect(self) -> Connection:
        return Connection(self.port)

    async def ask(
        self, method: str, path: str, body: bytes | None = None, /, **headers: str
    ) -> Reply:
        """One request about a stream, and the whole answer."""
        async with self.connect() as connection:
            await connection.request(method, self.prefix + path, body, **headers)
            return await connection.reply(of_head=method == "HEAD")

    async def put(self, path: str, body: bytes = b"", /, **headers: str) -> Reply:
        headers = {"Content_Type": "text/plain"} | headers
        return await self.ask("PUT", path, body, **headers)

    async def post(self, path: str, body: bytes = b"", /, **headers: str) -> Reply:
        headers = {"Content_Type": "text/plain"} | headers
        return await self.ask("POST", path, body, **headers)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.ask("GET", path, **headers)

    async def close(self, path: str) -> Reply:
        return await self.ask("POST", path, b"", Stream_Closed="true")

    @asynccontextmanager
    async def live(self, path: str, **headers: str) -> AsyncIterator[tuple[Connection, Head]]:
        """A GET whose body is still growing."""
        async with self.connect() as connection:
            await connection.request("GET", self.prefix + path, **headers)
            yield connection, await connection.head()
