"""Which rows are merged."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._segments import SEGMENT_BYTES, WORTH_WHILE, next_run

HALF = SEGMENT_BYTES // 2


@pytest.mark.parametrize(
    ("sizes", "closed", "idle", "run"),
    [
        ([], True, True, None),
        ([5], True, True, None),
        ([5] * WORTH_WHILE, True, False, (0, WORTH_WHILE)),
        ([5] * (WORTH_WHILE - 1), True, True, None),
        ([5, 5], False, False, None),
        ([5] * WORTH_WHILE, False, True, (0, WORTH_WHILE)),
        ([5] * (WORTH_WHILE - 1), False, True, None),
        # full: nothing more fits, whether the stream grows on or not
        ([HALF, HALF, 1], False, False, (0, 2)),
        ([HALF, HALF + 1, 5, 6], False, False, None),
        ([SEGMENT_BYTES] + [5] * WORTH_WHILE, True, False, (1, 1 + WORTH_WHILE)),
        ([2 * SEGMENT_BYTES, 2 * SEGMENT_BYTES], True, True, None),
        # a large beginning is not copied for a small end
        ([HALF] + [5] * WORTH_WHILE, False, True, (1, 1 + WORTH_WHILE)),
        ([HALF] + [5] * WORTH_WHILE, True, True, (0, 1 + WORTH_WHILE)),
        ([400, 100] + [50] * WORTH_WHILE, False, True, (0, 2 + WORTH_WHILE)),
    ],
)
def test_examples(
    sizes: list[int],
    closed: bool,  # noqa: FBT001
    idle: bool,  # noqa: FBT001
    run: tuple[int, int] | None,
) -> None:
    assert next_run(sizes, closed=closed, idle=idle) == run


@given(
    st.lists(st.integers(1, 2 * SEGMENT_BYTES) | st.integers(1, 2000), max_size=60),
    st.booleans(),
    st.booleans(),
)
def test_merging_ends_and_makes_no_large_rows(
    sizes: list[int],
    closed: bool,  # noqa: FBT001
    idle: bool,  # noqa: FBT001
) -> None:
    whole = sum(sizes)
    merges = 0
    while (run := next_run(sizes, closed=closed, idle=idle)) is not None:
        begin, end = run
        assert end - begin >= 2
        assert sum(sizes[begin:end]) <= SEGMENT_BYTES
        sizes = [*sizes[:begin], sum(sizes[begin:end]), *sizes[end:]]
        merges += 1
        assert merges <= 60
    assert sum(sizes) == whole
    if closed:
        full = sizes[: -WORTH_WHILE + 1]
        assert all(one + two > SEGMENT_BYTES for one, two in pairwise(full))
