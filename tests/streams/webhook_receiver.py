"""A receiver of webhooks on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streams.gate import PATIENCE
from streams.http_client import LOOPBACK

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

DONE = b'{"done": true}'


@dataclass
class Call:
    """One request that came in."""

    first_line: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


def answer(status: str, body: bytes = b"", *fields: str) -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Receiver:
    """Answers calls with what is in `answers`, in order; the last one again and again.

    None as an answer is silence until the other side leaves.
    """

    port: int = 0
    answers: list[bytes | None] = field(default_factory=lambda: [answer("200 OK", DONE)])
    calls: list[Call] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, host: str = LOOPBACK, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook?a=b"

    async def called(self, count: int = 1) -> Call:
        """Wait for so many calls; gives the last of them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < count:
                self._news.clear()
                await self._news.wait()
        return self.calls[count - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head[:-4].split("\r\n")
            pairs = [line.partition(": ")[::2] for line in lines]
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers["content-length"]))
            self.calls.append(Call(first, headers, body))
            self._news.set()
            said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has left: part of what is tried
        finally:
            writer.close()


@asynccontextmanager
async def receiving(
    *answers: bytes | None, certificate: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver for as long as the block lasts."""
    receiver = Receiver()
    if answers:
        receiver.answers = list(answers)
    server = await asyncio.start_server(receiver.serve, LOOPBACK, 0, ssl=certificate)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
