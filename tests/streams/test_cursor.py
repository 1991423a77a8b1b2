"""Cursors: the number of the interval, and never backwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._cursor import (
    EPOCH_SECONDS,
    INTERVAL_SECONDS,
    MAX_CURSOR_DIGITS,
    MAX_JITTER_SECONDS,
    next_cursor,
)
from streams.builders import NOW

CURRENT = int((NOW - EPOCH_SECONDS) // INTERVAL_SECONDS)
MOST = MAX_JITTER_SECONDS // INTERVAL_SECONDS


def test_the_interval_since_the_epoch() -> None:
    assert next_cursor(None, EPOCH_SECONDS, 0.5) == "0"
    assert next_cursor(None, EPOCH_SECONDS + 19.9, 0.5) == "0"
    assert next_cursor(None, EPOCH_SECONDS + 20, 0.5) == "1"


@pytest.mark.parametrize(
    "nonsense",
    ["", "abc", "-5", "+5", "1.5", " 7", "7 ", "\u0663", "1e9", "9" * (MAX_CURSOR_DIGITS + 1)],
)
def test_nonsense_is_ignored(nonsense: str) -> None:
    assert next_cursor(nonsense, NOW, 0.0) == str(CURRENT)


@given(st.integers(0, 10**MAX_CURSOR_DIGITS - 1), st.floats(0, 1, exclude_max=True))
def test_a_cursor_never_goes_backwards(seen: int, random: float) -> None:
    cursor = int(next_cursor(str(seen), NOW, random))
    assert cursor >= CURRENT
    if seen < CURRENT:
        assert cursor == CURRENT
    else:
        assert seen < cursor <= seen + MOST


def test_clients_ahead_of_the_clock_are_spread() -> None:
    cursors = {next_cursor(str(CURRENT), NOW, step / 100) for step in range(100)}
    assert len(cursors) > 50


def test_an_echoed_cursor_always_leads_on() -> None:
    seen = [next_cursor(None, NOW, 0.0)]
    for _ in range(50):
        seen.append(next_cursor(seen[-1], NOW, 0.0))
    assert seen == sorted(set(seen), key=int)
