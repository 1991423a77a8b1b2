"""Text that grows by pieces, and unchanging views of it. Pure.

A row is immutable, and its text grows with each chunk: copying it every time would make a message
of n chunks cost n² bytes. The pieces are kept once, in a `TextBuffer` that only grows; a row holds
a `Text`, which is the buffer and a length, and is joined when somebody reads it.
"""

import re
from collections.abc import Container
from typing import Any, Final

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_REPLACEMENT: Final = "\ufffd"


def encodable(text: str) -> str:
    """The text with halves of pairs joined, and those that are alone replaced."""
    if not _SURROGATE.search(text):
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _SURROGATE.sub(_REPLACEMENT, whole)


def encodable_json(value: Any, but: Container[str] = ()) -> Any:
    """The value with all texts encodable, except those that are fields named in `but`."""
    match value:
        case str():
            return encodable(value)
        case list():
            return [encodable_json(one, but) for one in value]
        case dict():
            return {
                encodable(name): one
                if name in but and isinstance(one, str)
                else encodable_json(one, but)
                for name, one in value.items()
            }
        case _:
            return value


class TextBuffer:
    """Pieces of a text; what was appended never changes."""

    __slots__ = ("_held", "_joined", "_tail", "length")

    def __init__(self) -> None:
        self._joined = ""
        self._tail: list[str] = []
        self._held = ""
        self.length = 0

    def append(self, piece: str) -> None:
        """Add `piece`; half of a surrogate pair waits for its other half."""
        if self._held or not piece.isascii():
            piece = self._paired(piece)
        self._tail.append(piece)
        self.length += len(piece)

    def prefix(self, length: int) -> str:
        """The first `length` characters."""
        if self._tail:
            self._joined += "".join(self._tail)
            self._tail.clear()
        return self._joined if length == len(self._joined) else self._joined[:length]

    def view(self) -> "Text":
        """The text as it is now."""
        return Text(self, self.length)

    def _paired(self, piece: str) -> str:
        # JavaScript cuts strings between the halves of a pair, and JSON carries each as `\\ud83d`.
        piece, self._held = self._held + piece, ""
        if not _SURROGATE.search(piece):
            return piece
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return encodable(piece)


class Text:
    """The first characters of a buffer. Immutable; compares and hashes as its string."""

    __slots__ = ("buffer", "length")

    def __init__(self, buffer: TextBuffer, length: int) -> None:
        self.buffer = buffer
        self.length = length

    @classmethod
    def of(cls, text: str) -> "Text":
        """A text that is there already."""
        buffer = TextBuffer()
        buffer.append(text)
        return buffer.view()

    def since(self, length: int) -> str:
        """What follows the first `length` characters."""
        return str(self)[length:]

    def continues(self, earlier: "Text") -> bool:
        """`earlier` is how this text began, as far as can be told without reading both."""
        return self.buffer is earlier.buffer and earlier.length <= self.length

    def __str__(self) -> str:
        return self.buffer.prefix(self.length)

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return repr(str(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Text):
            return NotImplemented
        if self.length != other.length:
            return False
        return self.buffer is other.buffer or str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Text.of, (str(self),)


NO_TEXT: Final = Text.of("")
