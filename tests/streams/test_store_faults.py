"""A commit that fails has written nothing and is remembered by nobody."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Delete,
    Duplicate,
    Heartbeat,
    Log,
    Producer,
    StorageError,
)
from durable_streams_server._sqlite import SqliteStore
from streams.builders import NOW
from streams.test_store import closing, content, one, run, stat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRODUCER = Producer("p", 0, 0)
TRIGGERS = {
    "bytes": "CREATE TRIGGER fault BEFORE INSERT ON journal",
    "producer": "CREATE TRIGGER fault BEFORE INSERT ON producers",
    "lease": "CREATE TRIGGER fault BEFORE INSERT ON nodes",
    "stream": "CREATE TRIGGER fault BEFORE UPDATE ON streams",
}


@contextmanager
def refusing(store: SqliteStore, trigger: str) -> Iterator[None]:
    """The store cannot write one of its tables for as long as the block lasts."""
    run_sql = store._writer.exec_driver_sql
    run_sql(trigger + " BEGIN SELECT RAISE(ABORT, 'injected'); END")
    try:
        yield
    finally:
        run_sql("DROP TRIGGER fault")


@contextmanager
def full_disk(store: SqliteStore) -> Iterator[None]:
    """No page can be added."""
    run_sql = store._writer.exec_driver_sql
    pages = run_sql("PRAGMA page_count").scalar_one()
    run_sql(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        run_sql("PRAGMA max_page_count = 1073741823")


@contextmanager
def failing_disk() -> Iterator[None]:
    """Every write of a file that would make it longer fails, in this whole process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "store" if request.param == "file" else None)) as opened:
        yield opened


@pytest.mark.parametrize("place", sorted(TRIGGERS))
def test_a_failed_commit_is_as_if_nobody_had_asked(store: SqliteStore, place: str) -> None:
    run(store, Create("s", data=b"kept"), Create("gone", data=b"kept too"))
    before = stat(store, "s")
    with refusing(store, TRIGGERS[place]), pytest.raises(StorageError, match="injected"):
        run(
            store,
            Delete("gone"),
            Create("new", data=b"lost"),
            Append("s", b"lost", close=True, seq="9", producer=PRODUCER),
            Heartbeat("node", NOW + 10),
        )
    assert stat(store, "s") == before
    assert content(store, "s") == b"kept"
    assert content(store, "gone") == b"kept too"
    assert store.stat("new", NOW) is None

    # The retry is no duplicate, and finds the stream as open as it was.
    again = one(store, Append("s", b"!", close=True, seq="9", producer=PRODUCER))
    assert isinstance(again, Appended)
    assert content(store, "s") == b"kept!"
    one(store, Create("owned", owner="node"))
    assert [one.path for one in store.orphans(NOW)] == ["owned"], "no lease was noted"


@pytest.mark.parametrize("error", [sqlite3.OperationalError("lost"), KeyError("lost")])
def test_a_commit_whose_answer_is_lost_is_looked_up(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The disk has it and the caller was told that it failed: the truth is the disk's."""
    one(store, Create("s", data=b"kept"))
    driver = store._driver

    class Losing:
        in_transaction = False

        def execute(self, sql: str, values: Any = ()) -> Any:
            result = driver.execute(sql, values)
            if sql == "COMMIT":
                raise error
            return result

    append = Append("s", b"!", producer=PRODUCER)
    with monkeypatch.context() as patched:
        patched.setattr(store, "_driver", Losing())
        with pytest.raises((StorageError, KeyError)):
            one(store, append)
    assert isinstance(one(store, append), Duplicate)
    more = one(store, Append("s", b"?"))
    assert isinstance(more, Appended)
    assert more.start == len(b"kept!")
    assert content(store, "s") == b"kept!?"


def test_a_full_disk_refuses_and_recovers(store: SqliteStore) -> None:
    one(store, Create("s", data=b"kept"))
    body = bytes(200_000)
    append = Append("s", body, producer=PRODUCER)
    with full_disk(store):
        for _ in range(3):
            with pytest.raises(StorageError, match="full"):
                one(store, append)
        assert content(store, "s") == b"kept"
    assert isinstance(one(store, append), Appended)
    assert content(store, "s") == b"kept" + body


def test_a_full_disk_loses_nothing_over_a_restart(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        one(store, Create("s", data=b"kept"))
        with full_disk(store), pytest.raises(StorageError):
            one(store, Append("s", bytes(200_000)))
    with closing(SqliteStore(tmp_path / "store")) as store:
        assert content(store, "s") == b"kept"


def test_after_a_write_error_nothing_is_written_until_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with closing(SqliteStore(path)) as store:
        one(store, Create("s", data=b"kept"))
        with failing_disk(), pytest.raises(StorageError):
            one(store, Append("s", bytes(100_000), producer=PRODUCER))
        # The disk is well again, but what it has lost cannot be known from here.
        for _ in range(2):
            with pytest.raises(StorageError, match="restart"):
                one(store, Append("s", b"x"))
        assert content(store, "s") == b"kept", "reading goes on"
    with closing(SqliteStore(path)) as store:
        assert content(store, "s") == b"kept"
        assert isinstance(one(store, Append("s", b"!", producer=PRODUCER)), Appended)
        assert content(store, "s") == b"kept!"


@pytest.mark.anyio
async def test_a_log_tells_of_a_failed_write_and_shows_nothing_of_it(tmp_path: Path) -> None:
    async with await Log.open(f"sqlite:///{tmp_path / 'store'}") as log:
        store = log._store
        assert isinstance(store, SqliteStore)
        await log.transact(Create("s", data=b"kept"))
        async with log.reader("s", 4) as reader:
            with full_disk(store):
                with pytest.raises(StorageError, match="full"):
                    await log.transact(Append("s", bytes(200_000)))
                with pytest.raises(StorageError, match="full"):
                    log.check()
                assert (await reader.next(0)).data == b""
            await log.transact(Append("s", b"!"))
            log.check()
            assert (await reader.next(0)).data == b"!"


@pytest.mark.anyio
async def test_a_defect_in_the_store_fails_the_request_and_not_the_log(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(log._store, "commit", broken)
        with pytest.raises(StorageError, match="ZeroDivisionError"):
            await log.transact(Create("s"))
    assert (await log.transact(Create("s")))[0].ok


@pytest.fixture
def leaseless(tmp_path: Path) -> Path:
    """Give a store file that takes no lease."""
    path = tmp_path / "store.sqlite"
    with closing(SqliteStore(path)) as store:
        store._writer.exec_driver_sql(
            TRIGGERS["lease"] + " BEGIN SELECT RAISE(ABORT, 'injected'); END"
        )
    return path


@pytest.mark.anyio
async def test_a_log_that_cannot_write_its_lease_lets_go_of_the_file(leaseless: Path) -> None:
    for _ in range(2):  # the second time it would be in use by this very process
        with pytest.raises(StorageError, match="injected"):
            await Log.open(f"sqlite:///{leaseless}")
