"""Cursors that keep caches from answering a live read for ever (PROTOCOL section 10.1). Pure."""

import math

INTERVAL_SECONDS = 20
EPOCH_SECONDS = 1_728_432_000
"""2024-10-09T00:00:00Z, the protocol's default start of counting."""
MAX_JITTER_SECONDS = 3600
MAX_CURSOR_DIGITS = 15


def next_cursor(client_cursor: str | None, now: float, random: float) -> str:
    """The cursor of a live answer.

    Args:
        client_cursor: What the client sent, echoed from an earlier answer; nonsense is ignored.
        now: Epoch seconds.
        random: 0 <= random < 1, spreads clients that are ahead of the clock.

    Returns:
        The number of the current interval, or one greater than the client's if that is not behind.
    """
    current = int((now - EPOCH_SECONDS) // INTERVAL_SECONDS)
    seen = _parse(client_cursor)
    if seen is None or seen < current:
        return str(current)
    jitter_seconds = 1 + random * (MAX_JITTER_SECONDS - 1)
    return str(seen + max(1, math.ceil(jitter_seconds / INTERVAL_SECONDS)))


def _parse(cursor: str | None) -> int | None:
    if (
        cursor is None
        or len(cursor) > MAX_CURSOR_DIGITS
        or not (cursor.isascii() and cursor.isdigit())
    ):
        return None
    return int(cursor)
