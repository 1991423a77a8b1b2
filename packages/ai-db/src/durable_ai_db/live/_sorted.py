"""Keys in order: a place is found by halving, and what moves for it is a bounded piece. Pure."""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

PIECE = 512
"""Pieces hold up to twice this many: so much is moved by an insertion."""


class SortedKeys(Generic[K]):
    """Keys ordered by a sort key each, and by themselves where those are equal."""

    def __init__(self) -> None:
        self._pieces: list[list[tuple[Any, K]]] = []
        self._lasts: list[tuple[Any, K]] = []
        self._places: dict[K, Any] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[K]:
        for piece in self._pieces:
            for _, key in piece:
                yield key

    def __reversed__(self) -> Iterator[K]:
        for piece in reversed(self._pieces):
            for _, key in reversed(piece):
                yield key

    def put(self, key: K, place: Any) -> None:
        """Put a key where its sort key belongs; one that is there already moves.

        Raises:
            TypeError: sort keys, or keys of equal ones, that cannot be compared.
        """
        if key in self._places:
            if self._places[key] == place:
                return
            self.remove(key)
        self._insert((place, key))
        self._places[key] = place

    def remove(self, key: K) -> None:
        """Take a key out; fine if it is not there."""
        if key not in self._places:
            return
        entry = (self._places.pop(key), key)
        at = bisect_left(self._lasts, entry)
        piece = self._pieces[at]
        piece.pop(bisect_left(piece, entry))
        if piece:
            self._lasts[at] = piece[-1]
        else:
            del self._pieces[at], self._lasts[at]

    def _insert(self, entry: tuple[Any, K]) -> None:
        if not self._pieces:
            self._pieces.append([entry])
            self._lasts.append(entry)
            return
        at = min(bisect_left(self._lasts, entry), len(self._pieces) - 1)
        piece = self._pieces[at]
        insort(piece, entry)
        if len(piece) > 2 * PIECE:
            self._pieces[at : at + 1] = [piece[:PIECE], piece[PIECE:]]
            self._lasts.insert(at, piece[PIECE - 1])
            at += 1
        self._lasts[at] = self._pieces[at][-1]
