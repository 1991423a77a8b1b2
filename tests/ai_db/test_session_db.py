"""The collections follow the log of a real server, through everything that happens to it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from ai_db.logs import IMPATIENT, RESET, answer, conversation, logged, logs, present, reset, until
from ai_db.sessions import user_message
from ai_db.test_session_state import shown, taken
from durable_ai_db._cache import APPLICATION_ID
from durable_ai_db._errors import (
    InvalidSession,
    SessionClosed,
    SessionNotFound,
    SessionProtocolError,
    SessionUnreachable,
    TxidTimeout,
)
from durable_ai_db._session_db import SLICE, SessionDB, stream_url
from durable_transport import DurableStream
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from ai_db.logs import Logs


def reading(at: Logs, session: str = "s", **options: Any) -> SessionDB:
    return SessionDB(session, at.url, timing=IMPATIENT, **options)


async def test_what_is_there_is_loaded_and_what_comes_is_followed() -> None:
    async with logs() as at:
        await at.write(conversation(2))
        async with reading(at) as db:
            assert shown(db.state) == shown(taken(*conversation(2)))
            assert db.status == "connected"
            await at.write(conversation(3))
            await until(lambda: len(db.collections.messages) == 6)
            offset = await at.write([present("ada")])
            await until(lambda: db.offset == offset)
            assert shown(db.state) == shown(taken(*conversation(3), present("ada")))
        meta = db.collections.session_meta["s"]
        assert meta.connection_status == "disconnected"


async def test_a_log_of_many_messages_comes_in_slices() -> None:
    turns = SLICE // 2
    async with logs() as at:
        await at.write(conversation(turns))
        db = reading(at)
        batches: list[int] = []
        db.collections.chunks.subscribe(lambda changes: batches.append(len(changes)))
        async with db:
            assert len(db.collections.messages) == 2 * turns
        assert max(batches) <= SLICE
        assert sum(batches) == 5 * turns


async def test_a_write_is_waited_for_by_its_txid(unit: float) -> None:
    async with logs() as at:
        await at.write([present("bob")])
        async with reading(at) as db:
            waiting = asyncio.create_task(db.await_txid("t1", timeout=PATIENCE))
            await asyncio.sleep(0)
            row = user_message("u", "hello")
            await at.write(logged(row, txid="t1"))
            await waiting
            assert "u" in db.collections.messages
            await db.await_txid("t1")  # it has come already
            with pytest.raises(TxidTimeout, match="txid t2"):
                await db.await_txid("t2", timeout=0.01 * unit)
            assert db._waiters == {}


async def test_who_waits_when_the_session_is_closed_is_told() -> None:
    async with logs() as at:
        await at.write([present("bob")])
        db = reading(at)
        async with db:
            waiting = asyncio.create_task(db.await_txid("t1", timeout=PATIENCE))
            await asyncio.sleep(0)
        with pytest.raises(SessionClosed):
            await waiting


async def test_pausing_and_closing_lose_nothing_and_repeat_nothing() -> None:
    async with logs() as at:
        await at.write(conversation(1))
        db = reading(at)
        inserted: list[str] = []
        db.collections.chunks.subscribe(lambda changes: inserted.extend(c.key for c in changes))
        await db.preload()
        await db.pause()
        assert db.status == "paused"
        await at.write([*logged(user_message("u1", "while away"))])
        await asyncio.sleep(0.02)
        assert "u1" not in db.collections.messages
        await db.preload()
        assert "u1" in db.collections.messages
        await db.close()
        await at.write([*logged(user_message("u2", "while closed"))])
        await db.preload()
        assert "u2" in db.collections.messages
        assert len(inserted) == len(set(inserted)) == 7
        await db.close()


async def test_a_session_that_is_not_there() -> None:
    async with logs() as at:
        db = reading(at)
        with pytest.raises(SessionNotFound) as raised:
            await db.preload()
        assert (raised.value.status, db.status) == (404, "error")
        assert db.collections.session_meta["s"].error == {
            "message": str(raised.value),
            "type": "SessionNotFound",
        }
        await at.write(conversation(1))
        await db.preload()
        assert (len(db.collections.messages), db.status, db.error) == (2, "connected", None)
        await db.close()


async def test_a_server_that_is_away_is_tried_until_it_is_back() -> None:
    async with logs() as at:
        port = at.server.port
        await at.write(conversation(1))
    db = SessionDB("s", f"http://127.0.0.1:{port}", timing=IMPATIENT)
    with pytest.raises(SessionUnreachable):
        await db.preload()
    assert db.status == "connecting"
    async with logs() as again:
        await again.write(conversation(2))
        db.url = stream_url(again.url, "s")
        db._stream = None
        await until(lambda: db.status == "connected")
        assert len(db.collections.messages) == 4
        assert db.error is None
        await db.close()


async def test_what_answers_is_no_session() -> None:
    async with logs() as at:
        async with DurableStream(stream_url(at.url, "s"), content_type="text/plain") as other:
            await other.create()
            await other.append("hello")
        db = reading(at)
        with pytest.raises(SessionProtocolError):
            await db.preload()
        await db.close()


async def test_a_log_that_was_deleted_and_made_again_is_read_anew() -> None:
    async with logs() as at:
        await at.write(conversation(20))
        async with reading(at) as db:
            await db.pause()
            async with at.writing() as log:
                await log.delete()
            await at.write(conversation(1))
            await db.preload()
            assert shown(db.state) == shown(taken(*conversation(1)))


async def test_a_reset_leads_where_it_says() -> None:
    async with logs() as at:
        kept = await at.write(conversation(1))
        await at.write([present("ada")])
        await at.write([reset(kept), *logged(user_message("u9", "after"))])
        wanted = taken(present("ada"), *logged(user_message("u9", "after")))
        async with reading(at) as db:
            assert shown(db.state) == shown(wanted)
            await at.write([RESET])
            await until(lambda: not db.collections.messages)
            assert shown(db.state) == shown(taken())


@pytest.mark.parametrize("name", ["a/b", "..a", "ü ?#%", "x" * 1000])
async def test_ids_of_all_kinds(name: str) -> None:
    async with logs() as at:
        await at.write(conversation(1), name)
        async with reading(at, name) as db:
            assert len(db.collections.messages) == 2
            assert name in db.collections.session_stats


@pytest.mark.parametrize(
    ("name", "url"), [("", "http://a"), ("..", "http://a"), ("a", "ftp://a"), ("a", "nothing")]
)
def test_what_cannot_be_a_session(name: str, url: str) -> None:
    with pytest.raises(InvalidSession):
        SessionDB(name, url)


async def test_a_subscriber_that_raises_does_not_end_the_reading(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> None:
        raise LookupError("mine")

    async with logs() as at:
        await at.write([present("bob")])
        async with reading(at) as db:
            db.collections.messages.subscribe(fail)
            await at.write(conversation(1))
            await until(lambda: len(db.collections.messages) == 2)
            await at.write(conversation(2))
            await until(lambda: len(db.collections.messages) == 4)
    assert "LookupError: mine" in caplog.text


# ------------------------------------------------------------------ the cache


async def test_the_next_start_needs_no_network_and_reads_on_from_there(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    other = {"type": "mood", "key": "1", "value": "good", "headers": {"operation": "insert"}}
    gone = {"type": "mood", "key": "1", "headers": {"operation": "delete"}}
    log = [*conversation(2), present("ada"), other]
    async with logs() as at:
        await at.write(log)
        async with reading(at, cache=file) as db:
            await at.write([*logged(*answer("a9", ["more"])), gone])
            await until(lambda: "a9" in db.collections.messages)
            offset = db.offset
        away = reading(at, cache=file)
        await at.write(conversation(3))
        read: list[str] = []
        away.collections.chunks.subscribe(lambda changes: read.extend(c.key for c in changes))
        await away.start()
        assert (away.has_snapshot, away.offset) == (True, offset)
        assert shown(away.state) == shown(taken(*log, *logged(*answer("a9", ["more"])), gone))
        await away.preload()
        assert len(away.collections.messages) == 7
        assert len(read) == len(set(read)), "what was cached was not read again"
        await away.close()
    offline = SessionDB("s", at.url, cache=file, timing=IMPATIENT)
    await offline.start()
    assert shown(offline.state) == shown(away.state)
    await offline.close()


async def test_what_is_cached_survives_a_client_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(1))
        async with reading(at, cache=file, save_every=0.0) as db:
            await until(lambda: _cached(file) == 5)
            assert len(db.collections.messages) == 2


def _cached(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        (count,) = database.execute("SELECT count(*) FROM entry").fetchone()
        return int(count)


async def test_several_sessions_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(1), "one")
        await at.write(conversation(2), "two")
        for name in ("one", "two"):
            async with reading(at, name, cache=file):
                pass
        for name, count in (("one", 2), ("two", 4)):
            db = reading(at, name, cache=file)
            await db.start()
            assert len(db.collections.messages) == count
            await db.close()


async def test_a_reset_empties_the_cache_too(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(2))
        async with reading(at, cache=file):
            pass
        await at.write([RESET, *conversation(1)])
        async with reading(at, cache=file) as db:
            assert len(db.collections.messages) == 2
        assert _cached(file) == 5


async def test_a_cache_of_another_log_is_not_believed(tmp_path: Path) -> None:
    """The log was deleted and made again, and is shorter than what is cached."""
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(20))
        async with reading(at, cache=file):
            pass
        async with at.writing() as log:
            await log.delete()
        await at.write(conversation(1))
        async with reading(at, cache=file) as db:
            assert shown(db.state) == shown(taken(*conversation(1)))
        assert _cached(file) == 5


def _corrupt(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[100:] = bytes(len(body) - 100)
    file.write_bytes(body)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _of_later(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("damage", [_corrupt, _cut, _of_later])
async def test_a_damaged_cache_counts_as_absent_and_is_made_anew(
    tmp_path: Path, damage: Any
) -> None:
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(2))
        async with reading(at, cache=file):
            pass
        damage(file)
        async with reading(at, cache=file) as db:
            assert not db.has_snapshot
            assert len(db.collections.messages) == 4
        assert _cached(file) == 10


def _text(file: Path) -> None:
    file.write_text("my diary " * 100)


def _other_database(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE diary (page)")
        database.commit()


def _other_application(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID + 1}")
        database.execute("CREATE TABLE session (page)")
        database.commit()


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("make", [_text, _other_database, _other_application, _folder])
async def test_a_file_that_is_no_cache_is_left_alone(
    tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cache"
    make(file)
    before = file.is_dir() or file.read_bytes()
    async with logs() as at:
        await at.write(conversation(2))
        with caplog.at_level(logging.WARNING):
            async with reading(at, cache=file) as db:
                assert len(db.collections.messages) == 4
    assert "no cache for session 's'" in caplog.text
    assert before == (file.is_dir() or file.read_bytes())


async def test_of_two_clients_with_one_cache_the_later_one_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "cache"
    async with logs() as at:
        await at.write(conversation(1))
        async with reading(at, cache=file) as first, reading(at, cache=file) as second:
            await at.write(conversation(2))
            await until(lambda: len(first.collections.messages) == 4)
            await until(lambda: len(second.collections.messages) == 4)
            await first._save()
            assert first._cache is None
            await second._save()
            assert _cached(file) == 10
