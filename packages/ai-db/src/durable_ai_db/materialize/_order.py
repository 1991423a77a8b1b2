"""When things happened, as keys that sort. Pure."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

Instant: TypeAlias = tuple[float, str]
"""Seconds since the epoch, and the text; what is no time comes last, in the order of its text."""


def instant(text: str) -> Instant:
    """The key of an ISO 8601 time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("inf"), text
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp(), ""


T = TypeVar("T", bound=tuple[Any, ...])


class SortedKeys(Generic[T]):
    """Keys in order. For some thousands: moving half of them is one copy of memory."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: list[T] = []

    def replace(self, old: T | None, new: T | None) -> None:
        """Take `old` out and put `new` in, where they are given."""
        if old == new:
            return
        if old is not None:
            del self._keys[bisect_left(self._keys, old)]
        if new is not None:
            insort(self._keys, new)

    def ends(self) -> tuple[T, T] | None:
        """The first and the last key, None when there is none."""
        return (self._keys[0], self._keys[-1]) if self._keys else None

    def __iter__(self) -> Iterator[T]:
        return iter(self._keys)
