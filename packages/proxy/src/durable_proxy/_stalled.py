"""Generations that are over and whose end the store does not take: their readers are told so.

A store that stays full takes no terminal record either, and a reader that waits for one would wait
for ever. After some seconds those who wait on this node are sent home, and whoever asks for what
comes after the stored bytes is refused with `ErrorCode.GENERATION_STALLED`. That is no record: it
is not stored, and once the store takes writes again the real one is written.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from durable_proxy._errors import Refusal
from durable_proxy._refusing import refuse
from durable_streams_server import Log
from durable_transport.protocol import (
    BEGINNING,
    NOW,
    ErrorCode,
    GenerationPaths,
    parse_generation_path,
    parse_offset,
)

PATIENCE_SECONDS = 5.0
"""A store that takes writes again within this time was never noticed."""

STALLED = Refusal(
    ErrorCode.GENERATION_STALLED,
    "the generation is over, and the log takes no record of how: these are all its bytes",
)


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


class StalledReads:
    """The streams' application, for generations that have an end or may still get one.

    Args:
        streams: Takes what is under the prefix where it is mounted.
        log: Gives the log they are read from.
        stalled: Gives what this node cannot end.
    """

    def __init__(
        self, streams: ASGIApp, log: Callable[[], Log], stalled: Callable[[], Stalled]
    ) -> None:
        self._streams = streams
        self._log = log
        self._stalled = stalled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._stalled() and await self._is_all_there_is(scope):
            return await refuse(STALLED)(scope, receive, send)
        return await self._streams(scope, receive, send)

    async def _is_all_there_is(self, scope: Scope) -> bool:
        """What is asked for would come after the last byte of a generation that stalls."""
        local = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        found = parse_generation_path(local)
        if found is None or not self._stalled().is_over(found[0]):
            return False
        stream = await self._log().stat(local)
        if stream is None or stream.closed:
            return False
        try:
            return _position(scope.get("query_string", b""), stream.tail) >= stream.tail
        except ValueError:
            return False  # refused by those who serve it


def _position(query: bytes, tail: int) -> int:
    (offset,) = parse_qs(query.decode("latin-1"), max_num_fields=100).get("offset", [BEGINNING])
    return tail if offset == NOW else parse_offset(offset)
