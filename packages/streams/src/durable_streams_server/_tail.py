"""The end of one stream in memory: what live readers share.

A tail holds the most recent wire bytes as the chunks in which they were committed. A reader that
is up to date gets the very object that was committed; one that is further behind gets a slice, and
one that is behind the window reads from the store. Only the event loop's thread touches a tail.
"""

from asyncio import Future
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from durable_streams_server._model import StreamInfo

WINDOW_BYTES = 64 * 1024
"""Wire bytes a tail keeps; the last chunk is kept whole however large it is."""


class Tail:
    """What is known of one stream since somebody looked at it or wrote to it.

    Attributes:
        stream: Newest state, or None before it is loaded and after it was deleted.
        deleted: The stream existed and is gone.
        readers: How many readers hold this tail.
    """

    __slots__ = (
        "_chunks",
        "_ends",
        "_frame",
        "_size",
        "_start",
        "_waiters",
        "deleted",
        "path",
        "readers",
        "stream",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.stream: StreamInfo | None = None
        self.deleted = False
        self.readers = 0
        self._chunks: deque[bytes] = deque()
        self._ends: deque[int] = deque()
        self._start = 0
        self._size = 0
        self._waiters: set[Future[None]] = set()
        self._frame: tuple[object, bytes] | None = None

    # ------------------------------------------------------------------ writing

    def load(self, stream: StreamInfo) -> None:
        """Take what the store said, unless a commit has told something newer meanwhile."""
        if self.stream is None and not self.deleted:
            self.stream = stream
            self._start = stream.tail

    def refresh(self, stream: StreamInfo) -> None:
        """The store has told how the stream is; other processes write to it as well."""
        known = self.stream
        if known is not None and known._replace(touched_at=stream.touched_at) == stream:
            self.stream = stream  # nothing that anybody waits for
        elif known is None or known.id != stream.id or not _is_later(known, stream):
            self._change(stream, stream.tail)
            self.wake()

    def publish(self, stream: StreamInfo, start: int, data: bytes) -> None:
        """A commit has changed the stream: ``data`` are its new bytes at ``start``."""
        if self.stream is not None and _is_later(self.stream, stream):
            return  # the store has told of a later commit of another process already
        self._change(stream, start)
        if data:
            self._chunks.append(data)
            self._ends.append(start + len(data))
            self._size += len(data)
            while self._size > WINDOW_BYTES and len(self._chunks) > 1:
                self._size -= len(self._chunks.popleft())
                self._start = self._ends.popleft()
        self.wake()

    def _change(self, stream: StreamInfo, start: int) -> None:
        """Bytes that follow are at ``start``; the window begins anew if it does not end there."""
        known = self.stream
        if known is None or known.id != stream.id or known.tail != start:
            self._restart(start)
        self.stream = stream
        self.deleted = False

    def publish_deleted(self) -> None:
        """A commit has removed the stream."""
        self.stream = None
        self.deleted = True
        self._restart(0)
        self.wake()

    def _restart(self, start: int) -> None:
        self._chunks.clear()
        self._ends.clear()
        self._size = 0
        self._start = start
        self._frame = None

    # ------------------------------------------------------------------ reading

    def holds(self, position: int) -> bool:
        """The window reaches back to ``position``."""
        return position >= self._start

    def read(self, position: int, max_bytes: int) -> bytes:
        """Whole chunks (the first from ``position`` on) up to about ``max_bytes``."""
        index = bisect_right(self._ends, position)
        if index == len(self._chunks):
            return b""
        first = self._chunks[index]
        skip = len(first) - (self._ends[index] - position)
        pieces = [first[skip:] if skip else first]
        size = len(pieces[0])
        while size < max_bytes and (index := index + 1) < len(self._chunks):
            pieces.append(self._chunks[index])
            size += len(self._chunks[index])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def frame(self, key: object, encode: Callable[[], bytes]) -> bytes:
        """The encoded event of a key: made once for all readers that want the same one now."""
        if self._frame is None or self._frame[0] != key:
            self._frame = (key, encode())
        return self._frame[1]

    # ------------------------------------------------------------------ waiting

    def add_waiter(self, waiter: Future[None]) -> None:
        """Complete ``waiter`` at the next change."""
        self._waiters.add(waiter)

    def remove_waiter(self, waiter: Future[None]) -> None:
        """Forget a waiter that gave up."""
        self._waiters.discard(waiter)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


def _is_later(known: StreamInfo, stream: StreamInfo) -> bool:
    """What is known is from a later commit: a tail, a closure and a deletion are never undone."""
    if known.id != stream.id:
        return known.id > stream.id
    return (known.tail, known.closed, known.deleted) > (stream.tail, stream.closed, stream.deleted)
