"""The log as the rest of the program sees it: asynchronous, in one event loop.

Writing: operations go to the writer thread, come back as outcomes once they are on disk, and only
then are their bytes shown to readers. Reading: a `Reader` holds a position, not a queue; it takes
bytes from the shared tail of the stream, or from the store when it is further behind.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from durable_streams_server._errors import (
    LogClosedError,
    LogError,
    OffsetOutOfRangeError,
    StorageError,
    StreamNotFoundError,
)
from durable_streams_server._json_mode import is_json
from durable_streams_server._model import (
    Chunk,
    Heartbeat,
    Operation,
    Outcome,
    StreamInfo,
    Touch,
)
from durable_streams_server._plan import is_expired
from durable_streams_server._sqlite import READ_CONNECTIONS
from durable_streams_server._store import Commit, Store
from durable_streams_server._tail import Tail
from durable_streams_server._url import open_store
from durable_streams_server._writer import Finished, Request, Writer

T = TypeVar("T")

MAX_READ_BYTES = 1024 * 1024
DEFAULT_LEASE_SECONDS = 10.0
IDLE_TAILS = 512
"""Streams without readers whose latest bytes stay in memory for the next reader."""
SWEEP_SECONDS = 30.0

logger = logging.getLogger("durable_streams_server")


class Log:
    """Streams in a store, for one event loop.

    Make one with `Log.open` and end it with `close`, or use it as ``async with await Log.open()``.

    Attributes:
        node_id: This log's name as an owner of streams; new each time.
        lease_seconds: How long a node counts as alive after its last heartbeat.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.node_id = uuid4().hex
        self.lease_seconds = lease_seconds
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self._closing = False
        self._failure: StorageError | None = None
        self._threads = ThreadPoolExecutor(READ_CONNECTIONS, "durable-log-reader")
        self._writer = Writer(store, self._deliver, clock)
        self._chores: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls,
        store: str = "sqlite://",
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the store of a URL (``sqlite:///FILE``; ``sqlite://`` is in memory).

        Raises:
            StoreUrlError: the URL names no store we know.
            StoreLockedError: another process has the file.
            StoreFormatError: the file is not a store of ours, or cannot be written.
        """
        opened = await asyncio.to_thread(open_store, store)
        log = cls(opened, lease_seconds=lease_seconds, clock=clock)
        await log.transact(log._heartbeat())
        log._chores = [
            asyncio.create_task(log._every(lease_seconds / 3, log._beat), name="log-heartbeat"),
            asyncio.create_task(log._every(SWEEP_SECONDS, log.sweep), name="log-sweeper"),
        ]
        return log

    async def close(self) -> None:
        """Commit what is queued, wake every reader, and let go of the store."""
        if self._closing:
            return
        self._closing = True
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await asyncio.wrap_future(self._writer.stop())
        # The writer's last batch was handed to the loop before it stopped: let it arrive.
        await asyncio.sleep(0)
        for tail in self._tails.values():
            tail.wake()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._store.close)

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
        if self._closing:
            raise LogClosedError
        future: asyncio.Future[tuple[Outcome, ...]] = self._loop.create_future()
        self._writer.submit(Request(operations, _resolver(future), _rejecter(future)))
        return await future

    def _deliver(self, finished: Finished) -> None:
        self._loop.call_soon_threadsafe(self._finish, finished)

    def _finish(self, finished: Finished) -> None:
        """Show a batch to readers, then answer those who asked for it (in the loop's thread)."""
        requests, result = finished
        if isinstance(result, Commit):
            self._failure = None
            self._publish(result)
            for request, outcomes in zip(requests, result.outcomes, strict=True):
                request.done(outcomes)
        else:
            if isinstance(result, StorageError):
                self._failure = result
            for request in requests:
                request.failed(result)

    def _publish(self, commit: Commit) -> None:
        effects = commit.effects
        for stream in effects.deleted.values():
            tail = self._tails.get(stream.path)
            if tail is not None and (tail.stream is None or tail.stream.id == stream.id):
                tail.publish_deleted()
        for stream_id, stream in effects.streams.items():
            data = b"".join(effects.chunks.get(stream_id, ()))
            self._tail(stream.path).publish(stream, stream.tail - len(data), data)
        self._drop_idle_tails()

    # ------------------------------------------------------------------ reading

    def check(self) -> None:
        """Raise the `StorageError` of the last commit if it failed: for health checks."""
        if self._failure is not None:
            raise self._failure

    async def stat(self, path: str) -> StreamInfo | None:
        """The stream at the path, or None."""
        tail = self._tails.get(path)
        if tail is not None and tail.stream is not None:
            return None if is_expired(tail.stream, self._clock()) else tail.stream
        return await self._in_thread(lambda: self._store.stat(path, self._clock()))

    async def read(
        self, path: str, position: int = 0, max_bytes: int = MAX_READ_BYTES
    ) -> Chunk:
        """What is there from ``position`` on, without waiting; see `Store.read` for its size.

        Raises:
            StreamNotFoundError: no stream at the path.
            OffsetOutOfRangeError: ``position`` is past the tail.
        """
        async with self.reader(path, position) as reader:
            return await reader.read(max_bytes)

    def reader(self, path: str, position: int = 0) -> "Reader":
        """A live reader from ``position`` on: ``async with log.reader(path) as reader``."""
        return Reader(self, path, position)

    async def orphans(self) -> list[StreamInfo]:
        """Open streams whose owner's lease has run out."""
        return await self._in_thread(lambda: self._store.orphans(self._clock()))

    async def owned(self) -> list[StreamInfo]:
        """Open streams that have an owner, alive or not."""
        return await self._in_thread(self._store.owned)

    def touch(self, stream: StreamInfo) -> None:
        """A read has begun: slide the stream's lifetime, if it has a sliding one.

        Nobody waits for it. A window that was moved a moment ago is left alone: a touch is a write.
        """
        if stream.ttl_seconds is None or self._closing:
            return
        if self._clock() - stream.touched_at > stream.ttl_seconds * 0.05:
            self._writer.submit(Request((Touch(stream.path),), _ignore, _ignore))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closing:
            raise LogClosedError
        return await self._loop.run_in_executor(self._threads, work)

    # ------------------------------------------------------------------ tails

    def _tail(self, path: str) -> Tail:
        tail = self._tails.get(path)
        if tail is None:
            tail = self._tails[path] = Tail(path)
        else:
            self._tails.move_to_end(path)
        return tail

    def _drop_idle_tails(self) -> None:
        """Forget the least recently written streams that nobody reads."""
        excess = len(self._tails) - IDLE_TAILS
        if excess <= 0:
            return
        idle = [path for path, tail in self._tails.items() if tail.readers == 0]
        for path in idle[: min(excess, len(idle))]:
            del self._tails[path]

    async def _enter(self, path: str, position: int) -> Tail:
        """Join a stream. The tail is in place before the store is asked, so that a commit
        between the question and its answer is not missed."""
        tail = self._tail(path)
        tail.readers += 1
        try:
            if tail.stream is None and not tail.deleted:
                found = await self._in_thread(lambda: self._store.stat(path, self._clock()))
                if found is not None:
                    tail.load(found)
            stream = tail.stream
            if stream is None or is_expired(stream, self._clock()):
                raise StreamNotFoundError(path)
            if position > stream.tail:
                raise OffsetOutOfRangeError(path, position, stream.tail)
        except BaseException:
            self._leave(tail)
            raise
        return tail

    def _leave(self, tail: Tail) -> None:
        tail.readers -= 1
        if tail.readers == 0 and tail.stream is None and self._tails.get(tail.path) is tail:
            del self._tails[tail.path]

    # ------------------------------------------------------------------ chores

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(self.node_id, self._clock() + self.lease_seconds)

    async def _beat(self) -> None:
        await self.transact(self._heartbeat())

    async def sweep(self) -> None:
        """Remove streams whose lifetime is over (a touch removes an expired stream)."""
        for path in await self._in_thread(lambda: self._store.expired(self._clock())):
            await self.transact(Touch(path))

    async def _every(self, seconds: float, chore: Callable[[], "object"]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await chore()  # type: ignore[misc]
            except LogError as error:
                # The next turn tries again; whoever writes meanwhile gets the error itself.
                logger.warning("%s failed: %s", getattr(chore, "__name__", chore), error)


class Reader:
    """A position in one stream. Use as an asynchronous context manager.

    Attributes:
        position: Where the next chunk begins.
    """

    def __init__(self, log: Log, path: str, position: int) -> None:
        self.position = position
        self._log = log
        self._path = path
        self._tail: Tail | None = None
        self._stream_id = 0
        self._waiter: asyncio.Future[None] | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        """Join the stream.

        Raises:
            StreamNotFoundError: no stream at the path.
            OffsetOutOfRangeError: the position is past the tail.
        """
        self._tail = await self._log._enter(self._path, self.position)
        self._stream_id = self.stream.id
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tail, self._tail = self._tail, None
        if tail is not None:
            self._log._leave(tail)

    @property
    def stream(self) -> StreamInfo:
        """The stream as it is now (raises `StreamNotFoundError` once it is deleted)."""
        stream = self._shared.stream
        if stream is None or (self._stream_id and stream.id != self._stream_id):
            raise StreamNotFoundError(self._path)
        return stream

    @property
    def stopped(self) -> bool:
        """`stop` was called, or the log is closing: there is no point in waiting."""
        return self._stopped or self._log._closing

    @property
    def _shared(self) -> Tail:
        if self._tail is None:
            raise RuntimeError("use the reader in `async with`")
        return self._tail

    def stop(self) -> None:
        """End a `next` that waits, now and from here on: it returns an empty chunk."""
        self._stopped = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, max_bytes: int = MAX_READ_BYTES) -> Chunk:
        """The next chunk without waiting: empty at the tail. Moves `position`.

        Raises:
            StreamNotFoundError: the stream was deleted.
            StorageError: bytes that should be there cannot be read.
        """
        tail, stream = self._shared, self.stream
        start = self.position
        if start == stream.tail:
            return Chunk(stream, start, start, b"", up_to_date=True, closed=stream.closed)
        if tail.holds(start):
            data = tail.read(start, max_bytes)
            if not is_json(stream.content_type) and len(data) > max_bytes:
                data = data[:max_bytes]
        else:
            data = await self._log._in_thread(
                lambda: self._log._store.read(stream, start, max_bytes)
            )
        self.position = end = start + len(data)
        newest = self._shared.stream or stream
        at_tail = end == newest.tail
        return Chunk(newest, start, end, data, at_tail, closed=at_tail and newest.closed)

    async def next(self, timeout: float | None = None) -> Chunk:  # noqa: ASYNC109 - a deadline, not a cancellation
        """The next chunk, waiting for one at the tail of an open stream.

        Returns:
            New bytes; or an empty chunk when the stream is closed, when ``timeout`` seconds have
            passed, or after `stop`.

        Raises:
            StreamNotFoundError: the stream was deleted.
        """
        deadline = None if timeout is None else self._log._loop.time() + timeout
        while True:
            chunk = await self.read()
            if chunk.data or chunk.closed or self.stopped:
                return chunk
            if not await self._wait(deadline):
                return chunk

    async def _wait(self, deadline: float | None) -> bool:
        """Wait for a change of the stream; False when the deadline came first."""
        loop, tail = self._log._loop, self._shared
        waiter = self._waiter = loop.create_future()
        timer = None
        if deadline is not None:
            timer = loop.call_at(deadline, _complete, waiter)
        tail.add_waiter(waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            tail.remove_waiter(waiter)
            if timer is not None:
                timer.cancel()
        return deadline is None or loop.time() < deadline


def _complete(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _resolver(
    future: asyncio.Future[tuple[Outcome, ...]],
) -> Callable[[tuple[Outcome, ...]], None]:
    def done(outcomes: tuple[Outcome, ...]) -> None:
        if not future.done():
            future.set_result(outcomes)

    return done


def _rejecter(future: asyncio.Future[tuple[Outcome, ...]]) -> Callable[[LogError], None]:
    def failed(error: LogError) -> None:
        if not future.done():
            future.set_exception(error)

    return failed


def _ignore(_result: object) -> None:
    """For requests that nobody waits for."""
