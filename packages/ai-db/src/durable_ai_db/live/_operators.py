"""How changes of one collection become rows of another, each at its own cost. Pure.

An operator is told every change of its inputs, one after the other, and answers what rows are to
be; `settle` follows when all changes of a batch were told. The first state is told as insertions.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from durable_ai_db.live._aggregates import Accumulator, Aggregate
from durable_ai_db.live._changes import MISSING, Change, Deleted, Inserted, NoRow, Put, after
from durable_ai_db.live._sorted import SortedKeys

K = TypeVar("K", bound=Hashable)
K2 = TypeVar("K2", bound=Hashable)
G = TypeVar("G", bound=Hashable)
V = TypeVar("V")
V2 = TypeVar("V2")
U = TypeVar("U")
R = TypeVar("R")
K_co = TypeVar("K_co", bound=Hashable, covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Operator(Protocol[K_co, V_co]):
    """What a derived collection does; ``slot`` tells its inputs apart."""

    def apply(self, slot: int, change: Change[Any, Any], /) -> Iterable[tuple[K_co, V_co | NoRow]]:
        """Take one change of an input in."""

    def settle(self) -> Iterable[tuple[K_co, V_co | NoRow]]:
        """All changes of the batch were taken in."""


class _Settled:
    def settle(self) -> Iterable[Any]:
        return ()


class Where(_Settled, Generic[K, V]):
    """The rows that fulfil a condition."""

    def __init__(self, condition: Callable[[V], object]) -> None:
        self._condition = condition

    def apply(self, _slot: int, change: Change[K, V], /) -> Iterable[Put[K, V]]:
        if isinstance(change, Deleted) or not self._condition(change.value):
            return ((change.key, MISSING),)
        return ((change.key, change.value),)


class Map(_Settled, Generic[K, V, U]):
    """What a function makes of each row."""

    def __init__(self, function: Callable[[V], U]) -> None:
        self._function = function

    def apply(self, _slot: int, change: Change[K, V], /) -> Iterable[Put[K, U]]:
        value = after(change)
        return ((change.key, MISSING if value is MISSING else self._function(value)),)


class FlatMap(_Settled, Generic[K, V, K2, U]):
    """The rows that a function makes of each row; their keys hold both."""

    def __init__(self, function: Callable[[V], Mapping[K2, U]]) -> None:
        self._function = function
        self._made: dict[K, Iterable[K2]] = {}

    def apply(self, _slot: int, change: Change[K, V], /) -> Iterable[Put[tuple[K, K2], U]]:
        key = change.key
        rows = {} if isinstance(change, Deleted) else dict(self._function(change.value))
        before = self._made.pop(key, ())
        if rows:
            self._made[key] = tuple(rows)
        puts: list[Put[tuple[K, K2], U]] = [((key, one), row) for one, row in rows.items()]
        puts += [((key, one), MISSING) for one in before if one not in rows]
        return puts


class GroupBy(Generic[K, V, G]):
    """Figures about the rows that have something in common."""

    def __init__(
        self, group: Callable[[V], G], aggregates: Mapping[str, Aggregate[V, Any]]
    ) -> None:
        self._group = group
        self._aggregates = aggregates
        self._groups: dict[G, tuple[set[K], dict[str, Accumulator[V, Any]]]] = {}
        self._of: dict[K, G] = {}
        self._touched: dict[G, None] = {}

    def apply(self, _slot: int, change: Change[K, V], /) -> Iterable[Put[G, dict[str, Any]]]:
        if not isinstance(change, Inserted):
            self._leave(change.key, change.before)
        if not isinstance(change, Deleted):
            self._join(change.key, change.value)
        return ()

    def _leave(self, key: K, value: V) -> None:
        group = self._of.pop(key)
        members, figures = self._groups[group]
        members.remove(key)
        for one in figures.values():
            one.remove(key, value)
        if not members:
            del self._groups[group]
        self._touched[group] = None

    def _join(self, key: K, value: V) -> None:
        group = self._group(value)
        if group not in self._groups:
            self._groups[group] = (set(), {name: new() for name, new in self._aggregates.items()})
        members, figures = self._groups[group]
        members.add(key)
        for one in figures.values():
            one.add(key, value)
        self._of[key] = group
        self._touched[group] = None

    def settle(self) -> Iterable[Put[G, dict[str, Any]]]:
        touched, self._touched = self._touched, {}
        for group in touched:
            if group in self._groups:
                figures = self._groups[group][1]
                yield group, {name: one.result() for name, one in figures.items()}
            else:
                yield group, MISSING


class OrderBy(Generic[K, V, U]):
    """What is shown of all rows, or of the first so many, and the order they are in."""

    def __init__(
        self,
        place: Callable[[V], Any],
        show: Callable[[V], U],
        *,
        reverse: bool = False,
        limit: int | None = None,
    ) -> None:
        self._place = place
        self._show = show
        self._limit = limit
        self._reverse = reverse
        self._sorted = SortedKeys[K]()
        self._rows: dict[K, U] = {}
        self._window: dict[K, U] = {}

    def keys(self) -> Iterable[K]:
        """The keys of the rows that are shown, in order."""
        if self._limit is not None:
            return self._window
        return reversed(self._sorted) if self._reverse else self._sorted

    def apply(self, _slot: int, change: Change[K, V], /) -> Iterable[Put[K, U]]:
        if isinstance(change, Deleted):
            self._sorted.remove(change.key)
            self._rows.pop(change.key, None)
            return () if self._limit is not None else ((change.key, MISSING),)
        self._sorted.put(change.key, self._place(change.value))
        shown = self._show(change.value)
        if self._limit is None:
            return ((change.key, shown),)
        self._rows[change.key] = shown
        return ()

    def settle(self) -> Iterable[Put[K, U]]:
        """With a limit: which rows came into sight, changed there, or left it."""
        if self._limit is None:
            return
        before, self._window = self._window, {}
        for key in reversed(self._sorted) if self._reverse else self._sorted:
            if len(self._window) == self._limit:
                break
            self._window[key] = self._rows[key]
        for key in before:
            if key not in self._window:
                yield key, MISSING
        yield from self._window.items()


class _Side(Generic[K, V]):
    """One side of a join: its rows, and which of them have what in common."""

    def __init__(self, by: Callable[[V], Hashable]) -> None:
        self._by = by
        self._rows: dict[K, tuple[Hashable, V]] = {}
        self._matches: dict[Hashable, dict[K, V]] = {}

    def leave(self, key: K) -> Hashable:
        by, _ = self._rows.pop(key)
        matches = self._matches[by]
        del matches[key]
        if not matches:
            del self._matches[by]
        return by

    def join(self, key: K, value: V) -> Hashable:
        by = self._by(value)
        self._rows[key] = (by, value)
        self._matches.setdefault(by, {})[key] = value
        return by

    def having(self, by: Hashable) -> dict[K, V]:
        return self._matches.get(by, {})


class Join(_Settled, Generic[K, V, K2, V2]):
    """Pairs of rows that have something in common; on request also rows without a partner."""

    def __init__(
        self, left: Callable[[V], Hashable], right: Callable[[V2], Hashable], *, outer: bool
    ) -> None:
        self._left = _Side[K, V](left)
        self._right = _Side[K2, V2](right)
        self._outer = outer

    def apply(self, slot: int, change: Change[Any, Any], /) -> Iterable[Put[Any, Any]]:
        return self._of_left(change) if slot == 0 else self._of_right(change)

    def _of_left(self, change: Change[K, V]) -> Iterable[Put[Any, Any]]:
        key, puts = change.key, list[Put[Any, Any]]()
        if not isinstance(change, Inserted):
            partners = self._right.having(self._left.leave(key))
            puts += [((key, other), MISSING) for other in partners]
            puts.append(((key, None), MISSING))
        if not isinstance(change, Deleted):
            partners = self._right.having(self._left.join(key, change.value))
            puts += [((key, other), (change.value, row)) for other, row in partners.items()]
            if self._outer and not partners:
                puts.append(((key, None), (change.value, None)))
        return puts

    def _of_right(self, change: Change[K2, V2]) -> Iterable[Put[Any, Any]]:
        key, puts = change.key, list[Put[Any, Any]]()
        if not isinstance(change, Inserted):
            by = self._right.leave(key)
            partners = self._left.having(by)
            puts += [((other, key), MISSING) for other in partners]
            if self._outer and not self._right.having(by):
                puts += [((other, None), (row, None)) for other, row in partners.items()]
        if not isinstance(change, Deleted):
            partners = self._left.having(self._right.join(key, change.value))
            puts += [((other, key), (row, change.value)) for other, row in partners.items()]
            if self._outer:
                puts += [((other, None), MISSING) for other in partners]
        return puts


class Patch(Protocol[V]):
    """What a row is to be for as long as the patch is there."""

    @property
    def key(self) -> Hashable:
        """Of the row."""

    def apply(self, row: V | None, /) -> V | None:
        """The row with the patch; None for no row."""


class Patched(_Settled, Generic[K, V]):
    """Rows (slot 0) as patches (slot 1, in the order in which they came) change them."""

    def __init__(self) -> None:
        self._rows: dict[K, V] = {}
        self._patches: dict[K, dict[Hashable, Patch[V]]] = {}

    def apply(self, slot: int, change: Change[Any, Any], /) -> Iterable[Put[K, V]]:
        key = self._patch(change) if slot == 1 else self._row(change)
        row = self._rows.get(key)
        for patch in self._patches.get(key, {}).values():
            row = patch.apply(row)
        return ((key, MISSING if row is None else row),)

    def _row(self, change: Change[K, V]) -> K:
        if isinstance(change, Deleted):
            del self._rows[change.key]
        else:
            self._rows[change.key] = change.value
        return change.key

    def _patch(self, change: Change[Hashable, Any]) -> K:
        value = change.before if isinstance(change, Deleted) else change.value
        key: K = value.key
        patches = self._patches.setdefault(key, {})
        if isinstance(change, Deleted):
            del patches[change.key]
        else:
            patches[change.key] = change.value
        if not patches:
            del self._patches[key]
        return key
