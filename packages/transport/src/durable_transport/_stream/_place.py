"""Where a reader stands: exact for every item, on every server.

Servers hand out offsets between batches only, and what they mean is their own business (PROTOCOL
section 8). A place between two offsets is therefore the last offset and the number of units after
it: messages of a JSON stream, bytes of any other, as in ``Stream-Fork-Sub-Offset`` (section 4.2).
Its text is ``offset`` or ``offset/units``; no server's offset contains a slash.
"""

import re

from durable_transport.protocol import BEGINNING

_UNITS = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


def parse_place(text: str) -> tuple[str, int]:
    """Split the text of a place into offset and units.

    Raises:
        ValueError: not an offset that a reader has given.
    """
    offset, slash, units = text.partition("/")
    if not offset or (slash and not _UNITS.fullmatch(units)):
        raise ValueError(
            f"{text[:60]!r} is not an offset: use -1 for the beginning, now for the end, or an "
            f"offset that a reader has given"
        )
    return offset, int(units or 0)


def format_place(offset: str, units: int) -> str:
    """The text of a place."""
    return f"{offset}/{units}" if units else offset


class Place:
    """The position of one reader.

    Attributes:
        offset: The last offset of the server's that lies before it; requests start from there.
        taken: Units after it that were handed out already.
    """

    def __init__(self, text: str = BEGINNING) -> None:
        self.offset, self.taken = parse_place(text)
        self._to_skip = self.taken

    def __str__(self) -> str:
        return format_place(self.offset, self.taken)

    def restart(self) -> None:
        """A new answer begins at ``offset``: what was taken comes once more."""
        self._to_skip = self.taken

    def take(self, units: int) -> int:
        """Count units that arrived; return how many of them, from the first on, are not new."""
        known = min(units, self._to_skip)
        self._to_skip -= known
        self.taken += units - known
        return known

    def arrive(self, offset: str) -> None:
        """All units before this offset have arrived."""
        self.offset = offset
        self.taken = self._to_skip
