"""Following a collection with ``async for``."""

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar
from weakref import finalize, ref

from durable_ai_db.live._changes import Change, merge
from durable_ai_db.live._collection import Collection

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Feed(Generic[K, V]):
    """The changes of a collection, as an asynchronous iterator over lists of them.

    Whoever is slow gets several batches merged: never more than one change of a row, so what
    waits is never more than the collection holds. Ends at `close`, or when it is dropped.
    """

    def __init__(self, rows: Collection[K, V], *, initial: bool) -> None:
        self._waiting: dict[K, Change[K, V]] = {}
        self._wakeup = asyncio.Event()
        self._closed = False
        # The collection must not keep alive what nobody reads any more.
        weak = ref(self)

        def tell(changes: list[Change[K, V]]) -> None:
            feed = weak()
            if feed is not None:
                feed.take(changes)

        self._subscription = rows.subscribe(tell, initial=initial)
        finalize(self, self._subscription.close)

    def take(self, changes: list[Change[K, V]]) -> None:
        """Merge the changes of one batch with what waits."""
        for change in changes:
            earlier = self._waiting.pop(change.key, None)
            merged = change if earlier is None else merge(earlier, change)
            if merged is not None:
                self._waiting[change.key] = merged
        self._wakeup.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Change[K, V]]:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wakeup.clear()
            await self._wakeup.wait()
        changes, self._waiting = list(self._waiting.values()), {}
        return changes

    def close(self) -> None:
        """Follow no more: what waits is still given out, then the iteration ends."""
        self._closed = True
        self._subscription.close()
        self._wakeup.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def follow(rows: Collection[K, V], *, initial: bool = False) -> Feed[K, V]:
    """Iterate over the changes of a collection, with ``async for``.

    Args:
        rows: The collection.
        initial: Begin with the rows that are there, as insertions.
    """
    return Feed(rows, initial=initial)
