"""A sign of life beside a stream that is being written.

The lease of an answer is a stream that expires by itself (``Stream-TTL``) unless somebody writes to
it, which the writer of the answer does for as long as it works. It is kept by the server of the
streams, so that it goes by one clock, and outlives nobody: a process that dies takes its leases
along some seconds later. To look whether it is there (``HEAD``) does not prolong it.
"""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Self

from durable_transport import DurableStream, StreamError, StreamGone, StreamNotFound

_log = logging.getLogger("durable_ai_transport")


class Lease:
    """The lease of one answer.

    Args:
        stream: Where it is.
        seconds: How long it lives without a sign of life, at least 1.
    """

    def __init__(self, stream: DurableStream, seconds: float) -> None:
        self._stream = stream
        self._seconds = max(1, round(seconds))
        self._beating: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Begin it, before anybody can ask for it.

        Raises:
            StreamError: the server refuses, or cannot be reached.
        """
        await self._stream.create(content_type="text/plain", ttl=self._seconds)

    async def is_held(self) -> bool:
        """Whether somebody is at work.

        Raises:
            StreamError: the server does not say.
        """
        try:
            await self._stream.head()
        except (StreamNotFound, StreamGone):
            return False
        return True

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        with suppress(StreamError, TimeoutError):  # it expires by itself
            async with asyncio.timeout(self._stream.requests.timing.close):
                await self._stream.delete()
        await self._stream.aclose()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 3)
            try:
                await self._stream.append("*")
            except (StreamNotFound, StreamGone):
                await self._again()
            except StreamError as error:
                _log.warning("no sign of life could be given for %r: %s", self._stream, error)

    async def _again(self) -> None:
        """It expired, because the server or we were too slow: as long as nobody has noticed."""
        try:
            await self.take()
        except StreamError as error:
            _log.warning("the lease %r could not be taken again: %s", self._stream, error)
