# Generated from _async_stream.py by scripts/generate_shells.py: change that file, not this one.
"""The synchronous client of Durable Streams."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx2

from durable_transport._effects import Emit, Step
from durable_transport._shell._appends_sync import Appends
from durable_transport._shell._io_sync import HeaderSource, Lock, bounded_cleanup
from durable_transport._shell._sync_httpx2 import _Connection as Connection
from durable_transport._shell._sync_requests import Requests
from durable_transport._stream import _calls
from durable_transport._stream._calls import Appended, Entry, StreamInfo
from durable_transport._stream._encode import encode, encode_all, join
from durable_transport._stream._follow import Batch, Follower, Live
from durable_transport._stream._head import DEFAULT_CONTENT_TYPE
from durable_transport._stream._snapshot import Snapshot
from durable_transport._stream._units import ByteUnits, JsonUnits, TextUnits, Units
from durable_transport._stream._url import StreamURL
from durable_transport._timing import Timing
from durable_transport.protocol import BEGINNING

T = TypeVar("T")
D = TypeVar("D")


class SyncDurableStream:
    """One stream on a server of the Durable Streams protocol, ours or another's.

    Works as a context manager, which at its end closes what was opened through it. Offsets are
    text to be kept and given back: ``-1`` is the beginning, ``now`` the end at the time of asking.

    Args:
        url: The stream's address; it may have a query of its own, such as a signature.
        headers: Headers for every request, such as credentials: a mapping, or a function that is
            called for every request.
        params: Query fields for every request, likewise.
        client: Sends the requests, with its own headers and credentials, and is yours to close.
            One is made when absent; give one to let many streams share their connections.
        content_type: What the stream holds, if that is known: saves asking before an append.
        timing: Time settings.

    Raises:
        InvalidStreamURL: ``url`` cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: HeaderSource = None,
        params: HeaderSource = None,
        client: httpx2.Client | None = None,
        content_type: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.requests = Requests(
            StreamURL.parse(str(url)), headers, params, client, timing or Timing()
        )
        """What sends the requests: shared with what is built upon a stream."""
        self._readers: set[SyncStreamReader[Any]] = set()
        self._appends = Appends(self._append)
        self._asking = Lock()
        self.content_type = content_type
        """What the stream holds, None as long as that is not known."""

    @property
    def url(self) -> str:
        """The stream's address."""
        return self.requests.url.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.requests.url.bare!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Let go of connections: end the readers; the stream itself stays as it is."""
        with bounded_cleanup(self.requests.timing.close):
            self._appends.close()
            for reader in list(self._readers):
                reader.disconnect()
            self.requests.close()

    # ------------------------------------------------------------------ the stream itself

    def create(
        self,
        *,
        content_type: str | None = None,
        ttl: float | timedelta | None = None,
        expires_at: datetime | None = None,
        closed: bool = False,
        data: Any = None,
    ) -> StreamInfo:
        """Make the stream; one that is there already in the same form is fine.

        Args:
            content_type: What it holds; ``application/json`` makes it a stream of messages.
                `SyncDurableStream.content_type` or bytes when absent.
            ttl: Seconds it lives without being read or written.
            expires_at: When it ends (not together with ``ttl``).
            closed: It is complete, with ``data`` as all it ever holds.
            data: Its first content, as for `append`.

        Raises:
            StreamExists: there is a stream in another form.
            StreamError: the server refuses, or cannot be reached.
        """
        kind = content_type or self.content_type or DEFAULT_CONTENT_TYPE
        info = self.requests.run(
            _calls.create(
                self.requests.link(),
                content_type=kind,
                ttl=ttl,
                expires_at=expires_at,
                closed=closed,
                data=None if data is None else join([encode(data, kind)], kind),
            )
        )
        self.content_type = info.content_type or kind
        return info

    def head(self) -> StreamInfo:
        """Ask what the stream holds, where it ends, whether it is closed, when it expires.

        Raises:
            StreamNotFound: there is none.
            StreamError: the server refuses, or cannot be reached.
        """
        info = self.requests.run(_calls.head(self.requests.link()))
        self.content_type = info.content_type or self.content_type
        return info

    def delete(self) -> None:
        """Delete the stream with all its data.

        Raises:
            StreamNotFound: there is none.
            StreamError: the server refuses, or cannot be reached.
        """
        self.requests.run(_calls.delete(self.requests.link()))

    def fork(
        self,
        url: str,
        *,
        offset: str | None = None,
        sub_offset: int = 0,
        ttl: float | timedelta | None = None,
        expires_at: datetime | None = None,
    ) -> "SyncDurableStream":
        """Make a stream that begins with what this one holds up to an offset.

        Args:
            url: The address of the new stream, on the same server; may be relative to this one's.
            offset: Where it branches off, as a reader has given it; the end when absent.
            sub_offset: How much more it takes over: messages of a JSON stream, else bytes.
            ttl: As for `create`; this stream's lifetime when both are absent.
            expires_at: Likewise.

        Returns:
            The new stream, with the connections and credentials of this one: its own `close`
            ends its readers only.

        Raises:
            StreamError: the server refuses, or cannot be reached.
        """
        shared = self.requests
        new = SyncDurableStream(
            shared.url.beside(url).text,
            headers=shared.headers,
            params=shared.params,
            client=shared.client,
            timing=shared.timing,
        )
        info = new.requests.run(
            _calls.fork(
                new.requests.link(),
                self.requests.link(),
                offset=offset,
                sub_offset=sub_offset,
                ttl=ttl,
                expires_at=expires_at,
            )
        )
        new.content_type = info.content_type or self.content_type
        return new

    # ------------------------------------------------------------------ writing

    def append(self, data: Any, *, seq: str | None = None) -> Appended:
        """Append; when this returns, the data is stored.

        Appends that wait at the same time share a request. To write without waiting, and
        repeatably, use `IdempotentProducer`.

        Args:
            data: For a JSON stream one message: any JSON value, or bytes that are its JSON text.
                For other streams bytes, or str as UTF-8.
            seq: Has to be greater than that of every earlier append, compared byte by byte.

        Raises:
            AppendUncertain: the connection broke, and nobody knows.
            StreamClosed: nothing can be appended any more.
            StreamConflict: of another content type, or ``seq`` is not greater.
            StreamError: the server refuses, or cannot be reached.
        """
        encoded = encode(data, self.holds())
        return self._appends.submit(Entry(encoded, seq))

    def extend(self, data: Iterable[Any], *, seq: str | None = None) -> Appended:
        """Append several messages (or pieces) at once: all of them are stored, or none.

        Raises:
            StreamError: as for `append`.
        """
        encoded = encode_all(data, self.holds())
        return self._appends.submit(Entry(encoded, seq))

    def close(self, data: Any = None) -> Appended:
        """Close the stream for good, with ``data`` as its last content: readers come to an end.

        Closing a closed stream is fine as long as no data comes with it. (`close` only lets go
        of connections.)

        Raises:
            AppendUncertain: the connection broke while sending data, and nobody knows.
            StreamClosed: it is closed, so the data cannot be appended.
            StreamError: the server refuses, or cannot be reached.
        """
        encoded = None if data is None else encode(data, self.holds())
        return self._appends.submit(Entry(encoded, close=True))

    def holds(self) -> str:
        """The stream's content type; asks once."""
        with self._asking:
            if self.content_type is None:
                self.head()
            return self.content_type or DEFAULT_CONTENT_TYPE

    def _append(self, entries: Sequence[Entry]) -> Appended:
        kind = self.content_type or DEFAULT_CONTENT_TYPE
        return self.requests.run(_calls.append(self.requests.link(), entries, kind))

    # ------------------------------------------------------------------ reading

    def read(self, offset: str = BEGINNING) -> Snapshot[bytes]:
        """All bytes from an offset to the end there is now.

        Raises:
            StreamError: it cannot be read.
        """
        return self._snapshot(ByteUnits(), offset, b"".join)

    def read_text(self, offset: str = BEGINNING) -> Snapshot[str]:
        """All text from an offset to the end there is now.

        Raises:
            StreamError: it cannot be read, or is no UTF-8.
        """
        return self._snapshot(TextUnits(), offset, "".join)

    def read_json(self, offset: str = BEGINNING) -> Snapshot[list[Any]]:
        """All messages of a JSON stream from an offset to the end there is now.

        Raises:
            StreamError: it cannot be read, or is no JSON stream.
        """
        return self._snapshot(JsonUnits(), offset, list[Any])

    def follow(
        self, offset: str = BEGINNING, *, live: Live | None = "auto"
    ) -> "SyncStreamReader[bytes]":
        """Read the stream's bytes from an offset on, and what is appended as it comes.

        Ends when the stream is closed. Lost connections are made up for.

        Args:
            offset: Where to begin.
            live: ``auto``: server-sent events, except for ``text/*`` streams, whose line ends
                they would change, and where they do not come through; long-poll then.
                None: no longer than to the end there is now.
                ``raw``: plain bytes where the server is ours; cheapest, but `up_to_date` is then
                known only when the stream was quiet for a while.
        """
        return self._follow(ByteUnits(), offset, live)

    def follow_text(
        self, offset: str = BEGINNING, *, live: Live | None = "auto"
    ) -> "SyncStreamReader[str]":
        """The same as text: pieces of UTF-8, never cut inside a code point."""
        return self._follow(TextUnits(), offset, live)

    def follow_json(
        self, offset: str = BEGINNING, *, live: Live | None = "auto"
    ) -> "SyncStreamReader[Any]":
        """The same for the messages of a JSON stream, one by one."""
        return self._follow(JsonUnits(), offset, live)

    def _follow(self, units: Units[T], offset: str, live: Live | None) -> "SyncStreamReader[T]":
        follower = Follower(
            self.requests.link(), units, offset, live=live, json=isinstance(units, JsonUnits)
        )
        reader = SyncStreamReader(
            follower, self.requests.connection(), self._readers, self.requests.timing
        )
        self._readers.add(reader)
        return reader

    def _snapshot(
        self, units: Units[T], offset: str, gather: Callable[[Iterable[T]], D]
    ) -> Snapshot[D]:
        with self._follow(units, offset, None) as reader:
            items = [item for batch in reader.batches() for item in batch.items]
        self.content_type = self.content_type or reader.content_type
        return Snapshot(gather(items), reader.offset, closed=reader.closed)


class SyncStreamReader(Generic[T]):
    """Reads one stream, item by item (``for``) or batch by batch (`batches`).

    A call that is cancelled or fails loses nothing: the next one goes on from `offset`. Inside a
    batch that holds several messages, `offset` is the server's last offset and the number of
    messages after it (``offset/2``): `SyncDurableStream` takes it like any other, on every server.
    """

    def __init__(
        self,
        follower: Follower[T],
        connection: Connection,
        siblings: "set[SyncStreamReader[Any]]",
        timing: Timing,
    ) -> None:
        self._follower = follower
        self._connection = connection
        self._siblings = siblings
        self._timing = timing
        self._steps: Step[None] | None = None
        self._items: deque[tuple[T, str]] = deque()
        self._busy = False
        self._ended = False
        self.offset: str = follower.offset
        """After the last item: a reader that begins there misses nothing and repeats nothing."""
        self.up_to_date = False
        """The stream had nothing after `offset` when the server last said so."""
        self.closed = False
        """The stream is closed, and the last item was its last."""

    @property
    def content_type(self) -> str | None:
        """What the stream holds, None before the first answer."""
        return self._follower.content_type

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Stop reading, at once; `offset` stays where it is."""
        self._ended = True
        self._siblings.discard(self)
        self._let_go()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not self._items:
            batch = self._next_batch()
            self._items.extend(zip(batch.items, batch.offsets, strict=True))
            if not self._items:
                self._stand_after(batch.offset)
        item, offset = self._items.popleft()
        self._stand_after(offset)
        return item

    def batches(self) -> Iterator[Batch[T]]:
        """What arrives together, together. A batch without items says that the state changed:
        the tail was reached, or the stream was closed.
        """
        return _Batches(self)

    def next_batch(self) -> Batch[T]:
        """The next batch, or what is left of the present one; StopIteration at the end."""
        if not self._items:
            batch = self._next_batch()
            self._stand_after(batch.offset)
            return batch
        rest, self._items = tuple(self._items), deque()
        self._stand_after(self._follower.offset)
        items, offsets = tuple(item for item, _ in rest), tuple(offset for _, offset in rest)
        return Batch(items, offsets, self.offset, self.up_to_date, self.closed)

    def _stand_after(self, offset: str) -> None:
        last = not self._items
        self.offset = offset
        self.up_to_date = last and self._follower.up_to_date
        self.closed = last and self._follower.closed

    def _next_batch(self) -> Batch[T]:
        if self._busy:
            raise RuntimeError("another task is waiting for this reader: give each its own")
        if self._ended:
            raise StopIteration
        self._busy = True
        try:
            return self._advance()
        except StopIteration:
            self._ended = True
            self._siblings.discard(self)
            self._let_go()
            raise
        except BaseException:
            self._let_go()
            raise
        finally:
            self._busy = False

    def _advance(self) -> Batch[T]:
        if self._steps is None:
            self._steps = self._follower.run()
        steps, answer = self._steps, None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration:
                raise StopIteration from None
            if isinstance(effect, Emit):
                batch: Batch[T] = effect.data
                return batch
            answer = self._connection.perform(effect)
            if self._ended:
                raise StopIteration

    def _let_go(self) -> None:
        """Close what is open; not stopped by cancellation."""
        self._steps = None
        with bounded_cleanup(self._timing.close):
            self._connection.close()


class _Batches(Generic[T]):
    """Nothing of its own to be closed, unlike a generator."""

    def __init__(self, reader: SyncStreamReader[T]) -> None:
        self._reader = reader

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch[T]:
        return self._reader.next_batch()
