"""The live body: a generation's bytes as they become durable, from the first on.

It is read from the log and not from the upstream, so it holds nothing that a crash could take
back. Its end says nothing about completion; the control stream does.
"""

import logging
from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from durable_streams_server import ClientGoneError, Exchange, Log, LogError, send_raw
from durable_streams_server import Limits as StreamLimits

logger = logging.getLogger("durable_proxy")


class LiveBody(Response):
    """A response that follows a data stream.

    Args:
        headers: All headers but those of the framing.
        limits: How long the body may be quiet, may live, and may wait for a slow client. It
            simply ends then: a client that is still there asks again.

    Attributes:
        on_end: Called when it has ended, however it has.
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
        self.on_end: Callable[[], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body until the stream is closed, the client has gone, or nothing comes."""
        try:
            await self._send(scope, receive, send)
        finally:
            if self.on_end is not None:
                self.on_end()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._limits)
        async with self._log.reader(self._path) as reader:
            reader.mode = "raw"
            await exchange.start(self.status_code, self.raw_headers)
            try:
                await send_raw(reader, exchange)
            except LogError as error:
                # The client has what was sent, and its next request learns the rest.
                logger.warning("%s: a live body ended early: %s", self._path, error)
                await exchange.finish()
            except ClientGoneError:
                logger.info(
                    "%s: a live body ended: its client has gone, or takes nothing", self._path
                )
