"""Which rows of a stream are worth being one row. Pure."""

from collections.abc import Sequence

SEGMENT_BYTES = 256 * 1024
"""Rows are merged until together they would be larger."""
WORTH_WHILE = 8
"""Fewer rows at a stream's end are left alone: a short stream costs more to tidy than it takes."""


def next_run(sizes: Sequence[int], *, closed: bool, idle: bool) -> tuple[int, int] | None:
    """The first rows to merge: from the index to before the other one, two rows at least.

    A run is merged when no more fits into it. The last one of a stream is merged before that if
    nothing more will come (``closed``), or has not come for a while (``idle``): then without a
    large row at its beginning, so that a stream which grows slowly is not copied whole each time.

    Args:
        sizes: Bytes of the stream's rows, in order.
        closed: The stream takes no more appends.
        idle: Nothing was appended for a while.
    """
    begin, total = 0, 0
    for index, size in enumerate(sizes):
        if total + size > SEGMENT_BYTES:
            if index - begin > 1:
                return begin, index
            begin, total = index, 0
        total += size
    while idle and not closed and begin < len(sizes) and sizes[begin] > total - sizes[begin]:
        total -= sizes[begin]
        begin += 1
    enough = len(sizes) - begin >= WORTH_WHILE
    return (begin, len(sizes)) if enough and (closed or idle) else None
