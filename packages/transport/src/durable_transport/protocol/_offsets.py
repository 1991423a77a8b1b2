"""Offsets: positions in a stream's wire bytes, printed as 20 zero-padded digits.

Fixed width makes them sortable as text (Durable Streams PROTOCOL section 8) and equal to the
``data_row_id`` of the two-stream protocol.
"""

OFFSET_WIDTH = 20
BEGINNING = "-1"
"""Sentinel for the first byte of a stream."""
NOW = "now"
"""Sentinel for the tail of a stream at the time the request is served."""

MAX_POSITION = 2**63 - 1
"""The largest position a store can hold (a signed 64-bit integer)."""


class InvalidOffsetError(ValueError):
    """The text is no offset of ours."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return (
            f"{self.text[:40]!r} is not an offset: use -1 for the beginning, now for the tail, "
            f"or a value the server has sent as Stream-Next-Offset"
        )


def format_offset(position: int) -> str:
    """Print a byte position (0 to `MAX_POSITION`) as an offset token."""
    return f"{position:020d}"


def parse_offset(text: str) -> int:
    """Read an offset token back into a byte position; ``-1`` is 0.

    ``now`` has no position of its own: the caller handles it first.

    Raises:
        InvalidOffsetError: not exactly 20 ASCII digits, or too large for a store.
    """
    if text == BEGINNING:
        return 0
    if len(text) != OFFSET_WIDTH or not (text.isascii() and text.isdigit()):
        raise InvalidOffsetError(text)
    position = int(text)
    if position > MAX_POSITION:
        raise InvalidOffsetError(text)
    return position
