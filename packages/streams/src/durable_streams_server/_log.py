"""The log as the rest of the program sees it: asynchronous, in one event loop.

Writing: operations go to the writer thread, come back as outcomes once they are on disk, and only
then are their bytes shown to readers. Reading: a `Reader` holds a position, not a queue; it takes
bytes from the shared tail of the stream, or from the store when it is further behind.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from uuid import uuid4

from durable_streams_server._errors import (
    LogClosedError,
    LogError,
    StorageError,
)
from durable_streams_server._model import (
    EARLIEST,
    KEEP_ALL,
    Append,
    Chunk,
    Create,
    Heartbeat,
    Inspection,
    Operation,
    Outcome,
    Retention,
    StreamInfo,
    Touch,
)
from durable_streams_server._plan import Effects
from durable_streams_server._reader import MAX_READ_BYTES, Reader, ReadSide
from durable_streams_server._shared import SharedReads
from durable_streams_server._stats import Batch, OnBatch, Stats
from durable_streams_server._store import Commit, Store
from durable_streams_server._url import open_store
from durable_streams_server._writer import Finished, Request, Settle, Submission, Work, Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

DEFAULT_LEASE_SECONDS = 10.0
SWEEP_SECONDS = 30.0
TIDY_SECONDS = 5.0
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A commit takes no more operations once it holds this many bytes: bounds latency and memory."""
TIDY_PAUSE_SECONDS = 0.02
"""Between two steps of house-keeping, so that appends take most of the writer's time."""

logger = logging.getLogger("durable_streams_server")


class Log:
    """Streams in a store, for one event loop.

    Make one with `Log.open` and end it with `close`, or use it as ``async with await Log.open()``.

    Attributes:
        node_id: This log's name as an owner of streams; new each time.
        lease_seconds: How long a node counts as alive after its last heartbeat.
        retention: How much is kept of streams that have no retention of their own.
        stats: Counts since it was opened.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        retention: Retention = KEEP_ALL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.node_id = uuid4().hex
        self.lease_seconds = lease_seconds
        self.retention = retention
        self.stats = Stats()
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Task[None] | None = None
        self._failure: StorageError | None = None
        self._listener: Callable[[Effects], None] | None = None
        self._reads = _reads_of(store, clock)
        self._submitted: list[Request] = []
        self._idle = asyncio.Event()  # the writer has nothing to commit
        self._idle.set()
        self._observers: tuple[OnBatch, ...] = (self.stats.add,)
        self._writer = Writer(store, self._deliver, clock, self._observe)
        self._chores: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        store: str = "sqlite://",
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        retention: Retention = KEEP_ALL,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the store of a URL.

        ``sqlite:///FILE`` is a file, ``sqlite://`` is in memory, ``postgresql://...`` a database
        that any number of logs may have open.

        Raises:
            StoreUrlError: the URL names no store we know.
            StoreLockedError: another process has the file.
            StoreFormatError: the file is not a store of ours, or cannot be written.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(open_store, store))
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on, and nobody would close what it opens.
            opening.add_done_callback(_close_unwanted)
            raise
        log = cls(opened, lease_seconds=lease_seconds, retention=retention, clock=clock)
        try:
            await log.transact(log._heartbeat())
        except BaseException:
            await log.close()
            raise
        log._chores = [
            asyncio.create_task(log._every(lease_seconds / 3, "renewing the lease", log._beat)),
            asyncio.create_task(log._every(SWEEP_SECONDS, "removing expired streams", log.sweep)),
            asyncio.create_task(log._every(TIDY_SECONDS, "house-keeping", log.tidy)),
        ]
        if isinstance(log._reads, SharedReads) and opened.peers is not None:
            poll = log._every(opened.peers.poll_seconds, "looking for news", log._reads.poll)
            log._chores.append(asyncio.create_task(poll))
        return log

    async def close(self) -> None:
        """Commit what is queued, wake every reader, and let go of the store.

        Whoever calls it, however often, waits for the one end; a caller that is cancelled does
        not stop it.
        """
        if self._end is None:
            self._end = asyncio.create_task(self._close(), name="log-close")
        await asyncio.shield(self._end)

    @property
    def _closing(self) -> bool:
        return self._end is not None

    async def _close(self) -> None:
        self.release_readers()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._store.peers is not None:
            # What this node still owns is for the others to end, and they need not wait for it.
            self._submitted.append(Request((Heartbeat(self.node_id, self._clock()),), None))
        self._hand_over_if_idle()
        await self._idle.wait()
        await asyncio.wrap_future(self._writer.stop())
        await self._reads.close()
        await asyncio.to_thread(self._store.close)

    def release_readers(self) -> None:
        """Send waiting readers home, now and from here on: the first half of a shutdown.

        Writing goes on. A server whose readers wait for news could not end otherwise.
        """
        self._reads.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------ writing

    async def transact(self, *operations: Operation) -> tuple[Outcome, ...]:
        """Carry out operations as one atomic, durable group.

        Returns:
            One outcome for each operation, in order. If one of them is not ``ok``, nothing of the
            group has been written. A caller that is cancelled does not know whether it was.

        Raises:
            StorageError: the store failed; nothing was written.
            LogClosedError: the log is shut down.
        """
        future: asyncio.Future[tuple[Outcome, ...]] = self._loop.create_future()
        self.submit(operations, partial(_settle, future))
        return await future

    def submit(self, operations: tuple[Operation, ...], settle: Settle | None) -> None:
        """`transact` for callers without a task: ``settle`` is called with what becomes of it.

        An idle writer is given what is submitted in one turn of the event loop; what comes while
        it commits is its next batch. So waiting costs one commit at most, and throughput does not
        fall with the number of streams.

        Raises:
            LogClosedError: the log is shut down.
        """
        if self._closing:
            raise LogClosedError
        if not self._submitted and self._idle.is_set():
            # Not at once: that would commit the first of many alone.
            self._loop.call_soon(self._hand_over_if_idle)
        self._submitted.append(Request(operations, settle))

    def _hand_over_if_idle(self) -> None:
        if self._submitted and self._idle.is_set():
            self._hand_over()

    def _hand_over(self) -> None:
        count = _how_many(self._submitted)
        batch, self._submitted = self._submitted[:count], self._submitted[count:]
        self._idle.clear()
        self._writer.submit(Submission(batch, self._prepare(batch)))

    def _prepare(self, batch: Sequence[Request]) -> Commit | None:
        try:
            return self._store.prepare([request.group for request in batch], self._clock())
        except Exception:  # noqa: BLE001 - a defect: it comes again in the writer, which tells them
            return None

    async def control(self, work: "Callable[[Connection], T]") -> T:
        """Run ``work`` in one durable write transaction of the store, see `Store.control`.

        It is called in the writer's thread. A caller that is cancelled does not know whether it
        was; what ``work`` raises is raised here, and nothing of it has been written.

        Raises:
            StorageError: the store failed; nothing was written.
            LogClosedError: the log is shut down.
        """
        return await self._in_writer(lambda store: store.control(work))

    async def _in_writer(self, work: Work[T]) -> T:
        if self._closing:
            raise LogClosedError
        self._hand_over_if_idle()
        return await asyncio.wrap_future(self._writer.run(work))

    def on_batch(self, observer: OnBatch) -> None:
        """Tell ``observer`` of every commit from here on; see `OnBatch`."""
        self._observers += (observer,)

    def _observe(self, batch: Batch) -> None:
        for observer in self._observers:
            try:
                observer(batch)
            except Exception:
                # A defect of somebody who looks on must not end the only thread that writes.
                logger.exception("watching a commit failed")

    def _deliver(self, finished: Finished) -> None:
        self._loop.call_soon_threadsafe(self._finish, finished)

    def _finish(self, finished: Finished) -> None:
        """Show a batch to readers, then answer those who asked for it (in the loop's thread)."""
        if self._submitted:
            self._hand_over()  # before all else: the writer has nothing to do
        else:
            self._idle.set()
        requests, result = finished
        if isinstance(result, Commit):
            self._failure = None
            self._reads.publish(result)
            if self._listener is not None:
                self._listener(result.effects)
            results: Sequence[tuple[Outcome, ...] | LogError] = result.outcomes
        else:
            if isinstance(result, StorageError):
                self._failure = result
            results = [result] * len(requests)
        for request, outcomes in zip(requests, results, strict=True):
            if request.settle is not None:
                request.settle(outcomes)

    def listen(self, listener: Callable[[Effects], None] | None) -> None:
        """Tell somebody of every commit, before those who asked for it are answered.

        It is called in the loop's thread, once for each batch, and has to be quick.
        """
        self._listener = listener

    # ------------------------------------------------------------------ reading

    def check(self) -> None:
        """Raise the `StorageError` of the last commit if it failed: for health checks."""
        if self._failure is not None:
            raise self._failure

    @property
    def leaving(self) -> bool:
        """`release_readers` or `close` was called: no reader should come here any more."""
        return self._reads.released

    async def stat(self, path: str) -> StreamInfo | None:
        """The stream at the path, or None."""
        return await self._reads.stat(path)

    async def read(
        self, path: str, position: int = EARLIEST, max_bytes: int = MAX_READ_BYTES
    ) -> Chunk:
        """What is there from ``position`` on, without waiting; see `Store.read` for its size.

        Raises:
            StreamNotFoundError: no stream at the path.
            OffsetOutOfRangeError: ``position`` is past the tail.
            OffsetGoneError: retention has let go of the bytes there.
        """
        async with self.reader(path, position) as reader:
            return await reader.read(max_bytes)

    def reader(self, path: str, position: int = EARLIEST) -> Reader:
        """A live reader from ``position`` on: ``async with log.reader(path) as reader``."""
        return Reader(self._reads, path, position)

    def readers(self) -> list[Reader]:
        """Every reader of this log that is between entering and leaving its stream."""
        return list(self._reads.readers)

    def count_readers(self, path: str) -> int:
        """How many of them are of one stream."""
        return self._reads.count_readers(path)

    @property
    def is_shared(self) -> bool:
        """Other nodes may have the store open as well."""
        return self._store.peers is not None

    async def orphans(self) -> list[StreamInfo]:
        """Open streams whose owner's lease has run out."""
        return await self._reads.in_thread(lambda: self._store.orphans(self._clock()))

    async def owned(self, prefix: str = "") -> list[StreamInfo]:
        """Open streams that have an owner, alive or not, and whose names begin with ``prefix``."""
        return await self._reads.in_thread(lambda: self._store.owned(prefix))

    async def list_streams(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[StreamInfo]:
        """A page of the streams whose names begin with ``prefix``; see `Store.list_streams`."""
        return await self._reads.in_thread(
            lambda: self._store.list_streams(prefix, after, limit, self._clock())
        )

    async def inspect(self, path: str) -> Inspection | None:
        """The stream at the path with its producers, forks and sizes, or None."""
        return await self._reads.in_thread(lambda: self._store.inspect(path, self._clock()))

    async def store_size(self) -> int:
        """Bytes that the store takes on disk; asking the store, so that it answers or fails."""
        return await self._reads.in_thread(self._store.size)

    def touch(self, stream: StreamInfo) -> None:
        """A read has begun: slide the stream's lifetime, if it has a sliding one.

        Nobody waits for it. A window that was moved a moment ago is left alone: a touch is a write.
        """
        if stream.ttl_seconds is None or self._closing:
            return
        if self._clock() - stream.touched_at > stream.ttl_seconds * 0.05:
            self.submit((Touch(stream.path),), None)

    # ------------------------------------------------------------------ chores

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(self.node_id, self._clock() + self.lease_seconds)

    async def _beat(self) -> None:
        await self.transact(self._heartbeat())

    async def sweep(self) -> None:
        """Remove streams whose lifetime is over, and bytes that retention lets go of."""
        for path in await self._reads.in_thread(lambda: self._store.expired(self._clock())):
            await self.transact(Touch(path))  # removes an expired stream
        overdue = partial(self._store.overdue, self.retention, self._clock())
        for trim in await self._reads.in_thread(overdue):
            await self.transact(trim)

    async def tidy(self) -> None:
        """Do the house-keeping that is due, in small steps; see `Store.tidy`."""
        more = True
        while more:
            more = await self._in_writer(lambda store: store.tidy(self._clock()))
            await asyncio.sleep(TIDY_PAUSE_SECONDS)

    async def _every(self, seconds: float, name: str, chore: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await chore()
            except LogClosedError:
                return
            except LogError as error:
                # The next turn tries again; whoever writes meanwhile gets the error itself.
                logger.warning("%s failed: %s", name, error)
            except Exception:
                # A defect, but without heartbeats it would cost every stream of this node.
                logger.exception("%s failed", name)


def _how_many(requests: Sequence[Request]) -> int:
    """So many of them, one at least, are one batch."""
    size = 0
    for count, request in enumerate(requests, 1):
        for operation in request.group:
            if isinstance(operation, Append | Create):
                size += len(operation.data)
        if size >= MAX_BATCH_BYTES:
            return count
    return len(requests)


def _settle(
    future: asyncio.Future[tuple[Outcome, ...]], result: tuple[Outcome, ...] | LogError
) -> None:
    if future.done():
        return
    if isinstance(result, LogError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _reads_of(store: Store, clock: Callable[[], float]) -> ReadSide:
    peers = store.peers
    return ReadSide(store, clock) if peers is None else SharedReads(store, peers, clock)


def _close_unwanted(opening: asyncio.Future[Store]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.get_loop().run_in_executor(None, opening.result().close)
