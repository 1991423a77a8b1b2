"""What happens to a row. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Literal, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Missing(Enum):
    """No row, where None would be one."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
NoRow: TypeAlias = Literal[Missing.MISSING]


@dataclass(frozen=True, slots=True)
class Inserted(Generic[K, V]):
    """There is a row where there was none."""

    key: K
    value: V


@dataclass(frozen=True, slots=True)
class Updated(Generic[K, V]):
    """A row has another value than before."""

    key: K
    before: V
    value: V


@dataclass(frozen=True, slots=True)
class Deleted(Generic[K, V]):
    """A row is gone."""

    key: K
    before: V


Change: TypeAlias = Inserted[K, V] | Updated[K, V] | Deleted[K, V]
Put: TypeAlias = tuple[K, V | NoRow]
"""What a row is to be; `MISSING` for none."""


def difference(key: K, before: V | NoRow, now: V | NoRow) -> Change[K, V] | None:
    """What leads from one state of a row to another, None when that is nothing."""
    if before is MISSING:
        return None if now is MISSING else Inserted(key, now)
    if now is MISSING:
        return Deleted(key, before)
    return None if same(before, now) else Updated(key, before, now)


def same(one: V, other: V) -> bool:
    """Whether two values are alike: 1 and True are not, though equal."""
    return one is other or (type(one) is type(other) and one == other)


def merge(first: Change[K, V], second: Change[K, V]) -> Change[K, V] | None:
    """Two changes of one row that followed each other, as one; None when they undo each other."""
    before = MISSING if isinstance(first, Inserted) else first.before
    now = MISSING if isinstance(second, Deleted) else second.value
    return difference(first.key, before, now)


def after(change: Change[K, V]) -> V | NoRow:
    """The row after the change."""
    return MISSING if isinstance(change, Deleted) else change.value
