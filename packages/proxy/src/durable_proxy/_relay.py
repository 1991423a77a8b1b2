"""One generation: from the upstream's first byte to the terminal record in the log.

Two halves with a `Pipe` between them. The upstream half only says what happens; the log half
alone writes, and alone knows how much is on disk. `interrupt` says how a generation ends before
its upstream does: the upstream is let go at once, and the log half writes that end as any other.
The client that asked for the generation is not here at all.

Whoever wants to stop it, on whichever node, writes that into the control stream; `_watch` reads it
there, and learns in the same way that another node has ended the generation or somebody deleted it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from durable_proxy._figures import Figures
from durable_proxy._lifecycle import Account, Ending, Event, State, advance, stopped_by
from durable_proxy._messages import find_stop
from durable_proxy._pipe import Batch, Pipe
from durable_proxy._presence import Unread
from durable_proxy._stalled import Stalled
from durable_proxy._start_request import Limits, StartRequest
from durable_proxy._upstream import Upstream, UpstreamError
from durable_proxy._watch import UNWATCHED, Watch
from durable_streams_server import (
    Append,
    Expected,
    Log,
    LogError,
    Operation,
    StorageError,
    StreamGoneError,
    StreamNotFoundError,
    json_record,
)
from durable_transport.protocol import ControlMessage

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 5.0
WATCH_AGAIN_SECONDS = 0.5
"""After a look at the control stream that failed."""

TAKEN = Ending(Event.OWNER_GONE, "another node has ended the generation, or it was deleted")
"""Never written: what is written after it is refused."""

logger = logging.getLogger("durable_proxy")


class FencedError(Exception):
    """The generation is not ours any more: another node has ended it, or it was deleted."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation whose streams exist and belong to this node.

    Attributes:
        control: The incarnation of its control stream, which is the generation's own.
        data: The incarnation of its data stream.
    """

    request: StartRequest
    control: int
    data: int


class Relay:
    """Runs one generation.

    Args:
        claim: Which request to send upstream, and the streams that its answer goes into.
        limits: How much is taken.
        figures: Where it is counted.
        stalls: Where is noted that the store does not take its end.
        total_seconds: How long all of it may take.
        watch: Looks on.
        clock: Epoch seconds.

    Attributes:
        paths: Where the generation's streams are.
        state: As far as it is on disk.
        stalled: The store refuses writes, the terminal record among them; it is tried again.
        ended: How it has ended, once that is on disk.
    """

    def __init__(
        self,
        log: Log,
        upstream: Upstream,
        claim: Claim,
        limits: Limits,
        *,
        figures: Figures,
        stalls: Stalled,
        total_seconds: float,
        watch: Watch = UNWATCHED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.paths = claim.request.paths
        self.state = State.STARTING
        self.stalled = False
        self.ended: Ending | None = None
        self._figures = figures
        self._stalls = stalls
        self._looking_on = watch
        self._log = log
        self._upstream = upstream
        self._claim = claim
        self._limits = limits
        self._total_seconds = total_seconds
        self._clock = clock
        self._pipe = Pipe(limits.buffered_bytes)
        self._position = 0
        self._received = 0
        self._started_at = clock()
        self._first_byte_at: float | None = None
        self._feeder: asyncio.Task[None] | None = None
        seconds = claim.request.cancel_after
        self._unread = None if seconds is None else Unread(log, self.paths, seconds, self.interrupt)

    def interrupt(self, ending: Ending) -> None:
        """End the generation with what has come so far; after its end, nothing happens."""
        self._pipe.end(ending)
        # At once, and not when the log has taken what waits for it.
        if self._feeder is not None:
            self._feeder.cancel()

    async def run(self) -> None:
        """Relay until the terminal record is on disk (or another node has written one).

        Raises:
            FencedError: another node has written one.
            LogClosedError: the log was shut down first; the next process finds an orphan.
        """
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._total_seconds, self.interrupt, self._too_long())
        tasks = [asyncio.create_task(self._watch(), name=f"watch {self.paths.control}")]
        if self._unread is not None:
            tasks.append(asyncio.create_task(self._unread.mind(), name="unread"))
        if not self._pipe.ended:
            self._feeder = asyncio.create_task(self._feed(), name=f"upstream {self.paths.data}")
            tasks.append(self._feeder)
        try:
            await self._write_all()
        except StorageError as error:
            logger.error("%s: the store refused a write: %s", self.paths.data, error)  # noqa: TRY400 - an outage, not a defect
            if self._feeder is not None:
                self._feeder.cancel()
            await self._write_refused()
        finally:
            limit.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _too_long(self) -> Ending:
        origin, seconds = self._claim.request.target.origin, self._total_seconds
        return Ending(Event.TOO_LONG, f"{origin} did not come to an end within {seconds:g} s")

    # ------------------------------------------------------------------ the upstream half

    async def _feed(self) -> None:
        try:
            await self._receive()
        except UpstreamError as error:
            self._pipe.end(error.ending)
        except Exception:
            logger.exception("%s: the relay failed", self.paths.data)
            self._pipe.end(Ending(Event.OWNER_GONE, "the proxy failed while it relayed the answer"))
        finally:
            self._looking_on.let_go()

    async def _receive(self) -> None:
        request = self._looking_on.sending(self._claim.request)
        async with self._upstream.send(request) as answer:
            self._looking_on.answered(answer.status)
            if not answer.accepted:
                self._pipe.end(await answer.rejection(self._limits.error_body_bytes))
                return
            # No pause between the headers and the bytes that came with them: both are in the
            # first batch, which saves a commit before the first byte.
            self._pipe.accept(answer.start())
            await answer.copy_to(self._take)
            self._pipe.end(Ending(Event.ENDED))

    async def _take(self, piece: bytes) -> None:
        if self._first_byte_at is None:
            self._first_byte_at = self._clock()
            self._figures.first_byte.add(self._first_byte_at - self._started_at)
            self._looking_on.first_byte()
        self._figures.received += len(piece)
        room = self._limits.response_bytes - self._received
        self._received += len(piece)
        await self._pipe.put(piece[:room])
        if len(piece) > room:
            origin, limit = self._claim.request.target.origin, self._limits.response_bytes
            message = f"{origin} sent more than {limit} bytes, the proxy's limit for an answer"
            raise UpstreamError(Ending(Event.TOO_LARGE, message))

    # ------------------------------------------------------------------ the control stream

    async def _watch(self) -> None:
        """Heed what others say about the generation, until it is over."""
        while True:
            try:
                await self._follow_control()
            except (StreamNotFoundError, StreamGoneError):
                self.interrupt(TAKEN)
                return
            except LogError as error:
                logger.warning("%s: cannot be watched: %s", self.paths.control, error)
                await asyncio.sleep(WATCH_AGAIN_SECONDS)
            else:
                return

    async def _follow_control(self) -> None:
        async with self._log.reader(self.paths.control) as reader:
            while True:
                chunk = await reader.next()
                if chunk.stream.id != self._claim.control or chunk.closed:
                    self.interrupt(TAKEN)
                    return
                if stop := find_stop(chunk.data):
                    self.interrupt(stopped_by(stop))
                if self._unread is not None and b'"heartbeat"' in chunk.data:
                    self._unread.seen()
                if reader.stopped:
                    return

    # ------------------------------------------------------------------ the log half

    async def _write_all(self) -> None:
        while not self.state.is_terminal:
            batch = await self._pipe.take()
            await self._write(batch)
            if batch.start is not None:
                self.state = advance(self.state, Event.ACCEPTED)
            if batch.ending is not None:
                self._has_ended(batch.ending)

    def _has_ended(self, ending: Ending) -> None:
        self.state = advance(self.state, ending.event)
        self.ended = ending

    async def _write(self, batch: Batch) -> None:
        node, end = self._log.node_id, self._position + len(batch.data)
        # Guarded: whatever the store has of them has to be what we know, or it is not ours.
        control = Expected(self._claim.control)
        data = Expected(self._claim.data, self._position)
        operations: list[Operation] = []
        if batch.start is not None:
            record = json_record(ControlMessage.start(batch.start).to_json())
            operations.append(Append(self.paths.control, record, owner=node, expected=control))
        if batch.data or batch.ending is not None:
            close = batch.ending is not None
            operations.append(
                Append(self.paths.data, batch.data, close=close, owner=node, expected=data)
            )
        if batch.ending is not None:
            record = json_record(batch.ending.record(end, self.account()).to_json())
            operations.append(
                Append(self.paths.control, record, close=True, owner=node, expected=control)
            )
        await self._transact(*operations)
        self._figures.stored += len(batch.data)
        self._position = end

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return self._position

    def account(self) -> Account:
        """When it began, and how much has come."""
        return Account(self._started_at, self._clock(), self._first_byte_at, self._received)

    async def _transact(self, *operations: Operation) -> None:
        outcomes = await self._log.transact(*operations)
        refused = [outcome for outcome in outcomes if not outcome.ok]
        if refused:
            raise FencedError(f"{self.paths.data}: {refused[0]}")

    async def _write_refused(self) -> None:
        """Write the end of a generation whose bytes the store refused, once it takes writes again.

        What came after the refused bytes is not written: a log has no holes. If the record is not
        in soon, readers are told without it (see `_stalled`); if this process ends first, the next
        one ends the generation as orphaned.
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
                self._stalls.refused(self.paths)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_RETRY_SECONDS)
            else:
                break
        self._has_ended(ending)
        self._stalls.ended(self.paths)
        self.stalled = False
