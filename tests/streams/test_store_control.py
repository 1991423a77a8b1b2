"""What is kept beside the streams: one transaction each, all or nothing, in the appends' turn."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing as closing_file
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Log,
    LogClosedError,
    StorageError,
    StoreFormatError,
)
from durable_streams_server import _schema as schema
from durable_streams_server._sqlite import SqliteStore
from streams.gate import Gate
from streams.test_store import closing, content, one
from streams.test_store_faults import full_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

VERSION_1 = (Path(__file__).parent / "schema_1.sql").read_text()


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "store" if request.param == "file" else None)) as opened:
        yield opened


def keep(name: str, value: bytes = b"") -> Callable[[Connection], None]:
    """Note something in a table that no stream has to do with."""
    row = {"id": name, "purpose": "test", "value": value, "created_at": 0.0}

    def work(connection: Connection) -> None:
        connection.execute(insert(schema.secrets).values(row))

    return work


def names(connection: Connection) -> list[str]:
    table = schema.secrets.c
    return list(connection.execute(select(table.id).order_by(table.id)).scalars())


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        store.control(keep("one"))
        assert store.control(names) == ["one"]
    with closing(SqliteStore(tmp_path / "store")) as store:
        assert store.control(names) == ["one"]


def test_work_that_fails_has_written_nothing(store: SqliteStore) -> None:
    def fail(connection: Connection) -> None:
        keep("lost")(connection)
        raise KeyError("changed its mind")

    one(store, Create("s", data=b"kept"))
    with pytest.raises(KeyError):
        store.control(fail)
    store.control(keep("one"))
    with pytest.raises(StorageError):
        store.control(keep("one"))
    assert store.control(names) == ["one"]
    assert isinstance(one(store, Append("s", b"!")), Appended)
    assert content(store, "s") == b"kept!"


def test_a_full_disk_refuses_work_and_recovers(store: SqliteStore) -> None:
    with full_disk(store), pytest.raises(StorageError, match="full"):
        store.control(keep("large", bytes(200_000)))
    store.control(keep("large", bytes(200_000)))
    assert store.control(names) == ["large"]


async def test_work_of_a_log_takes_its_turn_among_appends(log: Log) -> None:
    await log.transact(Create("s"))
    appends = [log.transact(Append("s", b"x")) for _ in range(50)]
    works = [log.control(keep(f"{number:02}")) for number in range(50)]
    await asyncio.gather(*appends, *works)
    assert await log.control(names) == [f"{number:02}" for number in range(50)]
    assert (await log.read("s")).data == b"x" * 50


async def test_work_raises_for_who_asked_and_for_nobody_else(log: Log) -> None:
    def fail(_connection: Connection) -> None:
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        await log.control(fail)
    await log.control(keep("one"))
    log.check()


async def test_a_closing_log_refuses_work_that_has_not_begun(url: str) -> None:
    log = await Log.open(url)
    gate = Gate()
    begun = asyncio.ensure_future(log.control(gate.before(keep("begun"))))
    await gate.reached()
    closing_log = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    with pytest.raises(LogClosedError):
        await log.control(keep("late"))
    gate.open()
    await closing_log
    await begun
    async with await Log.open(url) as log:
        assert await log.control(names) == ["begun"]


async def test_work_whose_caller_has_left_is_not_begun(log: Log) -> None:
    gate = Gate()
    first = asyncio.ensure_future(log.control(gate.before(keep("first"))))
    await gate.reached()
    second = asyncio.ensure_future(log.control(keep("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    gate.open()
    await first
    assert await log.control(names) == ["first"]


# --------------------------------------------------------------------------- older files


def tables(file: Path) -> dict[str, Any]:
    """All that a file's schema means, however its statements are spelled."""
    with closing_file(sqlite3.connect(file)) as connection:
        ask = connection.execute
        described: dict[str, Any] = {
            f"PRAGMA {name}": ask(f"PRAGMA {name}").fetchall()
            for name in ("user_version", "application_id", "auto_vacuum")
        }
        for kind, name, sql in ask("SELECT type, name, sql FROM sqlite_schema").fetchall():
            columns = "table_xinfo" if kind == "table" else "index_xinfo"
            described[name] = (
                sorted(ask(f"PRAGMA {columns}('{name}')").fetchall()),
                sorted(row[2:] for row in ask(f"PRAGMA foreign_key_list('{name}')").fetchall()),
                sorted(row[1:] for row in ask(f"PRAGMA index_list('{name}')").fetchall()),
                [word in (sql or "") for word in ("AUTOINCREMENT", "WITHOUT ROWID", "WHERE")],
            )
    return described


def make_version_1(file: Path) -> None:
    """A file as version 1 left it, with a stream of five bytes and a producer."""
    with closing_file(sqlite3.connect(file)) as connection:
        connection.executescript(VERSION_1)
        connection.execute(
            "INSERT INTO streams (path, content_type, tail, closed, created_at, touched_at,"
            " fork_position, forks, deleted) VALUES ('s', 'text/plain', 0, 0, 1, ?, 0, 0, 0)",
            (time.time(),),
        )
        connection.execute(
            "INSERT INTO chunks (stream_id, end_offset, data) VALUES (1, 5, ?)", (b"bytes",)
        )
        connection.commit()


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    make_version_1(old)
    assert tables(old)["PRAGMA user_version"] == [(1,)]
    for file in (old, new):
        SqliteStore(file).close()
    assert tables(old) == tables(new)


def test_a_migrated_file_has_its_streams_and_room_for_the_new(tmp_path: Path) -> None:
    make_version_1(tmp_path / "store")
    for _ in range(2):
        with closing(SqliteStore(tmp_path / "store")) as store:
            assert content(store, "s").startswith(b"bytes")
            one(store, Append("s", b"!"))
    with closing(SqliteStore(tmp_path / "store")) as store:
        store.control(keep("one"))
        assert content(store, "s") == b"bytes!!"


def test_a_migration_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "store"
    make_version_1(file)
    with closing_file(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE secrets (in_the_way INTEGER)")
        connection.commit()
    before = tables(file)
    with pytest.raises(StoreFormatError, match="secrets"):
        SqliteStore(file)
    assert tables(file) == before
    with closing_file(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE secrets")
        connection.commit()
    with closing(SqliteStore(file)) as store:
        assert content(store, "s") == b"bytes"
