"""What every store has to do: one suite for all of them."""

from __future__ import annotations

import random
import string
import struct
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Created,
    Delete,
    Duplicate,
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
from durable_streams_server._path import MAX_PATH_LENGTH
from durable_streams_server._postgres import PostgresStore
from durable_streams_server._postgres_database import borrowed
from durable_streams_server._request import MAX_PRODUCER_ID
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._url import open_store
from durable_transport.protocol import MAX_POSITION, format_offset
from streams.builders import NOW
from streams.oracle import Oracle, batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams_server._store import Store
    from streams.postgres import Database

S = TypeVar("S", bound="Store")

MANY = 1 << 20
JSON = "application/json"


@contextmanager
def closing(store: S) -> Iterator[S]:
    try:
        yield store
    finally:
        store.close()


def tamper(store: Store, statement: str) -> list[Any]:
    """Run a statement behind the store's back."""
    if isinstance(store, PostgresStore):
        with borrowed(store._write_engine) as connection:
            connection.execute("SET search_path TO durable_streams")
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    assert isinstance(store, SqliteStore)
    store.control(lambda _: None)  # what is in the journal becomes rows
    store._forget()
    result = store._writer.exec_driver_sql(statement)
    return list(result.all()) if result.returns_rows else []


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


def tidy(store: Store, now: float = NOW) -> int:
    """Keep house until there is nothing to do; give the number of steps."""
    steps = 0
    while store.tidy(now):
        steps += 1
        assert steps < 10_000
    return steps


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


def _agree_with_the_oracle(
    plan: list[list[tuple[Operation, ...]]], reopen: Callable[[], Store]
) -> None:
    oracle = Oracle()
    with closing(reopen()) as store:
        for batch in plan:
            outcomes = store.commit(batch, NOW).outcomes
            accepted = [all(one.ok for one in group) for group in outcomes]
            assert accepted == [oracle.run(group) for group in batch]
    with closing(reopen()) as store:
        for name in ("a", "b/c"):
            held = oracle.contents().get(name)
            if held is None:
                assert store.stat(name, NOW) is None
            else:
                assert (content(store, name), stat(store, name).closed) == held


@given(batches)
@settings(max_examples=60, deadline=None)
def test_any_operations_end_as_the_oracle_says(plan: list[list[tuple[Operation, ...]]]) -> None:
    with TemporaryDirectory() as folder:
        _agree_with_the_oracle(plan, lambda: SqliteStore(Path(folder) / "store"))


@given(plan=batches)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_operations_end_as_the_oracle_says_in_postgres(
    postgres: Database, plan: list[list[tuple[Operation, ...]]]
) -> None:
    quiet = f"{postgres.url}?notify=off"
    with closing(open_store(quiet)) as store:
        tamper(store, "TRUNCATE streams CASCADE")
    _agree_with_the_oracle(plan, lambda: open_store(quiet))


# --------------------------------------------------------------------------- holes


def _lose(store: Store, end_offset: int) -> None:
    tamper(store, f"DELETE FROM chunks WHERE end_offset = {end_offset}")


@pytest.mark.parametrize(("lost", "position"), [(3, 0), (6, 0), (6, 4), (9, 6), (9, 7)])
def test_a_hole_fails_the_read(store: Store, lost: int, position: int) -> None:
    one(store, Create("s"))
    for number, piece in enumerate((b"abc", b"def", b"ghi")):
        one(store, Append("s", piece), NOW + number)  # what comes in one second may be one row
    one(store, Append("s", close=True))
    _lose(store, lost)
    with pytest.raises(StorageError, match="missing"):
        store.read(stat(store, "s"), position, MANY)


def test_a_piece_that_is_too_short_fails_the_read(store: Store) -> None:
    one(store, Create("s"))
    for number, piece in enumerate((b"abc", b"def")):
        one(store, Append("s", piece), NOW + number)
    tamper(store, "UPDATE chunks SET data = 'e' WHERE end_offset = 6")
    with pytest.raises(StorageError, match="missing"):
        store.read(stat(store, "s"), 0, MANY)


# --------------------------------------------------------------------------- reopening


def test_five_restarts_change_nothing(reopen: Callable[[], Store]) -> None:
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


def test_the_next_generation_goes_on(reopen: Callable[[], Store]) -> None:
    expected = b""
    for generation in range(4):
        with closing(reopen()) as store:
            one(store, Create("s"))
            assert content(store, "s") == expected
            one(store, Append("s", b"%d" % generation))
            expected += b"%d" % generation


def test_a_close_survives(reopen: Callable[[], Store]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s"))
        one(store, Append("s", b"end", close=True))
    with closing(reopen()) as store:
        assert stat(store, "s").closed
        assert isinstance(one(store, Append("s", b"more")), StreamClosed)
        assert isinstance(one(store, Append("s", close=True)), Duplicate)


def test_a_delete_survives(reopen: Callable[[], Store]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", data=b"secret"))
        one(store, Append("s", b"x", producer=Producer("p", 0, 0)))
        one(store, Delete("s"))
    with closing(reopen()) as store:
        assert store.stat("s", NOW) is None
        tidy(store)
        for table in ("streams", "chunks", "producers"):
            assert tamper(store, f"SELECT count(*) FROM {table}") == [(0,)], table


def test_producers_survive(reopen: Callable[[], Store]) -> None:
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


def test_the_longest_names_are_stored(store: Store) -> None:
    """Of bytes that no compression makes shorter: an index has to hold them."""
    letters = random.Random(0)
    path = "".join(letters.choices(string.ascii_letters, k=MAX_PATH_LENGTH))
    name = "".join(chr(letters.randrange(0xA1, 0xFF)) for _ in range(MAX_PRODUCER_ID))
    append = Append(path, b"x", seq=name, producer=Producer(name, 0, 0))
    assert one(store, Create(path)).ok
    assert isinstance(one(store, append), Appended)
    assert isinstance(one(store, append), Duplicate)
    assert content(store, path) == b"x"


def test_producers_of_a_deleted_stream_are_forgotten(store: Store) -> None:
    producer = Producer("p", 5, 0)
    one(store, Create("s"))
    one(store, Append("s", b"x", producer=producer))
    run(store, Delete("s"), Create("s"))
    assert isinstance(one(store, Append("s", b"x", producer=producer._replace(epoch=0))), Appended)


def test_ids_are_never_used_again(reopen: Callable[[], Store]) -> None:
    ids = []
    for _ in range(4):
        with closing(reopen()) as store:
            for _ in range(2):
                created = one(store, Create("s"))
                assert isinstance(created, Created)
                ids.append(created.stream.id)
                one(store, Delete("s"))
    assert ids == sorted(set(ids))


def test_what_reading_decides_survives_forgetting(reopen: Callable[[], Store]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", ttl_seconds=10))
        one(store, Touch("s"), now=NOW + 5)
        if isinstance(store, SqliteStore):
            store._forget()
        assert stat(store, "s").touched_at == NOW + 5
        assert isinstance(one(store, Append("s", b"x"), now=NOW + 14), Appended)


def test_producers_that_come_and_go_do_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_streams_server._sqlite.REMEMBERED", 3)
    with closing(SqliteStore(tmp_path / "store")) as store:
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
    assert {one.path for one in store.owned("")} == {"a", "b"}
    assert [one.path for one in store.owned("a")] == ["a"]
    assert [one.path for one in store.orphans(NOW)] == ["b"]
    assert {one.path for one in store.orphans(NOW + 10)} == {"a", "b"}
    one(store, Append("b", close=True, owner="b", reaping=True))
    assert [one.path for one in store.owned("")] == ["a"]


def test_every_lease_of_a_file_ends_with_its_process(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        run(store, Heartbeat("a", NOW + 1000), Create("s", owner="a"))
        assert store.orphans(NOW) == []
    with closing(SqliteStore(tmp_path / "store")) as store:
        assert [one.path for one in store.orphans(NOW)] == ["s"]
        assert tamper(store, "SELECT count(*) FROM nodes") == [(0,)], (
            "leases of the dead do not pile up"
        )


# --------------------------------------------------------------------------- positions


def test_positions_go_up_to_the_largest_and_no_further(store: Store) -> None:
    one(store, Create("s", data=b"x"))
    nearly = MAX_POSITION - 5
    tamper(store, f"UPDATE streams SET tail = {nearly}")
    tamper(store, f"UPDATE chunks SET end_offset = {nearly}")
    appended = one(store, Append("s", b"12345"))
    assert isinstance(appended, Appended)
    assert (appended.start, appended.end) == (nearly, MAX_POSITION)
    info = stat(store, "s")
    assert store.read(info, nearly, MANY) == b"12345"
    assert len(format_offset(info.tail)) == len(format_offset(0))
    with pytest.raises((StorageError, OverflowError, struct.error)):
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
