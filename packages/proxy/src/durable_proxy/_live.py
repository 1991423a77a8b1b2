"""The live body: a generation's bytes as they become durable, from the first on.

It is read from the log and not from the upstream, so it holds nothing that a crash could take
back. Its end says nothing about completion; the control stream does.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from durable_streams_server import Limits as StreamLimits
from durable_streams_server import Log, LogError, Reader

logger = logging.getLogger("durable_proxy")


class LiveBody(Response):
    """A response that follows a data stream.

    Args:
        headers: All headers but those of the framing.
        limits: How long the body may be quiet, may live, and may wait for a slow client. It
            simply ends then: a client that is still there asks again.
    """

    def __init__(
        self,
        log: Log,
        path: str,
        *,
        status: int,
        headers: Iterable[tuple[str, str]],
        limits: StreamLimits,
    ) -> None:
        super().__init__(status_code=status)
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        self._log = log
        self._path = path
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body until the stream is closed, the client has gone, or nothing comes."""
        del scope
        async with self._log.reader(self._path) as reader, _watching(receive, reader):
            start = {"type": "http.response.start", "status": self.status_code}
            await send(start | {"headers": self.raw_headers})
            # Without a first body message the server would keep the headers back.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            try:
                await self._send_chunks(reader, send)
            except LogError as error:
                # The client has what was sent, and its next request learns the rest.
                logger.warning("%s: a live body ended early: %s", self._path, error)
            except TimeoutError:
                logger.info("%s: a live body ended: its client takes nothing", self._path)
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, reader: Reader, send: Send) -> None:
        deadline = time.monotonic() + self._limits.rotate
        while not reader.stopped:
            wait = min(self._limits.raw_idle, deadline - time.monotonic())
            chunk = await reader.next(max(wait, 0.0))
            if chunk.data:
                async with asyncio.timeout(self._limits.send):
                    part = {"type": "http.response.body", "body": chunk.data, "more_body": True}
                    await send(part)
            if chunk.closed or not chunk.data:
                return


@asynccontextmanager
async def _watching(receive: Receive, reader: Reader) -> AsyncIterator[None]:
    """Stop the reader as soon as the client leaves: one task per body, and none per chunk."""

    async def wait_for_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        reader.stop()

    watcher = asyncio.create_task(wait_for_disconnect())
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
