"""Bytes on their way from the order of commits to their streams' rows: none lost, none twice."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server import Append, Create, Delete, StorageError
from durable_streams_server import _journal as journal_module
from durable_streams_server._journal import (
    DIRECT_BYTES,
    NOTHING,
    PART_STREAMS,
    ROUND_BYTES,
    ROUND_ROWS,
    Journal,
    Part,
    Row,
    entries_of,
)
from durable_streams_server._segments import SEGMENT_BYTES
from durable_streams_server._sqlite import SqliteStore
from streams.builders import NOW
from streams.test_store import closing, content, one, stat, tamper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


# --------------------------------------------------------------------------- the decisions


def row(stream_id: int, end_offset: int, size: int = 1, at: int = 0) -> Row:
    return Row(stream_id, end_offset, b"x" * size, at)


def test_what_comes_in_one_second_becomes_one_row() -> None:
    journal = Journal()
    for number in range(3):
        journal.settle(new=[row(1, number + 1), row(2, number + 1, at=number)])
    assert journal.last_id == 3
    part = journal.everything()
    assert part.rows == [row(1, 3, 3), row(2, 1), row(2, 2, at=1), row(2, 3, at=2)]
    assert part.through == 3
    journal.settle(part)
    assert journal.everything() is NOTHING
    assert journal.rows(1) == ()


def test_no_row_is_larger_than_a_segment() -> None:
    journal, half = Journal(), SEGMENT_BYTES // 2
    ends = [half, 2 * half, 2 * half + 1]
    journal.settle(new=[row(1, ends[0], half), row(1, ends[1], half), row(1, ends[2])])
    assert [len(one.data) for one in journal.everything().rows] == [SEGMENT_BYTES, 1]


@pytest.mark.parametrize(
    "size", [1, ROUND_BYTES // PART_STREAMS // 3], ids=["by its rows", "by its bytes"]
)
def test_a_round_begins_when_there_is_enough_and_moves_a_few_streams_at_a_time(size: int) -> None:
    journal, streams, commits = Journal(), 2 * PART_STREAMS + 1, 0
    while (part := journal.next_part()) is NOTHING:
        commits += 1
        journal.settle(new=[row(id_, commits * size, size) for id_ in range(streams)])
    rows, total = commits * streams, commits * streams * size
    assert rows >= ROUND_ROWS or total >= ROUND_BYTES
    assert rows - streams < ROUND_ROWS
    assert total - streams * size < ROUND_BYTES
    began_at = journal.last_id
    parts = [part]
    # What comes meanwhile waits for the next round, or goes along with its stream.
    for _ in range(2):
        journal.settle(parts[-1], [row(0, (commits + 1) * size, size)])
        parts.append(journal.next_part())
    assert [len(part.stream_ids) for part in parts] == [PART_STREAMS, PART_STREAMS, 1]
    assert [part.through for part in parts] == [None, None, began_at]
    journal.settle(parts[-1])
    assert journal.next_part() is NOTHING
    assert [one.stream_id for one in journal.everything().rows] == [0]


def test_a_part_that_is_not_on_disk_is_the_next_one_again() -> None:
    journal = Journal()
    journal.settle(new=[row(1, number + 1) for number in range(ROUND_ROWS)])
    assert journal.next_part() == journal.next_part()
    assert journal.moves == 0


class Disk:
    """The tables as a transaction leaves them."""

    def __init__(self) -> None:
        self.rows: dict[int, list[Row]] = {}
        self.journal: list[tuple[int, int, bytes]] = []

    def write(self, part: Part, row_id: int, new: Sequence[Row]) -> None:
        for one_row in part.rows:
            self.rows.setdefault(one_row.stream_id, []).append(one_row)
        if part.through is not None:
            self.journal = [one for one in self.journal if one[0] > part.through]
        if new:
            self.journal.append((row_id, new[0].written_at, entries_of(new)))

    def end(self, stream_id: int) -> int:
        return max((one.end_offset for one in self.rows.get(stream_id, ())), default=0)


commits = st.lists(
    st.one_of(
        st.dictionaries(st.integers(0, 4), st.binary(min_size=1, max_size=9), max_size=5),
        st.sampled_from(["restart", "everything", "later"]),
    ),
    max_size=40,
)


@given(commits)
def test_a_reader_finds_every_byte_once_whatever_was_moved(
    steps: list[dict[int, bytes] | str],
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("ROUND_ROWS", 4), ("ROUND_BYTES", 30), ("PART_STREAMS", 2)):
            patched.setattr(journal_module, name, value)
        _check(steps)


def _check(steps: list[dict[int, bytes] | str]) -> None:
    disk, journal, truth, now = Disk(), Journal(), dict[int, bytes](), 0
    for step in steps:
        if step == "restart":
            journal = Journal()
            journal.load(disk.journal, disk.end)
        elif step == "later":
            now += 1
        elif step == "everything":
            part = journal.everything()
            disk.write(part, 0, [])
            journal.settle(part)
        elif isinstance(step, dict):
            for id_, data in step.items():
                truth[id_] = truth.get(id_, b"") + data
            new = [Row(id_, len(truth[id_]), data, now) for id_, data in step.items()]
            part = journal.next_part()
            disk.write(part, journal.last_id + 1, new)
            journal.settle(part, new)
        for id_, whole in truth.items():
            found = b"".join(one.data for one in disk.rows.get(id_, ()))
            assert found + b"".join(one.data for one in journal.rows(id_)) == whole
            assert max(disk.end(id_), journal.tail(id_)) == len(whole)
        assert len(disk.journal) <= sum(isinstance(step, dict) for step in steps)


# --------------------------------------------------------------------------- in a store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store"


def killed(file: Path) -> Path:
    """The files as they are, as a process that is killed leaves them."""
    copy = file.with_name("copy")
    for end in ("", "-wal"):
        shutil.copy(str(file) + end, str(copy) + end)
    return copy


def rows(store: SqliteStore) -> int:
    """Rows of streams; without `tamper`, which would empty the journal."""
    return int(store._writer.exec_driver_sql("SELECT count(*) FROM chunks").scalar_one())


def journal_rows(store: SqliteStore) -> int:
    return int(store._writer.exec_driver_sql("SELECT count(*) FROM journal").scalar_one())


def fill(store: SqliteStore, appends: int, streams: int = 20) -> dict[str, bytes]:
    truth = {f"s{number}": b"" for number in range(streams)}
    store.commit([[Create(path)] for path in truth], NOW)
    for number in range(appends):
        path = f"s{number % streams}"
        one(store, Append(path, b"%06d" % number))
        truth[path] += b"%06d" % number
    return truth


@pytest.mark.parametrize("appends", [100, ROUND_ROWS + 3, 3 * ROUND_ROWS])
def test_a_killed_store_has_what_was_in_its_journal(file: Path, appends: int) -> None:
    with closing(SqliteStore(file)) as store:
        truth = fill(store, appends)
        assert 0 < journal_rows(store) <= ROUND_ROWS + 3
        assert {path: content(store, path) for path in truth} == truth
        copy = killed(file)
    with closing(SqliteStore(copy)) as store:
        assert {path: content(store, path) for path in truth} == truth
        assert one(store, Append("s0", b"more")).ok
        assert content(store, "s0") == truth["s0"] + b"more"
    with closing(SqliteStore(copy)) as store:
        assert journal_rows(store) == 0
        assert content(store, "s0") == truth["s0"] + b"more"


def test_a_large_piece_becomes_a_row_at_once_and_takes_along_what_is_before_it(file: Path) -> None:
    with closing(SqliteStore(file)) as store:
        one(store, Create("s"))
        one(store, Append("s", b"small"))
        assert rows(store) == 0
        one(store, Append("s", b"x" * DIRECT_BYTES))
        assert rows(store) == 2
        one(store, Append("s", b"end"))
        assert rows(store) == 2
        whole = b"small" + b"x" * DIRECT_BYTES + b"end"
        assert content(store, "s") == whole
        with closing(SqliteStore(killed(file))) as again:
            assert content(again, "s") == whole


def test_a_deleted_stream_leaves_nothing_in_the_journal(file: Path) -> None:
    with closing(SqliteStore(file)) as store:
        one(store, Create("s", data=b"old"))
        one(store, Delete("s"))
        one(store, Create("s", data=b"new"))
        with closing(SqliteStore(killed(file))) as again:
            assert content(again, "s") == b"new"
            assert tamper(again, "SELECT data FROM chunks") == [(b"new",)]
        assert tamper(store, "SELECT data FROM chunks") == [(b"new",)]


def test_whoever_looks_sees_bytes_that_are_in_the_journal(file: Path) -> None:
    with closing(SqliteStore(file)) as store:
        one(store, Create("s", owner="node"))
        one(store, Append("s", b"12345", owner="node"))
        store._forget()
        assert stat(store, "s").tail == 5
        assert [found.tail for found in store.owned("")] == [5]
        assert [found.tail for found in store.list_streams("", "", 9, NOW)] == [5]
        there = store.inspect("s", NOW)
        assert there is not None
        assert (there.rows, there.stored_bytes) == (1, 5)
        assert one(store, Append("s", b"6", owner="node")).ok
        assert content(store, "s") == b"123456"


def test_what_was_prepared_is_decided_anew_after_a_failure_in_between(file: Path) -> None:
    with closing(SqliteStore(file)) as store:
        one(store, Create("s", data=b"kept"))
        batch = [(Append("s", b"!"),)]
        prepared = store.prepare(batch, NOW)
        assert prepared is not None
        with pytest.raises(StorageError):
            store.control(lambda connection: connection.exec_driver_sql("SELECT * FROM nothing"))
        store.control(lambda _: None)
        store.commit(batch, NOW, prepared)
        assert content(store, "s") == b"kept!"
