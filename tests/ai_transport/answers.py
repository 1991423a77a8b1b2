"""Streams on a real server that answers are written into, and sources of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from durable_ai_transport import StreamTarget
from durable_transport import DurableStream, Timing
from streams.gate import PATIENCE
from streams.serving import PATIENT, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from streams.serving import Served

IMPATIENT = Timing(give_up_after=0.2, start_patience=0.2, backoff_first=0.01, backoff_limit=0.05)


@dataclass
class Streams:
    """A server of streams.

    Attributes:
        server: It.
        url: Where its streams are.
    """

    server: Served
    url: str

    def target(self, name: str = "a", **fields: Any) -> StreamTarget:
        return StreamTarget(write_url=f"{self.url}/{name}", **fields)

    async def read(self, name: str = "a") -> tuple[list[Any], bool]:
        """The messages of a stream, and whether it is closed."""
        async with DurableStream(f"{self.url}/{name}") as stream:
            found = await stream.read_json()
            return found.data, found.closed

    async def read_to_its_end(self, name: str = "a") -> list[Any]:
        """The messages of a stream that is closed some time."""
        async with asyncio.timeout(PATIENCE), DurableStream(f"{self.url}/{name}") as stream:
            return [message async for message in stream.follow_json()]


@asynccontextmanager
async def streams(**limits: Any) -> AsyncIterator[Streams]:
    async with served(replace(PATIENT, **{"body": 10_000_000, **limits})) as server:
        yield Streams(server, f"http://127.0.0.1:{server.port}/v1/stream")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event to wait for."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Source:
    """An answer that comes when the test says so.

    Attributes:
        taken: How many chunks were taken.
        left: Its generator was closed.
    """

    def __init__(self, *chunks: Any, fails: Exception | None = None) -> None:
        self._chunks = chunks
        self._fails = fails
        self.more = asyncio.Event()
        self.taken = 0
        self.left = False

    def now(self) -> Source:
        self.more.set()
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for number, chunk in enumerate(self._chunks):
                if number:
                    await self.more.wait()
                self.taken += 1
                yield chunk
            await self.more.wait()
            if self._fails is not None:
                raise self._fails
        finally:
            self.left = True
