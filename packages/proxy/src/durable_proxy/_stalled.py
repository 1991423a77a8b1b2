"""Generations that are over and whose end the store does not take: their readers are told so.

A store that stays full takes no terminal record either, and a reader that waits for one would wait
for ever. After some seconds those who wait on this node are sent home, and whoever asks for what
comes after the stored bytes is refused with `ErrorCode.GENERATION_STALLED`. That is no record: it
is not stored, and once the store takes writes again the real one is written.
"""

import asyncio

from durable_streams_server import Log
from durable_transport.protocol import GenerationPaths

PATIENCE_SECONDS = 5.0
"""A store that takes writes again within this time was never noticed."""


class Stalled:
    """Which generations this node cannot end, and since when."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._since: dict[GenerationPaths, float] = {}

    def refused(self, paths: GenerationPaths) -> None:
        """Its end was refused: note it, and send its readers home if that goes on for long."""
        self._since.setdefault(paths, self._loop.time())
        if self.is_over(paths):
            for reader in self._log.readers():
                if reader.path in (paths.data, paths.control):
                    reader.stop()

    def ended(self, paths: GenerationPaths) -> None:
        """Its end is stored, or is not this node's to write."""
        self._since.pop(paths, None)

    def is_over(self, paths: GenerationPaths) -> bool:
        """It has been refused for long enough."""
        since = self._since.get(paths)
        return since is not None and self._loop.time() - since >= PATIENCE_SECONDS

    def __bool__(self) -> bool:
        return bool(self._since)
