"""One generation: from the upstream's first byte to the terminal record in the log.

Two halves with a `Pipe` between them. The upstream half only says what happens; the log half
alone writes, and alone knows how much is on disk. Nobody cancels a relay to stop it: `interrupt`
says how it ends, and the log half writes that end as any other. The client that asked for the
generation is not here at all.
"""

import asyncio
import logging

from durable_proxy._lifecycle import Ending, Event, State, advance
from durable_proxy._pipe import Batch, Pipe
from durable_proxy._start_request import StartRequest
from durable_proxy._upstream import Upstream, UpstreamError
from durable_streams_server import Append, Log, Operation, StorageError, json_record
from durable_transport.protocol import ControlMessage

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 5.0

logger = logging.getLogger("durable_proxy")


class FencedError(Exception):
    """The generation is not ours any more: another node has ended it, or it was deleted."""


class Relay:
    """Runs one generation whose streams exist and belong to this node.

    Args:
        request: Which request to send upstream.
        error_body_bytes: How much of an upstream's error answer is kept.
        buffered_bytes: How much of the body may wait for the log.

    Attributes:
        paths: Where the generation's streams are.
        state: As far as it is on disk.
        stalled: The store refuses writes, the terminal record among them; it is tried again.
    """

    def __init__(
        self,
        log: Log,
        upstream: Upstream,
        request: StartRequest,
        *,
        error_body_bytes: int,
        buffered_bytes: int,
    ) -> None:
        self.paths = request.paths
        self.state = State.STARTING
        self.stalled = False
        self._log = log
        self._upstream = upstream
        self._request = request
        self._error_body_bytes = error_body_bytes
        self._pipe = Pipe(buffered_bytes)
        self._position = 0

    def interrupt(self, ending: Ending) -> None:
        """End the generation with what has come so far; after its end, nothing happens."""
        self._pipe.end(ending)

    async def run(self) -> None:
        """Relay until the terminal record is on disk (or another node has written one).

        Raises:
            LogClosedError: the log was shut down first; the next process finds an orphan.
        """
        feeder = asyncio.create_task(self._feed(), name=f"upstream {self.paths.data}")
        try:
            await self._write_all()
        except StorageError as error:
            feeder.cancel()
            logger.error("%s: the store refused a write: %s", self.paths.data, error)  # noqa: TRY400 - an outage, not a defect
            await self._write_refused()
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)

    # ------------------------------------------------------------------ the upstream half

    async def _feed(self) -> None:
        try:
            await self._receive()
        except UpstreamError as error:
            self._pipe.end(error.ending)
        except Exception:
            logger.exception("%s: the relay failed", self.paths.data)
            self._pipe.end(Ending(Event.OWNER_GONE, "the proxy failed while it relayed the answer"))

    async def _receive(self) -> None:
        async with self._upstream.send(self._request) as answer:
            if not answer.accepted:
                self._pipe.end(await answer.rejection(self._error_body_bytes))
                return
            # No pause between the headers and the bytes that came with them: both are in the
            # first batch, which saves a commit before the first byte.
            self._pipe.accept(answer.start())
            await answer.copy_to(self._pipe.put)
            self._pipe.end(Ending(Event.ENDED))

    # ------------------------------------------------------------------ the log half

    async def _write_all(self) -> None:
        while not self.state.is_terminal:
            batch = await self._pipe.take()
            await self._write(batch)
            if batch.start is not None:
                self.state = advance(self.state, Event.ACCEPTED)
            if batch.ending is not None:
                self.state = advance(self.state, batch.ending.event)

    async def _write(self, batch: Batch) -> None:
        node, end = self._log.node_id, self._position + len(batch.data)
        operations: list[Operation] = []
        if batch.start is not None:
            record = json_record(ControlMessage.start(batch.start).to_json())
            operations.append(Append(self.paths.control, record, owner=node))
        if batch.data or batch.ending is not None:
            close = batch.ending is not None
            operations.append(Append(self.paths.data, batch.data, close=close, owner=node))
        if batch.ending is not None:
            record = json_record(batch.ending.record(end).to_json())
            operations.append(Append(self.paths.control, record, close=True, owner=node))
        await self._transact(*operations)
        self._position = end

    async def _transact(self, *operations: Operation) -> None:
        outcomes = await self._log.transact(*operations)
        refused = [outcome for outcome in outcomes if not outcome.ok]
        if refused:
            raise FencedError(f"{self.paths.data}: {refused[0]}")

    async def _write_refused(self) -> None:
        """Write the end of a generation whose bytes the store refused, once it takes writes again.

        What came after the refused bytes is not written: a log has no holes. Until the record is
        in, readers wait; if this process ends first, the next one ends the generation as orphaned.
        """
        self.stalled = True
        ending = Ending(Event.STORE_REFUSED, "the log could not store the whole answer")
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                stream = await self._log.stat(self.paths.data)
                # Where the data ends is asked for: a write that failed may yet have been made.
                self._position = self._position if stream is None else stream.tail
                await self._write(Batch(None, b"", ending))
            except StorageError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_RETRY_SECONDS)
            else:
                break
        self.state = advance(self.state, Event.STORE_REFUSED)
        self.stalled = False
