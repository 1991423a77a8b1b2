"""Reading a store that other processes write to as well.

What this process remembers of a stream may be old, so everybody who begins to read asks the store
first; those who ask while a question is under way share the next one. Whoever waits is woken by
hints of the other nodes, and by a look at the store every so often in case none came.
"""

import asyncio
from collections.abc import Callable, Iterable

from durable_streams_server._errors import LogError
from durable_streams_server._model import StreamInfo
from durable_streams_server._plan import is_expired
from durable_streams_server._reader import ReadSide
from durable_streams_server._store import Peers, Store
from durable_streams_server._tail import Tail

Answer = asyncio.Future[StreamInfo | None]


class SharedReads(ReadSide):
    """A `ReadSide` that trusts its tails only after a look at the store.

    Args:
        store: Read from.
        peers: The same store, as others write to it.
        clock: Epoch seconds.
    """

    def __init__(self, store: Store, peers: Peers, clock: Callable[[], float]) -> None:
        super().__init__(store, clock)
        self._peers = peers
        self._wanted: dict[str, list[Answer]] = {}
        self._asking: asyncio.Task[None] | None = None
        peers.watch(self._hear)

    async def close(self) -> None:
        """See `ReadSide.close`."""
        await super().close()
        if self._asking is not None:
            await self._asking

    async def stat(self, path: str) -> StreamInfo | None:
        """The stream at the path as it is now, unless its lifetime is over."""
        stream = await self._look(path)
        return None if stream is None or is_expired(stream, self.clock()) else stream

    async def load(self, tail: Tail) -> None:
        """See `ReadSide.load`."""
        await self._look(tail.path)

    async def poll(self) -> None:
        """Look at every stream that somebody reads."""
        await self._refresh(None)

    # ------------------------------------------------------------------ hints

    def _hear(self, ids: frozenset[int] | None) -> None:
        """Another node has changed streams; called in a thread of the store."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._follow, ids)

    def _follow(self, ids: frozenset[int] | None) -> None:
        for path in self._read_now(ids):
            # Nobody waits for this answer; it wakes the readers, and a failure is told to those
            # who ask for themselves.
            self._look(path).add_done_callback(_ignore)

    async def _refresh(self, ids: frozenset[int] | None) -> None:
        await asyncio.gather(*map(self._look, self._read_now(ids)))

    def _read_now(self, ids: frozenset[int] | None) -> Iterable[str]:
        return [
            path
            for path, tail in self._tails.items()
            if tail.readers and (ids is None or tail.stream is None or tail.stream.id in ids)
        ]

    # ------------------------------------------------------------------ asking

    def _look(self, path: str) -> Answer:
        """The stream at the path, by a question to the store that begins after this call."""
        answer: Answer = self.loop.create_future()
        self._wanted.setdefault(path, []).append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return answer

    async def _ask_all(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._ask(wanted)
        finally:
            self._asking = None

    async def _ask(self, wanted: dict[str, list[Answer]]) -> None:
        before = {path: self._known(path) for path in wanted}
        try:
            found = await self.in_thread(lambda: self._peers.stats(list(wanted)))
        except LogError as error:
            for answers in wanted.values():
                _fail(answers, error)
            return
        for path, answers in wanted.items():
            known, stream = self._known(path), found.get(path)
            if known == before[path] or _same(known[0], stream):
                newest = self._take(path, stream)
                _answer(answers, newest)
            else:
                # A commit of this process has told of another life of the stream, or of its end,
                # meanwhile: which of the two is the later one, the store knows.
                self._wanted.setdefault(path, []).extend(answers)

    def _known(self, path: str) -> tuple[StreamInfo | None, bool]:
        """What commits of this process, and earlier answers, have told of a stream."""
        tail = self._tails.get(path)
        return (None, False) if tail is None else (tail.stream, tail.deleted)

    def _take(self, path: str, stream: StreamInfo | None) -> StreamInfo | None:
        tail = self._tails.get(path)
        if tail is None:
            return stream
        if stream is not None:
            tail.refresh(stream)
        elif tail.stream is not None:
            tail.publish_deleted()
        return tail.stream


def _same(known: StreamInfo | None, stream: StreamInfo | None) -> bool:
    return known is not None and stream is not None and known.id == stream.id


def _answer(answers: Iterable[Answer], stream: StreamInfo | None) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(stream)


def _fail(answers: Iterable[Answer], error: LogError) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)


def _ignore(answer: Answer) -> None:
    if not answer.cancelled():
        answer.exception()
