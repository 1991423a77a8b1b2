"""Figures about many rows that follow single changes, without looking at the others. Pure."""

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from math import inf, isfinite
from typing import Any, Generic, Protocol, TypeVar

V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_UNIT = 1074
"""All finite floats are multiples of 2 to the minus this, so their sums are integers of it."""


class Accumulator(Protocol[V_contra, R_co]):
    """The figure of one group, while rows come and go."""

    def add(self, key: Hashable, value: V_contra, /) -> None:
        """A row joined the group."""

    def remove(self, key: Hashable, value: V_contra, /) -> None:
        """A row that had joined has left."""

    def result(self) -> R_co:
        """The figure as it is now; only asked for while there are rows."""


Aggregate = Callable[[], Accumulator[V, R]]
"""Makes the accumulator of a new group."""


class _Count:
    def __init__(self) -> None:
        self._count = 0

    def add(self, _key: Hashable, _value: object, /) -> None:
        self._count += 1

    def remove(self, _key: Hashable, _value: object, /) -> None:
        self._count -= 1

    def result(self) -> int:
        return self._count


class _Sum(Generic[V]):
    """Exact whatever comes and goes: floats are added as integers, and rounded once."""

    def __init__(self, figure: Callable[[V], float]) -> None:
        self._figure = figure
        self._whole = 0
        self._parts = 0
        self._floats = 0
        self._odd: list[float] = []

    def add(self, _key: Hashable, value: V, /) -> None:
        self._move(self._figure(value), 1)

    def remove(self, _key: Hashable, value: V, /) -> None:
        self._move(self._figure(value), -1)

    def _move(self, figure: float, sign: int) -> None:
        if isinstance(figure, int):
            self._whole += sign * figure
            return
        self._floats += sign
        if isfinite(figure):
            above, below = figure.as_integer_ratio()
            self._parts += sign * (above << (_UNIT + 1 - below.bit_length()))
        elif sign > 0:
            self._odd.append(figure)
        else:  # not remove(): nan equals nothing
            del self._odd[next(i for i, one in enumerate(self._odd) if repr(one) == repr(figure))]

    def result(self) -> float:
        if not self._floats:
            return self._whole
        if self._odd:
            return sum(self._odd)
        exact = (self._whole << _UNIT) + self._parts
        try:
            return exact / (1 << _UNIT)
        except OverflowError:
            return inf if exact > 0 else -inf


class _Mean(Generic[V]):
    def __init__(self, figure: Callable[[V], float]) -> None:
        self._sum = _Sum(figure)
        self._count = 0

    def add(self, key: Hashable, value: V, /) -> None:
        self._sum.add(key, value)
        self._count += 1

    def remove(self, key: Hashable, value: V, /) -> None:
        self._sum.remove(key, value)
        self._count -= 1

    def result(self) -> float:
        return self._sum.result() / self._count


class _Extreme(Generic[V, R]):
    """The first figure in order: a heap, in which rows that left may lie behind others."""

    def __init__(self, figure: Callable[[V], R], turn: Callable[[R], Any]) -> None:
        self._figure = figure
        self._turn = turn
        self._heap: list[tuple[Any, int, R]] = []
        self._serials: dict[Hashable, int] = {}
        self._alive: set[int] = set()
        self._made = 0

    def add(self, key: Hashable, value: V, /) -> None:
        figure = self._figure(value)
        self._made += 1
        self._serials[key] = self._made
        self._alive.add(self._made)
        heappush(self._heap, (self._turn(figure), self._made, figure))
        if len(self._heap) > 2 * len(self._alive) + 16:
            self._heap = [entry for entry in self._heap if entry[1] in self._alive]
            heapify(self._heap)

    def remove(self, key: Hashable, _value: V, /) -> None:
        self._alive.discard(self._serials.pop(key))

    def result(self) -> R:
        while self._heap[0][1] not in self._alive:
            heappop(self._heap)
        return self._heap[0][2]


class _Descending:
    """Turns an order round."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __lt__(self, other: "_Descending") -> bool:
        return bool(other._value < self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(self._value == other._value)

    __hash__ = None  # type: ignore[assignment]


class _Rows(Generic[V]):
    def __init__(self) -> None:
        self._rows: dict[Hashable, V] = {}

    def add(self, key: Hashable, value: V, /) -> None:
        self._rows[key] = value

    def remove(self, key: Hashable, _value: V, /) -> None:
        del self._rows[key]

    def result(self) -> tuple[V, ...]:
        return tuple(self._rows.values())


def count() -> Aggregate[Any, int]:
    """How many rows."""
    return _Count


def total(figure: Callable[[V], float]) -> Aggregate[V, float]:
    """The sum of a figure of each row: exact, floats are rounded once at the end."""
    return lambda: _Sum(figure)


def mean(figure: Callable[[V], float]) -> Aggregate[V, float]:
    """The mean of a figure of each row."""
    return lambda: _Mean(figure)


def least(figure: Callable[[V], R]) -> Aggregate[V, R]:
    """The least of a figure of each row."""
    return lambda: _Extreme(figure, lambda one: one)


def greatest(figure: Callable[[V], R]) -> Aggregate[V, R]:
    """The greatest of a figure of each row."""
    return lambda: _Extreme(figure, _Descending)


def rows() -> Aggregate[V, tuple[V, ...]]:
    """The rows themselves: a change costs as much as its group is large."""
    return _Rows[V]
