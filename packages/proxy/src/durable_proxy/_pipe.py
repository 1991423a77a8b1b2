"""Between the upstream and the log: what the one has said and the other has not got yet.

The flush rule (DESIGN section 4) in one place: whoever writes takes everything there is, as soon
as there is anything. The first bytes go at once; after that, whatever came while the last append
ran. Nothing is held back to wait for more, and there is no timer.
"""

import asyncio
from dataclasses import dataclass

from durable_proxy._lifecycle import Ending
from durable_transport.protocol import StartPayload


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes into the log together."""

    start: StartPayload | None
    data: bytes
    ending: Ending | None


class Pipe:
    """A bounded buffer with one writer, one reader, and an end that is said once.

    Args:
        limit: Bytes that may wait; a writer that brings more waits itself.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._start: StartPayload | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._ending: Ending | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def ended(self) -> bool:
        """The end was said."""
        return self._ending is not None

    def accept(self, start: StartPayload) -> None:
        """The upstream's headers are in."""
        self._start = start
        self._filled.set()

    async def put(self, piece: bytes) -> None:
        """Add bytes; waits while the buffer is full."""
        while self._size >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._pieces.append(piece)
        self._size += len(piece)
        self._filled.set()

    def end(self, ending: Ending) -> None:
        """Nothing follows. The first end that is said holds."""
        if self._ending is None:
            self._ending = ending
        self._filled.set()

    async def take(self) -> Batch:
        """Everything there is; waits while there is nothing."""
        await self._filled.wait()
        self._filled.clear()
        batch = Batch(self._start, b"".join(self._pieces), self._ending)
        self._start, self._size = None, 0
        self._pieces.clear()
        self._room.set()
        return batch
