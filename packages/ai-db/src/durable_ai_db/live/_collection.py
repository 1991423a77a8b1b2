# ruff: noqa: SLF001  (collections know each other)
"""Collections that are live: rows by key, who follows them, and what is derived from them. Pure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload
from weakref import ref

from durable_ai_db.live._aggregates import count, greatest, least, mean, rows, total
from durable_ai_db.live._changes import MISSING, Change, Inserted, NoRow, difference
from durable_ai_db.live._graph import Graph
from durable_ai_db.live._operators import (
    FlatMap,
    GroupBy,
    Join,
    Map,
    Operator,
    OrderBy,
    Patched,
    Where,
)

if TYPE_CHECKING:
    from durable_ai_db.live._aggregates import Aggregate

K = TypeVar("K", bound=Hashable)
K2 = TypeVar("K2", bound=Hashable)
G = TypeVar("G", bound=Hashable)
V = TypeVar("V")
V2 = TypeVar("V2")
U = TypeVar("U")
R = TypeVar("R")
D = TypeVar("D")


class Subscription:
    """Somebody is told of changes, until `close`; a context manager too."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """Be told no more."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class QueryFailed(RuntimeError):  # noqa: N818  (named like the errors of the transports)
    """A function of this collection, or of one it is derived from, raised: it has no rows any more.

    The reason is its ``__cause__``.
    """


class Collection(Generic[K, V]):
    """Rows by key, in the order in which they came. Reading is like a `Mapping`.

    Iterating shows the rows of the moment it began. Rows are values: a changed one is another
    object. What is derived from a collection follows it
    at the cost of what changes, whatever the size, and lives as long as somebody has it or is
    told of its changes.
    """

    def __init__(
        self, graph: Graph, operator: Operator[K, V], parents: tuple["Collection[Any, Any]", ...]
    ) -> None:
        self._graph = graph
        self._operator = operator
        self._parents = parents
        self.rank, self.number = graph.register(parents)
        self._rows: dict[K, V] = {}
        self._failure: Exception | None = None
        self._children: list[tuple[ref[Collection[Any, Any]], tuple[int, ...]]] = []
        self._held: dict[int, Collection[Any, Any]] = {}
        self._subscribers: dict[int, Callable[[list[Change[K, V]]], object]] = {}
        self._subscribed = 0
        for parent in dict.fromkeys(parents):
            if parent._graph is not graph:
                raise ValueError("collections that are put together belong to one graph")
            parent._adopt(self)
        self.take_in(
            [
                (slot, [Inserted(key, value) for key, value in parent.items()])
                for slot, parent in enumerate(parents)
            ]
        )

    # ------------------------------------------------------------------ reading

    def __getitem__(self, key: K) -> V:
        return self._readable()[key]

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The row with this key, or the default."""
        return self._readable().get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._readable()

    def __len__(self) -> int:
        return len(self._readable())

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._readable()))

    def keys(self) -> Iterable[K]:
        """All keys, in order."""
        return iter(self)

    def values(self) -> Iterable[V]:
        """All rows, in order."""
        return list(self._readable().values())

    def items(self) -> Iterable[tuple[K, V]]:
        """All keys and rows, in order."""
        return list(self._readable().items())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._rows)} rows>"

    def _readable(self) -> Mapping[K, V]:
        if self._failure is not None:
            raise QueryFailed("a function of this collection raised") from self._failure
        return self._rows

    # ------------------------------------------------------------------ being told

    def subscribe(
        self, callback: Callable[[list[Change[K, V]]], object], *, initial: bool = False
    ) -> Subscription:
        """Call back with the changes of every batch that has any, at most one for a row.

        Args:
            callback: Called when all collections have taken the batch in.
            initial: Begin with the rows that are there, as insertions.
        """
        self._readable()
        self._subscribed += 1
        number = self._subscribed
        if initial and self._rows:
            callback([Inserted(key, value) for key, value in self.items()])
        if not self._is_wanted():
            self._hold()
        self._subscribers[number] = callback

        def close() -> None:
            if self._subscribers.pop(number, None) is not None and not self._is_wanted():
                self._let_go()

        return Subscription(close)

    def notify(self, changes: list[Change[K, V]]) -> list[Exception]:
        """Tell the subscribers; what they raise is the answer."""
        errors = []
        for number, callback in list(self._subscribers.items()):
            if number in self._subscribers:
                try:
                    callback(changes)
                except Exception as error:  # noqa: BLE001  (of functions that are not ours)
                    errors.append(error)
        return errors

    # ------------------------------------------------------------------ deriving

    def where(self, condition: Callable[[V], object]) -> "Collection[K, V]":
        """The rows for which the condition is true."""
        return Collection(self._graph, Where[K, V](condition), (self,))

    def map(self, function: Callable[[V], U]) -> "Collection[K, U]":
        """What the function makes of each row, under the same key."""
        return Collection(self._graph, Map[K, V, U](function), (self,))

    def flat_map(self, function: Callable[[V], Mapping[K2, U]]) -> "Collection[tuple[K, K2], U]":
        """The rows that the function makes of each row; keys are the row's and the function's."""
        return Collection(self._graph, FlatMap[K, V, K2, U](function), (self,))

    def group_by(self, function: Callable[[V], G]) -> "Groups[K, V, G]":
        """Rows for which the function answers the same, together: what is to be known of them?"""
        return Groups(self, function)

    def order_by(
        self, function: Callable[[V], Any], *, reverse: bool = False, limit: int | None = None
    ) -> "Ordered[K, V]":
        """The rows in the order of what the function answers, then of their keys.

        Args:
            function: What is compared; equal rows are ordered by key.
            reverse: The greatest first.
            limit: Only the first so many. A change then costs as much as this is large.
        """
        operator = OrderBy[K, V, V](function, lambda row: row, reverse=reverse, limit=limit)
        return Ordered(self._graph, operator, (self,))

    def arranged(self, place: Callable[[V], Any], show: Callable[[V], U]) -> "Ordered[K, U]":
        """What ``show`` makes of each row, in the order of what ``place`` answers, then of keys."""
        return Ordered(self._graph, OrderBy[K, V, U](place, show), (self,))

    def join(
        self,
        other: "Collection[K2, V2]",
        left: Callable[[V], Hashable],
        right: Callable[[V2], Hashable],
    ) -> "Collection[tuple[K, K2], tuple[V, V2]]":
        """All pairs of a row and another's for which the two functions answer the same."""
        operator = Join[K, V, K2, V2](left, right, outer=False)
        return Collection(self._graph, operator, (self, other))

    def left_join(
        self,
        other: "Collection[K2, V2]",
        left: Callable[[V], Hashable],
        right: Callable[[V2], Hashable],
    ) -> "Collection[tuple[K, K2 | None], tuple[V, V2 | None]]":
        """The same, and every row that has no partner with None."""
        operator = Join[K, V, K2, V2](left, right, outer=True)
        return Collection(self._graph, operator, (self, other))

    def patched(self, patches: "Collection[Any, Any]") -> "Collection[K, V]":
        """The rows as they are with the patches (`Patch`), in the order in which those came."""
        return Collection(self._graph, Patched[K, V](), (self, patches))

    def count(self) -> "LiveValue[int]":
        """How many rows there are."""
        return self._whole().count().value(0)

    def sum(self, function: Callable[[V], float]) -> "LiveValue[float]":
        """The sum of a figure of each row."""
        return self._whole().sum(function).value(0)

    def min(self, function: Callable[[V], R]) -> "LiveValue[R | None]":
        """The least of a figure of each row, None when there is no row."""
        return self._whole().min(function).value(None)

    def max(self, function: Callable[[V], R]) -> "LiveValue[R | None]":
        """The greatest of a figure of each row, None when there is no row."""
        return self._whole().max(function).value(None)

    def _whole(self) -> "Groups[K, V, Hashable]":
        return Groups(self, lambda _: None)

    def value(self: "Collection[Hashable, V]", default: D) -> "LiveValue[V | D]":
        """The row under the key None as a value of its own."""
        return LiveValue(self, default)

    # ------------------------------------------------------------------ the graph's side

    def take_in(self, inputs: list[Any]) -> list[Change[K, V]]:
        """Follow the changes of the inputs; answers what that changed."""
        if self._failure is not None:
            return []
        before: dict[K, V | NoRow] = {}
        try:
            for slot, changes in inputs:
                for change in changes:
                    for key, value in self._operator.apply(slot, change):
                        self._put(key, value, before)
            for key, value in self._operator.settle():
                self._put(key, value, before)
        except Exception as error:
            self._fail(error)
            raise
        return self._changes_since(before)

    def _put(self, key: K, value: V | NoRow, before: dict[K, V | NoRow]) -> None:
        rows = self._rows
        if key not in before:
            before[key] = rows.get(key, MISSING)
        if value is MISSING:
            rows.pop(key, None)
        else:
            rows[key] = value

    def _changes_since(self, before: dict[K, V | NoRow]) -> list[Change[K, V]]:
        rows = self._rows
        changes: list[Change[K, V]] = []
        for key, old in before.items():
            change: Change[K, V] | None = difference(key, old, rows.get(key, MISSING))
            if change is not None:
                changes.append(change)
        return changes

    def children(self) -> list[tuple["Collection[Any, Any]", tuple[int, ...]]]:
        """What is derived from this one, and as which of its inputs."""
        found = [(child, slots) for weak, slots in self._children if (child := weak()) is not None]
        if len(found) < len(self._children):
            self._children = [(ref(child), slots) for child, slots in found]
        return found

    def _adopt(self, child: "Collection[Any, Any]") -> None:
        slots = (slot for slot, parent in enumerate(child._parents) if parent is self)
        self._children.append((ref(child), tuple(slots)))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._rows = {}
        for child, _ in self.children():
            child._fail(error)

    def _is_wanted(self) -> bool:
        return bool(self._subscribers or self._held)

    def _hold(self) -> None:
        for parent in self._parents:
            if not parent._is_wanted():
                parent._hold()
            parent._held[self.number] = self

    def _let_go(self) -> None:
        for parent in self._parents:
            parent._held.pop(self.number, None)
            if not parent._is_wanted():
                parent._let_go()


class Source(Collection[K, V]):
    """A collection that is written to.

    Args:
        graph: Where it belongs, to be joined with others of it; one of its own when absent.
    """

    def __init__(self, graph: Graph | None = None) -> None:
        # Nothing is derived, so the operator is never asked.
        super().__init__(graph or Graph(), Where[K, V](bool), ())

    @property
    def graph(self) -> Graph:
        """Where it belongs: `Graph.batch` makes several writes one."""
        return self._graph

    def set(self, key: K, value: V) -> None:
        """Put a row."""
        self._graph.write(self, key, value)

    def delete(self, key: K) -> None:
        """Take a row away; fine if there is none."""
        self._graph.write(self, key, MISSING)

    def clear(self) -> None:
        """Take all rows away that are there now."""
        with self._graph.batch():
            for key in list(self._rows):
                self.delete(key)

    def take_in(self, inputs: list[dict[K, V | NoRow]]) -> list[Change[K, V]]:
        """Take over what was written."""
        before: dict[K, V | NoRow] = {}
        for writes in inputs:
            for key, value in writes.items():
                self._put(key, value, before)
        return self._changes_since(before)


class Ordered(Collection[K, V]):
    """Rows in an order, which reading follows."""

    _operator: OrderBy[K, Any, V]

    def __iter__(self) -> Iterator[K]:
        self._readable()
        return iter(list(self._operator.keys()))

    def values(self) -> Iterable[V]:
        """All rows, in order."""
        rows = self._readable()
        return [rows[key] for key in self._operator.keys()]  # noqa: SIM118  (no mapping)

    def items(self) -> Iterable[tuple[K, V]]:
        """All keys and rows, in order."""
        rows = self._readable()
        return [(key, rows[key]) for key in self._operator.keys()]  # noqa: SIM118  (no mapping)


class Groups(Generic[K, V, G]):
    """Rows that have something in common together: what is to be known of each group?"""

    def __init__(self, rows: Collection[K, V], group: Callable[[V], G]) -> None:
        self._of = rows
        self._group = group

    def aggregate(self, **aggregates: "Aggregate[V, Any]") -> Collection[G, Mapping[str, Any]]:
        """Several figures of each group, by name."""
        operator = GroupBy[K, V, G](self._group, aggregates)
        return Collection(self._of._graph, operator, (self._of,))

    def _one(self, aggregate: "Aggregate[V, R]") -> Collection[G, R]:
        return self.aggregate(it=aggregate).map(lambda found: cast("R", found["it"]))

    def count(self) -> Collection[G, int]:
        """How many rows each group has."""
        return self._one(count())

    def sum(self, function: Callable[[V], float]) -> Collection[G, float]:
        """The sum of a figure of each row."""
        return self._one(total(function))

    def mean(self, function: Callable[[V], float]) -> Collection[G, float]:
        """The mean of a figure of each row."""
        return self._one(mean(function))

    def min(self, function: Callable[[V], R]) -> Collection[G, R]:
        """The least of a figure of each row."""
        return self._one(least(function))

    def max(self, function: Callable[[V], R]) -> Collection[G, R]:
        """The greatest of a figure of each row."""
        return self._one(greatest(function))

    def rows(self) -> Collection[G, tuple[V, ...]]:
        """The rows of each group: a change costs as much as its group is large."""
        return self._one(rows())


class LiveValue(Generic[V]):
    """A single value that is live."""

    def __init__(self, rows: Collection[Any, Any], default: V) -> None:
        self._rows = rows
        self._default = default

    @property
    def value(self) -> V:
        """As it is now."""
        return cast("V", self._rows.get(None, self._default))

    def subscribe(self, callback: Callable[[V], object]) -> Subscription:
        """Call back with every new value."""
        return self._rows.subscribe(lambda _: callback(self.value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"
