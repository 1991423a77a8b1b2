"""Recent reads of the store, for readers of one stream that come by shortly after each other."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

KEPT = 8
"""So many pieces are kept, each of the size of one read."""
KEPT_SECONDS = 1.0

Key = tuple[int, int, int]
"""Incarnation of a stream, position, and how many bytes were asked for."""


class Pieces:
    """Shares reads that are under way or just over. What lies at a position never changes."""

    def __init__(self) -> None:
        self._reads: dict[Key, asyncio.Task[bytes]] = {}

    async def get(self, key: Key, read: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """What ``read`` gives, or gave to somebody else a moment ago."""
        task = self._reads.get(key)
        if task is None:
            task = self._reads[key] = asyncio.create_task(read())
            task.add_done_callback(lambda done: self._done(key, done))
            while len(self._reads) > KEPT:
                del self._reads[next(iter(self._reads))]
        # A reader that leaves does not take it from the others.
        return await asyncio.shield(task)

    def _done(self, key: Key, task: asyncio.Task[bytes]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._reads.pop(key, None)
        else:
            # By its key alone: a timer that had hold of the bytes would keep them all.
            task.get_loop().call_later(KEPT_SECONDS, self._reads.pop, key, None)
