"""The parts of a message as an unchanging sequence, made at the cost of what changed. Pure.

A long run of an agent has thousands of parts, and each chunk makes a new row. So the parts are kept
in blocks: a new row makes the block anew that changed, and shares the others.
"""

from collections.abc import Iterator, Sequence
from typing import Final, overload

from durable_ai_db.materialize._rows import Part

BLOCK: Final = 64


class Parts(Sequence[Part]):
    """Parts of one row. Immutable; compares as a tuple of them."""

    __slots__ = ("_blocks", "_flat")

    def __init__(self, blocks: tuple[tuple[Part, ...], ...]) -> None:
        self._blocks = blocks
        self._flat: tuple[Part, ...] | None = blocks[0] if len(blocks) == 1 else None

    def as_tuple(self) -> tuple[Part, ...]:
        """All of them."""
        if self._flat is None:
            self._flat = tuple(part for block in self._blocks for part in block)
        return self._flat

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Part, ...]: ...
    def __getitem__(self, index: int | slice) -> Part | tuple[Part, ...]:
        return self.as_tuple()[index]

    def __len__(self) -> int:
        return sum(map(len, self._blocks[-1:])) + BLOCK * max(len(self._blocks) - 1, 0)

    def __iter__(self) -> Iterator[Part]:
        return iter(self.as_tuple())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Parts):
            return self._blocks == other._blocks
        return self.as_tuple() == other

    def __hash__(self) -> int:
        return hash(self.as_tuple())

    def __repr__(self) -> str:
        return repr(self.as_tuple())


class PartList:
    """Parts that come and change."""

    __slots__ = ("_blocks", "_parts", "_stale")

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._blocks: list[tuple[Part, ...]] = []
        self._stale: set[int] = set()

    def __len__(self) -> int:
        return len(self._parts)

    def append(self, part: Part) -> None:
        """Add a part."""
        self._stale.add(len(self._parts) // BLOCK)
        self._parts.append(part)

    def set(self, index: int, part: Part) -> None:
        """Put a part in the place of another."""
        self._stale.add(index // BLOCK)
        self._parts[index] = part

    def cut(self, length: int) -> None:
        """Keep the first so many parts."""
        del self._parts[length:]
        del self._blocks[length // BLOCK :]
        self._stale = {block for block in self._stale if block < length // BLOCK}
        if length % BLOCK:
            self._stale.add(length // BLOCK)

    def view(self) -> Parts:
        """The parts as they are now."""
        for block in sorted(self._stale):
            whole = tuple(self._parts[block * BLOCK : (block + 1) * BLOCK])
            self._blocks[block : block + 1] = [whole]
        self._stale.clear()
        return Parts(tuple(self._blocks))
