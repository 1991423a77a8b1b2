"""What every store has to do: one suite for all of them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Created,
    Delete,
    Duplicate,
    Fork,
    Heartbeat,
    NotFound,
    Operation,
    Outcome,
    Producer,
    StorageError,
    StreamClosed,
    StreamInfo,
    StreamNotFoundError,
    Touch,
    json_items,
)
from durable_streams_server._sqlite import SqliteStore
from durable_transport.protocol import MAX_POSITION, format_offset
from streams.builders import NOW
from streams.oracle import Oracle, batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams_server._store import Store

MANY = 1 << 20
JSON = "application/json"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "store" if request.param == "file" else None)
    yield opened
    opened.close()


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], SqliteStore]:
    """Give a function that opens one file again and again."""
    return lambda: SqliteStore(tmp_path / "store")


@contextmanager
def closing(store: SqliteStore) -> Iterator[SqliteStore]:
    try:
        yield store
    finally:
        store.close()


def run(store: Store, *operations: Operation, now: float = NOW) -> tuple[Outcome, ...]:
    (outcomes,) = store.commit([operations], now).outcomes
    return outcomes


def one(store: Store, operation: Operation, now: float = NOW) -> Outcome:
    return run(store, operation, now=now)[0]


def stat(store: Store, path: str, now: float = NOW) -> StreamInfo:
    found = store.stat(path, now)
    assert found is not None
    return found


def content(store: Store, path: str, step: int = MANY) -> bytes:
    """All bytes of a stream, read in steps."""
    info = stat(store, path)
    data = b""
    while len(data) < info.tail:
        piece = store.read(info, len(data), step)
        assert piece, "a read before the tail gives at least one byte"
        data += piece
    return data


# --------------------------------------------------------------------------- bytes


def test_bytes_come_back_from_any_position(store: Store) -> None:
    pieces = [b"first", b"\x00\xff\r\n", b"", b"the last one"]
    one(store, Create("a/b", data=pieces[0]))
    for piece in pieces[1:]:
        one(store, Append("a/b", piece))
    info = stat(store, "a/b")
    whole = b"".join(pieces)
    assert info.tail == len(whole)
    for position in range(len(whole)):
        assert store.read(info, position, MANY) == whole[position:]


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 7, 100])
def test_reads_are_cut_at_max_bytes(store: Store, max_bytes: int) -> None:
    one(store, Create("s", data=b"abc"))
    one(store, Append("s", b"defghij"))
    info = stat(store, "s")
    for position in range(10):
        assert store.read(info, position, max_bytes) == b"abcdefghij"[position:][:max_bytes]


@pytest.mark.parametrize("max_bytes", [1, 4, 5, 9])
def test_json_reads_end_on_an_append(store: Store, max_bytes: int) -> None:
    one(store, Create("s", JSON, data=b'"one",'))
    for text in (b"2,", b"[3],", b'{"four":4},'):
        one(store, Append("s", text))
    info = stat(store, "s")
    position, messages = 0, []
    while position < info.tail:
        piece = store.read(info, position, max_bytes)
        messages += json_items(piece)
        position += len(piece)
    assert messages == ["one", 2, [3], {"four": 4}]


def test_appends_of_one_batch_follow_each_other(store: Store) -> None:
    one(store, Create("s"))
    commit = store.commit([(Append("s", b"%d," % n),) for n in range(50)], NOW)
    ends: list[int] = []
    for (outcome,) in commit.outcomes:
        assert isinstance(outcome, Appended)
        assert outcome.start == (ends[-1] if ends else 0)
        ends.append(outcome.end)
    assert content(store, "s", 7) == b"".join(b"%d," % n for n in range(50))


def test_a_batch_may_be_large(store: Store) -> None:
    paths = [f"s{n}" for n in range(1200)]
    store.commit([(Create(path, data=path.encode()),) for path in paths], NOW)
    producer = Producer("p", 0, 0)
    commit = store.commit([(Append(path, b"!", producer=producer),) for path in paths], NOW)
    assert all(outcome.ok for (outcome,) in commit.outcomes)
    for path in (paths[0], paths[499], paths[500], paths[1199]):
        assert content(store, path) == path.encode() + b"!"


def test_a_large_body_comes_back(store: Store) -> None:
    body = bytes(range(256)) * 20_000
    one(store, Create("s", data=body))
    assert content(store, "s", 1 << 16) == body


def test_an_incarnation_reads_its_own_bytes_only(store: Store) -> None:
    one(store, Create("s", data=b"old bytes"))
    old = stat(store, "s")
    run(store, Delete("s", old.id), Create("s", data=b"new bytes"))
    assert content(store, "s") == b"new bytes"
    with pytest.raises(StreamNotFoundError):
        store.read(old, 0, MANY)


@given(batches)
@settings(max_examples=60, deadline=None)
def test_any_operations_end_as_the_oracle_says(plan: list[list[tuple[Operation, ...]]]) -> None:
    with TemporaryDirectory() as folder:
        oracle = Oracle()
        path = Path(folder) / "store"
        with closing(SqliteStore(path)) as store:
            for batch in plan:
                outcomes = store.commit(batch, NOW).outcomes
                accepted = [all(one.ok for one in group) for group in outcomes]
                assert accepted == [oracle.run(group) for group in batch]
        with closing(SqliteStore(path)) as store:
            for name in ("a", "b/c"):
                held = oracle.contents().get(name)
                if held is None:
                    assert store.stat(name, NOW) is None
                else:
                    assert (content(store, name), stat(store, name).closed) == held


# --------------------------------------------------------------------------- holes


def _lose(store: SqliteStore, end_offset: int) -> None:
    store._writer.exec_driver_sql("DELETE FROM chunks WHERE end_offset = ?", (end_offset,))


@pytest.mark.parametrize(("lost", "position"), [(3, 0), (6, 0), (6, 4), (9, 6), (9, 7)])
def test_a_hole_fails_the_read(store: SqliteStore, lost: int, position: int) -> None:
    one(store, Create("s"))
    for piece in (b"abc", b"def", b"ghi"):
        one(store, Append("s", piece))
    one(store, Append("s", close=True))
    _lose(store, lost)
    with pytest.raises(StorageError, match="missing"):
        store.read(stat(store, "s"), position, MANY)


def test_a_piece_that_is_too_short_fails_the_read(store: SqliteStore) -> None:
    one(store, Create("s"))
    for piece in (b"abc", b"def"):
        one(store, Append("s", piece))
    store._writer.exec_driver_sql("UPDATE chunks SET data = x'65' WHERE end_offset = 6")
    with pytest.raises(StorageError, match="missing"):
        store.read(stat(store, "s"), 0, MANY)


# --------------------------------------------------------------------------- reopening


def test_five_restarts_change_nothing(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", "text/Plain; charset=utf-8", ttl_seconds=60))
        one(store, Append("s", b"bytes\x00", seq="\xe9"))
        one(store, Create("c", data=b"x", expires_at=NOW + 0.25))
        one(store, Append("c", close=True, producer=Producer('"p,\u20ac', 3, 0)))
        before = [stat(store, "s"), stat(store, "c")]
    for _ in range(5):
        with closing(reopen()) as store:
            assert [stat(store, "s"), stat(store, "c")] == before
            assert content(store, "s") == b"bytes\x00"


def test_the_next_generation_goes_on(reopen: Callable[[], SqliteStore]) -> None:
    expected = b""
    for generation in range(4):
        with closing(reopen()) as store:
            one(store, Create("s"))
            assert content(store, "s") == expected
            one(store, Append("s", b"%d" % generation))
            expected += b"%d" % generation


def test_a_close_survives(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s"))
        one(store, Append("s", b"end", close=True))
    with closing(reopen()) as store:
        assert stat(store, "s").closed
        assert isinstance(one(store, Append("s", b"more")), StreamClosed)
        assert isinstance(one(store, Append("s", close=True)), Duplicate)


def test_a_delete_survives(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", data=b"secret"))
        one(store, Append("s", b"x", producer=Producer("p", 0, 0)))
        one(store, Delete("s"))
    with closing(reopen()) as store:
        assert store.stat("s", NOW) is None
        for table in ("streams", "chunks", "producers"):
            count = store._writer.exec_driver_sql(f"SELECT count(*) FROM {table}")
            assert count.scalar_one() == 0, table


def test_producers_survive(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s"))
        for seq in (0, 1):
            one(store, Append("s", b"%d" % seq, producer=Producer("p", 2, seq)))
    with closing(reopen()) as store:
        again = one(store, Append("s", b"1", producer=Producer("p", 2, 1)))
        assert isinstance(again, Duplicate)
        assert again.producer == Producer("p", 2, 1)
        assert one(store, Append("s", b"2", producer=Producer("p", 2, 2))).ok
        assert content(store, "s") == b"012"


def test_producers_of_a_deleted_stream_are_forgotten(store: Store) -> None:
    producer = Producer("p", 5, 0)
    one(store, Create("s"))
    one(store, Append("s", b"x", producer=producer))
    run(store, Delete("s"), Create("s"))
    assert isinstance(one(store, Append("s", b"x", producer=producer._replace(epoch=0))), Appended)


def test_ids_are_never_used_again(reopen: Callable[[], SqliteStore]) -> None:
    ids = []
    for _ in range(4):
        with closing(reopen()) as store:
            for _ in range(2):
                created = one(store, Create("s"))
                assert isinstance(created, Created)
                ids.append(created.stream.id)
                one(store, Delete("s"))
    assert ids == sorted(set(ids))


def test_what_reading_decides_survives_forgetting(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", ttl_seconds=10))
        one(store, Touch("s"), now=NOW + 5)
        store._forget()
        assert stat(store, "s").touched_at == NOW + 5
        assert isinstance(one(store, Append("s", b"x"), now=NOW + 14), Appended)


def test_producers_that_come_and_go_do_not_fill_the_memory(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_streams_server._sqlite.REMEMBERED", 3)
    one(store, Create("s"))
    appends = [Append("s", b"x", producer=Producer(f"p{n}", 0, 0)) for n in range(10)]
    for append in appends:
        assert isinstance(one(store, append), Appended)
        assert len(store._known_producers) <= 4
    for append in appends:
        assert isinstance(one(store, append), Duplicate)
    assert content(store, "s") == b"x" * 10


# --------------------------------------------------------------------------- lifetimes and owners


def test_an_expired_stream_is_not_there(store: Store) -> None:
    one(store, Create("ttl", ttl_seconds=10))
    one(store, Create("fixed", expires_at=NOW + 10))
    one(store, Create("for-ever"))
    assert store.expired(NOW + 9) == []
    assert sorted(store.expired(NOW + 10)) == ["fixed", "ttl"]
    for path in ("ttl", "fixed"):
        assert store.stat(path, NOW + 10) is None
        assert one(store, Touch(path), now=NOW + 10) == NotFound(path)
    assert store.expired(NOW + 10) == [], "a touch has removed them"
    assert stat(store, "for-ever", NOW + 10**9)


def test_an_expired_stream_makes_way(store: Store) -> None:
    one(store, Create("s", data=b"old", ttl_seconds=1))
    assert isinstance(one(store, Create("s", "text/x", b"new"), now=NOW + 1), Created)
    assert content(store, "s") == b"new"


def test_orphans(store: Store) -> None:
    one(store, Heartbeat("a", NOW + 10))
    for path, owner in (("a", "a"), ("b", "b"), ("nobody's", None)):
        one(store, Create(path, owner=owner))
    assert {one.path for one in store.owned()} == {"a", "b"}
    assert [one.path for one in store.orphans(NOW)] == ["b"]
    assert {one.path for one in store.orphans(NOW + 10)} == {"a", "b"}
    one(store, Append("b", close=True, owner="b", reaping=True))
    assert [one.path for one in store.owned()] == ["a"]


def test_every_lease_ends_with_the_process(reopen: Callable[[], SqliteStore]) -> None:
    with closing(reopen()) as store:
        run(store, Heartbeat("a", NOW + 1000), Create("s", owner="a"))
        assert store.orphans(NOW) == []
    with closing(reopen()) as store:
        assert [one.path for one in store.orphans(NOW)] == ["s"]
        count = store._writer.exec_driver_sql("SELECT count(*) FROM nodes")
        assert count.scalar_one() == 0, "leases of the dead do not pile up"


# --------------------------------------------------------------------------- positions


def test_positions_go_up_to_the_largest_and_no_further(store: SqliteStore) -> None:
    one(store, Create("s", data=b"x"))
    nearly = MAX_POSITION - 5
    store._writer.exec_driver_sql("UPDATE streams SET tail = ?", (nearly,))
    store._writer.exec_driver_sql("UPDATE chunks SET end_offset = ?", (nearly,))
    store._forget()
    appended = one(store, Append("s", b"12345"))
    assert isinstance(appended, Appended)
    assert (appended.start, appended.end) == (nearly, MAX_POSITION)
    info = stat(store, "s")
    assert store.read(info, nearly, MANY) == b"12345"
    assert len(format_offset(info.tail)) == len(format_offset(0))
    with pytest.raises((StorageError, OverflowError)):
        one(store, Append("s", b"6"))
    assert stat(store, "s") == info
    assert store.read(info, nearly, MANY) == b"12345"


# --------------------------------------------------------------------------- groups


def test_a_refused_group_leaves_no_trace(store: Store) -> None:
    one(store, Create("s", data=b"kept"))
    outcomes = run(
        store,
        Append("s", b"lost", producer=Producer("p", 0, 0)),
        Create("n", data=b"lost"),
        Delete("nowhere"),
    )
    assert [outcome.ok for outcome in outcomes] == [True, True, False]
    assert content(store, "s") == b"kept"
    assert store.stat("n", NOW) is None
    assert isinstance(one(store, Append("s", b"!", producer=Producer("p", 0, 0))), Appended)


# --------------------------------------------------------------------------- looking after it


def names(store: Store, prefix: str = "", after: str = "", limit: int = MANY) -> list[str]:
    return [one.path for one in store.list_streams(prefix, after, limit, NOW)]


def test_streams_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    for path in ("b", "a~", "a/b", "a", "a%C3%A9", "A", "a_b", "~"):
        one(store, Create(path))
    assert names(store) == ["A", "a", "a%C3%A9", "a/b", "a_b", "a~", "b", "~"]
    assert names(store, prefix="a") == ["a", "a%C3%A9", "a/b", "a_b", "a~"]
    assert names(store, prefix="a%") == ["a%C3%A9"], "no character of a prefix stands for others"
    assert names(store, prefix="a_") == ["a_b"]
    assert names(store, prefix="c") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_follow_each_other_without_gap_or_overlap(store: Store, limit: int) -> None:
    wanted = [f"s/{number}" for number in range(7)]
    run(store, *[Create(path) for path in [*wanted, "r", "t"]])
    pages = [names(store, "s/", "", limit)]
    while len(pages[-1]) == limit:
        pages.append(names(store, "s/", pages[-1][-1], limit))
    assert [path for page in pages for path in page] == wanted


def test_a_list_says_what_stat_says(store: Store) -> None:
    run(store, Create("s", JSON, data=b"1,", ttl_seconds=10), Create("over", expires_at=NOW))
    one(store, Append("s", b"2,"))
    run(store, Create("source", data=b"abc"), Create("fork", fork=Fork("source")))
    one(store, Delete("source"))
    listed = store.list_streams("", "", MANY, NOW)
    assert [one.path for one in listed] == ["fork", "s", "source"]
    assert listed == [stat(store, one.path) for one in listed]
    assert listed[2].deleted
    assert store.list_streams("s", "", MANY, NOW + 10) == [listed[2]], "its lifetime is over"


def test_inspect(store: Store) -> None:
    one(store, Heartbeat("node", NOW + 10))
    one(store, Create("s", data=b"abc", owner="node"))
    one(store, Append("s", b"de", owner="node", producer=Producer("p", 3, 0)))
    one(store, Append("s", b"f", owner="node", producer=Producer("p", 3, 1)))
    run(store, Create("f", data=b"!!", fork=Fork("s", 4)))
    found = store.inspect("s", NOW)
    assert found is not None
    assert found.stream == stat(store, "s")
    assert (found.producers, found.forks) == ((Producer("p", 3, 1),), ("f",))
    assert (found.stored_bytes, found.lease_expires_at) == (6, NOW + 10)
    assert 1 <= found.rows <= 3
    fork = store.inspect("f", NOW)
    assert fork is not None
    assert (fork.stored_bytes, fork.stream.tail) == (2, 6), "what it inherits is stored elsewhere"
    assert (fork.producers, fork.forks, fork.lease_expires_at) == ((), (), None)
    assert store.inspect("nowhere", NOW) is None


def test_the_store_knows_its_size(store: Store) -> None:
    before = store.size()
    one(store, Create("s", data=bytes(1 << 20)))
    assert store.size() >= before + (1 << 20)
