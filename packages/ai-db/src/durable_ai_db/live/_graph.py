"""Batches of writes, and in which order they reach what depends on them. Pure.

A batch is taken in by all collections, each after those it depends on, before anybody is told of
it: whoever is told sees one state everywhere. What subscribers write is the next batch.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_ai_db.live._changes import Change
    from durable_ai_db.live._collection import Collection, Source

Writes = dict["Source[Any, Any]", dict[Any, Any]]


class Graph:
    """Collections that change together. Not for several threads at once.

    Args:
        on_error: Is given what functions and subscribers raise, after a batch. When absent, the
            write that led to it raises an `ExceptionGroup`, after everybody was told.
    """

    def __init__(self, *, on_error: Callable[[Exception], object] | None = None) -> None:
        self._on_error = on_error
        self._made = 0
        self._open: list[Writes] = []
        self._queue: deque[Writes] = deque()
        self._running = False
        self._computing = False

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Writes in this block arrive as one; none do if it raises. Reading shows the old state."""
        self._open.append({})
        try:
            yield
        except BaseException:
            self._open.pop()
            raise
        writes = self._open.pop()
        if self._open:
            for source, rows in writes.items():
                self._open[-1].setdefault(source, {}).update(rows)
        else:
            self._commit(writes)

    def register(self, parents: Sequence["Collection[Any, Any]"]) -> tuple[int, int]:
        """Rank (more than that of any parent) and number of a new collection."""
        self._made += 1
        return max((parent.rank for parent in parents), default=-1) + 1, self._made

    def write(self, source: "Source[Any, Any]", key: Any, value: Any) -> None:
        """Put one row into the open batch, or into one of its own."""
        if self._computing:
            raise RuntimeError("a function of a derived collection must not write")
        if self._open:
            self._open[-1].setdefault(source, {})[key] = value
        else:
            self._commit({source: {key: value}})

    def _commit(self, writes: Writes) -> None:
        if writes:
            self._queue.append(writes)
        if self._running:
            return
        self._running = True
        errors: list[Exception] = []
        try:
            while self._queue:
                errors += self._run(self._queue.popleft())
        finally:
            self._running = False
        self._report(errors)

    def _run(self, writes: Writes) -> list[Exception]:
        changed, errors = self._propagate(writes)
        for node, changes in changed:
            errors += node.notify(changes)
        return errors

    def _propagate(
        self, writes: Writes
    ) -> tuple[list[tuple["Collection[Any, Any]", list["Change[Any, Any]"]]], list[Exception]]:
        heap: list[tuple[int, int]] = []
        waiting: dict[int, tuple[Collection[Any, Any], list[Any]]] = {}
        changed: list[tuple[Collection[Any, Any], list[Change[Any, Any]]]] = []
        errors: list[Exception] = []

        def settle(node: "Collection[Any, Any]", inputs: list[Any]) -> None:
            try:
                changes = node.take_in(inputs)
            except Exception as error:  # noqa: BLE001  (of functions that are not ours)
                errors.append(error)
                return
            if not changes:
                return
            changed.append((node, changes))
            for child, slots in node.children():
                if child.number not in waiting:
                    heappush(heap, (child.rank, child.number))
                    waiting[child.number] = (child, [])
                waiting[child.number][1].extend((slot, changes) for slot in slots)

        self._computing = True
        try:
            for source, rows in writes.items():
                settle(source, [rows])
            while heap:
                settle(*waiting.pop(heappop(heap)[1]))
        finally:
            self._computing = False
        return changed, errors

    def _report(self, errors: list[Exception]) -> None:
        if not errors:
            return
        if self._on_error is None:
            raise ExceptionGroup("functions of collections or subscribers failed", errors)
        for error in errors:
            self._on_error(error)
