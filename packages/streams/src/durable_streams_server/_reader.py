"""Reading: positions in shared tails, and the store for whoever is further behind.

Everything here runs in the event loop's thread, so that between looking at a tail and waiting for
its next change nothing can happen.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from durable_streams_server._errors import (
    LogClosedError,
    OffsetGoneError,
    OffsetOutOfRangeError,
    StreamGoneError,
    StreamNotFoundError,
)
from durable_streams_server._json_mode import is_json
from durable_streams_server._model import EARLIEST, Chunk, StreamInfo
from durable_streams_server._pieces import Pieces
from durable_streams_server._plan import end_of_life, is_expired
from durable_streams_server._store import Commit, Store
from durable_streams_server._tail import Tail

T = TypeVar("T")

MAX_READ_BYTES = 1024 * 1024
READ_THREADS = 4
IDLE_TAILS = 512
"""So many tails may be there without looking for idle ones; half of them may stay idle then."""


class ReadSide:
    """What the readers of one log share: the tails, and the way to the store.

    Attributes:
        loop: The event loop of the log.
        clock: Epoch seconds.
        released: Readers are to stop waiting.
        readers: Those between entering and leaving.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self.loop = asyncio.get_running_loop()
        self.released = False
        self._store = store
        self.clock = clock
        self._closed = False
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self._drop_beyond = IDLE_TAILS
        self._pieces = Pieces()
        self.readers: set[Reader] = set()
        self._threads = ThreadPoolExecutor(READ_THREADS, "durable-log-reader")

    def publish(self, commit: Commit) -> None:
        """Show a batch that is on disk to the readers of its streams."""
        effects = commit.effects
        for stream in effects.deleted.values():
            tail = self._tails.get(stream.path)
            if tail is not None and (tail.stream is None or tail.stream.id == stream.id):
                tail.publish_deleted()
        for stream_id, stream in effects.streams.items():
            # A stream that nobody has looked at has no tail: its first reader asks the store. One
            # that a node owns is being written for somebody who is about to read it.
            tail = self._tails.get(stream.path)
            if tail is None and stream.owner is not None:
                tail = self._tail(stream.path)
            if tail is not None:
                data = b"".join(effects.chunks.get(stream_id, ()))
                tail.publish(stream, stream.tail - len(data), data)
        self._drop_idle_tails()

    def release(self) -> None:
        """Send waiting readers home, now and from here on."""
        self.released = True
        for tail in self._tails.values():
            tail.wake()

    async def close(self) -> None:
        """Wait for reads of the store that are under way, and refuse more."""
        self._closed = True
        self.release()
        await asyncio.to_thread(self._threads.shutdown)

    async def stat(self, path: str) -> StreamInfo | None:
        """The stream at the path, unless its lifetime is over."""
        tail = self._tails.get(path)
        if tail is None or tail.stream is None:
            return await self.in_thread(lambda: self._store.stat(path, self.clock()))
        return None if is_expired(tail.stream, self.clock()) else tail.stream

    def count_readers(self, path: str) -> int:
        """How many readers of a stream are between entering and leaving."""
        tail = self._tails.get(path)
        return 0 if tail is None else tail.readers

    async def read_store(self, stream: StreamInfo, position: int, max_bytes: int) -> bytes:
        """See `Store.read`. Readers that follow each other closely share what was read."""
        read = partial(self._store.read, stream, position, max_bytes)
        if stream.tail - position < max_bytes:
            return await self.in_thread(read)  # a moment later there may be more
        key = (stream.id, position, max_bytes)
        return await self._pieces.get(key, lambda: self.in_thread(read))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work of the store beside the loop (`LogClosedError` after `close`)."""
        if self._closed:
            raise LogClosedError
        return await self.loop.run_in_executor(self._threads, work)

    async def enter(self, path: str, position: int) -> Tail:
        """Join a stream: see `Reader.__aenter__`.

        The tail is in place before the store is asked, so that a commit between the question and
        its answer is not missed.
        """
        tail = self._tail(path)
        tail.readers += 1
        try:
            await self.load(tail)
            self._check(tail, position)
        except BaseException:
            self.leave(tail)
            raise
        return tail

    async def load(self, tail: Tail) -> None:
        """Have the tail know its stream."""
        if tail.stream is None and not tail.deleted:
            found = await self.in_thread(lambda: self._store.stat(tail.path, self.clock()))
            if found is not None:
                tail.load(found)

    def _check(self, tail: Tail, position: int) -> None:
        stream = tail.stream
        if stream is None or (not stream.deleted and is_expired(stream, self.clock())):
            raise StreamNotFoundError(tail.path)
        if stream.deleted:
            raise StreamGoneError(tail.path)
        if position > stream.tail:
            raise OffsetOutOfRangeError(tail.path, position, stream.tail)
        if EARLIEST < position < stream.start:
            raise OffsetGoneError(tail.path, position, stream.start)

    def leave(self, tail: Tail) -> None:
        """A reader has gone. The tail stays for a while: who polls comes back."""
        tail.readers -= 1
        if tail.readers == 0 and tail.stream is None and self._tails.get(tail.path) is tail:
            del self._tails[tail.path]
        self._drop_idle_tails()

    def _tail(self, path: str) -> Tail:
        tail = self._tails.get(path)
        if tail is None:
            tail = self._tails[path] = Tail(path)
        else:
            self._tails.move_to_end(path)
        return tail

    def _drop_idle_tails(self) -> None:
        """Forget the streams that nobody reads, those first that were joined longest ago."""
        if len(self._tails) <= self._drop_beyond:
            return
        idle = [path for path, tail in self._tails.items() if tail.readers == 0]
        for path in idle[: max(0, len(idle) - IDLE_TAILS // 2)]:
            del self._tails[path]
        # With many tails in use there is little to drop: do not look again at every commit.
        self._drop_beyond = max(IDLE_TAILS, 2 * len(self._tails))


class Reader:
    """A position in one stream. Use as an asynchronous context manager.

    Attributes:
        position: Where the next chunk begins; `EARLIEST` becomes the stream's start on entering.
        mode: For whom it reads, as it is counted: a live mode of the protocol, or ``program``.
    """

    def __init__(self, side: "ReadSide", path: str, position: int) -> None:
        self.position = position
        self.mode = "program"
        self._side = side
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
            OffsetGoneError: the position is before what is retained.
        """
        self._tail = await self._side.enter(self._path, self.position)
        self._stream_id = self.stream.id
        if self.position == EARLIEST:
            self.position = self.stream.start
        self._side.readers.add(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._side.readers.discard(self)
        tail, self._tail = self._tail, None
        if tail is not None:
            self._side.leave(tail)

    @property
    def stream(self) -> StreamInfo:
        """The stream as it is now.

        Raises:
            StreamNotFoundError: it was deleted, or its lifetime is over.
            StreamGoneError: it was deleted and has forks.
        """
        stream = self._shared.stream
        if stream is None or (self._stream_id and stream.id != self._stream_id):
            raise StreamNotFoundError(self._path)
        if stream.deleted:
            raise StreamGoneError(self._path)
        if is_expired(stream, self._side.clock()):
            raise StreamNotFoundError(self._path)
        return stream

    @property
    def stopped(self) -> bool:
        """`stop` was called, or the log lets its readers go: there is no point in waiting."""
        return self._stopped or self._side.released

    @property
    def path(self) -> str:
        """The stream's path."""
        return self._path

    @property
    def lag(self) -> int:
        """Bytes that are on disk and have not been taken by this reader: the tail less `position`.

        Bytes that were taken and are on their way to the client do not count.
        """
        stream = None if self._tail is None else self._tail.stream
        same = stream is not None and stream.id == self._stream_id
        return max(0, stream.tail - self.position) if stream is not None and same else 0

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
            OffsetGoneError: retention was faster than this reader.
            StorageError: bytes that should be there cannot be read.
        """
        chunk = self.read_now(max_bytes)
        if chunk is not None:
            return chunk
        stream = self.stream
        data = await self._side.read_store(stream, self.position, max_bytes)
        newest = self._shared.stream
        if newest is None or newest.id != stream.id:
            newest = stream  # deleted meanwhile: these are still bytes of the old stream
        return self._advance(newest, data)

    def read_now(self, max_bytes: int = MAX_READ_BYTES) -> Chunk | None:
        """What `read` gives when it needs not ask the store; None when it has to.

        Raises:
            StreamNotFoundError: the stream was deleted.
        """
        tail, stream = self._shared, self.stream
        if self.position < stream.start:
            raise OffsetGoneError(self._path, self.position, stream.start)
        if self.position == stream.tail:
            return self._advance(stream, b"")
        if not tail.holds(self.position):
            return None
        data = tail.read(self.position, max_bytes)
        if len(data) > max_bytes and not is_json(stream.content_type):
            data = data[:max_bytes]
        return self._advance(stream, data)

    def _advance(self, stream: StreamInfo, data: bytes) -> Chunk:
        start = self.position
        self.position = end = start + len(data)
        at_tail = end == stream.tail
        return Chunk(stream, start, end, data, at_tail, at_tail and stream.closed)

    def shared_frame(self, key: object, encode: Callable[[], bytes]) -> bytes:
        """An encoding made once for all readers of the stream that ask with the same key."""
        return self._shared.frame(key, encode)

    async def next(self, timeout: float | None = None) -> Chunk:  # noqa: ASYNC109 - a deadline, not a cancellation
        """The next chunk, waiting for one at the tail of an open stream.

        Returns:
            New bytes; or an empty chunk when the stream is closed, when ``timeout`` seconds have
            passed, or after `stop`.

        Raises:
            StreamNotFoundError: the stream was deleted.
        """
        deadline = None if timeout is None else self._side.loop.time() + timeout
        while True:
            chunk = await self.read()
            if chunk.data or chunk.closed or self.stopped:
                return chunk
            if not await self._wait(deadline):
                return chunk

    async def _wait(self, deadline: float | None) -> bool:
        """Wait for a change of the stream; False when the deadline came first."""
        loop, tail = self._side.loop, self._shared
        waiter = self._waiter = loop.create_future()
        timer = None
        wake_at = self.wake_at(deadline)
        if wake_at is not None:
            timer = loop.call_at(wake_at, _complete, waiter)
        tail.add_waiter(waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            tail.remove_waiter(waiter)
            if timer is not None:
                timer.cancel()
        return deadline is None or loop.time() < deadline

    def on_change(self, look: Callable[[object], None]) -> None:
        """Call ``look`` in a turn of the loop after the stream's next change, or after `stop`."""
        waiter = self._waiter = self._side.loop.create_future()
        waiter.add_done_callback(look)
        self._shared.add_waiter(waiter)

    def ignore_changes(self) -> None:
        """Take back `on_change`."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.cancel()
            self._shared.remove_waiter(waiter)

    def wake_at(self, deadline: float | None) -> float | None:
        """When to look again at the latest (time of the loop): when the stream's life ends."""
        end = end_of_life(self.stream)
        if end is None:
            return deadline
        at_end = self._side.loop.time() + max(0.0, end - self._side.clock())
        return at_end if deadline is None else min(deadline, at_end)


def _complete(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
