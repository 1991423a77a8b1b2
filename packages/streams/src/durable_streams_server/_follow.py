"""Live bytes for many readers: handed over by a callback instead of a task that wakes up.

A task costs a switch, a future and a timer for each chunk of each reader. A callback that writes
to the connection costs the write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from durable_streams_server._errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams_server._model import Chunk
    from durable_streams_server._reader import Reader


async def follow(
    reader: Reader, take: Callable[[Chunk], bool], *, quiet: float, until: float
) -> None:
    """Hand chunks to ``take`` as they come, in the turn of the event loop that sees them.

    Returns when it needs somebody who can wait or decide, who goes on with `Reader.read`: ``take``
    has refused a chunk (which is still the next one), the stream is closed or gone, the next bytes
    are not in memory, the reader was stopped, or it is time.

    Args:
        reader: Entered, and at the tail; nobody else reads with it meanwhile.
        take: Gets chunks that have bytes and do not end the stream; says whether it took it.
        quiet: Return after so many seconds without a chunk.
        until: Return at this time of the loop's clock.
    """
    following = _Following(reader, take, quiet, until)
    try:
        await following.run()
    finally:
        following.end()


class _Following:
    def __init__(
        self, reader: Reader, take: Callable[[Chunk], bool], quiet: float, until: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._take = take
        self._quiet = quiet
        self._until = until
        self._taken_at = self._loop.time()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        self._look()
        if not self._ended.done():
            self._set_timer()
        await self._ended

    def end(self) -> None:
        self._ended.cancel()
        self._reader.ignore_changes()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, _change: object = None) -> None:
        """Hand over what is there, and wait for more; or end."""
        if self._ended.done():
            return
        try:
            if self._hand_over():
                self._reader.on_change(self._look)
            else:
                self._ended.set_result(None)
        except Exception as error:  # noqa: BLE001 - a defect of `take`; raised where it is awaited
            self._ended.set_exception(error)

    def _hand_over(self) -> bool:
        reader = self._reader
        start = reader.position
        try:
            chunk = reader.read_now()
        except LogError:
            return False  # the next read meets it again, where it can be told
        if chunk is None or reader.stopped:
            return False
        if chunk.closed or (chunk.data and not self._take(chunk)):
            reader.position = start
            return False
        if chunk.data:
            self._taken_at = self._loop.time()
        return True

    def _set_timer(self) -> None:
        at = min(self._taken_at + self._quiet, self._until)
        self._timer = self._loop.call_at(self._reader.wake_at(at) or at, self._on_time)

    def _on_time(self) -> None:
        now = self._loop.time()
        if now >= min(self._taken_at + self._quiet, self._until):
            if not self._ended.done():
                self._ended.set_result(None)
            return
        self._look()  # the stream's life may be over
        if not self._ended.done():
            self._set_timer()
