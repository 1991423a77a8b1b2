"""A kill at a chosen moment: while bytes leave the journal, and in the middle of house-keeping."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from durable_streams_server import Append
from durable_streams_server._sqlite import SqliteStore
from streams.test_store import closing, content, one, stat, tidy

HERE = Path(__file__).parent
LATER = 1_800_000_000.0

MOMENTS = [
    ("INSERT INTO chunks", 1),
    ("DELETE FROM journal", 1),
    ("INSERT INTO journal", 1500),
    ("DELETE FROM journal", 2),
    ("DELETE FROM chunks", 1),
    ("DELETE FROM chunks", 3),
    ("UPDATE chunks", 1),
    ("UPDATE chunks", 2),
    ("DELETE FROM garbage", 1),
]


@pytest.mark.parametrize(("statement", "nth"), MOMENTS)
def test_a_kill_after_a_statement_takes_back_nothing(
    tmp_path: Path, unit: float, statement: str, nth: int
) -> None:
    file = tmp_path / "store"
    died = subprocess.run(
        [sys.executable, HERE / "dies_inside.py", file, statement, str(nth)],
        capture_output=True,
        text=True,
        timeout=60 * unit,
        check=False,
    )
    assert (died.returncode, died.stderr) == (-9, ""), "it has to come to that statement"
    acknowledged = defaultdict[str, bytes](bytes)
    for line in died.stdout.splitlines():
        path, number = line.split()
        acknowledged[path] += b"%06d," % int(number)
    assert acknowledged

    with closing(SqliteStore(file)) as store:
        for path, whole in acknowledged.items():
            there = content(store, path)
            # The append that was under way may be there or not.
            assert there.startswith(whole)
            assert len(there) - len(whole) in (0, 7)
        found = {path: content(store, path) for path in acknowledged}
        tidy(store, LATER)
        assert {path: content(store, path) for path in acknowledged} == found
        assert one(store, Append("s1", b"more"), LATER).ok
        assert stat(store, "s1").tail == len(found["s1"]) + 4
