"""House-keeping and retention, on every store: nothing of it is seen but what was asked for."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import (
    Append,
    Create,
    Delete,
    Fork,
    Log,
    OffsetGoneError,
    StorageError,
    StreamNotFoundError,
)
from durable_streams_server._describe import describe
from durable_streams_server._model import EARLIEST, KEEP_ALL, Retention, Trim
from durable_streams_server._segments import SEGMENT_BYTES
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._sqlite_file import _LARGE_LOG_BYTES, log_of
from durable_streams_server._tidy import IDLE_SECONDS
from durable_transport.protocol import format_offset
from streams.builders import NOW
from streams.serving import PATIENT, served
from streams.test_store import JSON, closing, content, one, run, stat, tamper, tidy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durable_streams_server._store import Store

LATER = NOW + IDLE_SECONDS


def rows(store: Store, path: str) -> list[int]:
    """The sizes of a stream's rows."""
    found = tamper(
        store,
        f"SELECT length(data) FROM chunks WHERE stream_id = {stat(store, path).id}"
        f" ORDER BY end_offset",
    )
    return [size for (size,) in found]


def fill(store: Store, path: str, pieces: list[bytes], *, close: bool = False) -> bytes:
    """Append pieces, each in a second of its own: what comes in one may be one row."""
    for number, piece in enumerate(pieces):
        one(store, Append(path, piece), NOW - len(pieces) + number)
    if close:
        one(store, Append(path, close=True))
    return b"".join(pieces)


PIECES = [b"%04d," % number for number in range(100)]
LARGE = [bytes([number]) * 50_000 for number in range(12)]


# --------------------------------------------------------------------------- merging


def test_the_rows_of_a_closed_stream_become_segments(store: Store) -> None:
    one(store, Create("s"))
    whole = fill(store, "s", [*PIECES, *LARGE], close=True)
    tidy(store)
    assert rows(store, "s") == [250_500, 250_000, 50_000, 50_000]
    assert max(rows(store, "s")) <= SEGMENT_BYTES
    assert content(store, "s") == whole
    info = stat(store, "s")
    for position in range(0, len(whole), 9_973):
        assert store.read(info, position, 10) == whole[position : position + 10]


def test_an_open_stream_is_merged_when_it_is_idle(store: Store) -> None:
    one(store, Create("s"))
    whole = fill(store, "s", PIECES)
    tidy(store)
    assert len(rows(store, "s")) == len(PIECES)
    tidy(store, LATER)
    assert rows(store, "s") == [len(whole)]
    whole += fill(store, "s", [b"more"])
    assert content(store, "s") == whole
    assert isinstance(store.read(stat(store, "s"), 7, 3), bytes)


def test_a_stream_that_never_rests_is_merged_as_far_as_segments_are_full(store: Store) -> None:
    one(store, Create("s"))
    whole = fill(store, "s", LARGE)
    tidy(store)
    assert rows(store, "s")[:2] == [250_000, 250_000]
    assert content(store, "s") == whole


def test_what_an_earlier_process_left_is_found(reopen: Callable[[], Store]) -> None:
    with closing(reopen()) as store:
        one(store, Create("closed"))
        one(store, Create("open"))
        for path in ("closed", "open"):
            fill(store, path, PIECES, close=path == "closed")
    with closing(reopen()) as store:
        tidy(store)
        assert rows(store, "closed") == [500]
        assert rows(store, "open") == [500]


def test_json_is_read_in_whole_messages_after_a_merge(store: Store) -> None:
    one(store, Create("s", JSON))
    whole = fill(store, "s", PIECES, close=True)
    tidy(store)
    info = stat(store, "s")
    for position in range(0, len(whole), 5):
        read = store.read(info, position, 12)
        assert read.endswith(b",")
        assert whole[position:].startswith(read)


def test_forks_read_a_source_that_is_merged(store: Store) -> None:
    one(store, Create("s"))
    whole = fill(store, "s", PIECES)
    run(store, Create("f", fork=Fork("s", 123)), Append("f", b"own"), Append("s", close=True))
    tidy(store)
    assert rows(store, "s") == [500]
    assert content(store, "f") == whole[:123] + b"own"
    assert content(store, "f", step=7) == whole[:123] + b"own"


def test_a_hole_is_not_closed_by_a_merge(store: Store) -> None:
    one(store, Create("s"))
    fill(store, "s", PIECES, close=True)
    tamper(store, "DELETE FROM chunks WHERE end_offset = 250")
    tidy(store)
    assert content_until_missing(store, "s") == b"".join(PIECES[:49])


def content_until_missing(store: Store, path: str) -> bytes:
    info, data = stat(store, path), b""
    while True:
        try:
            data += store.read(info, len(data), 5)
        except StorageError:
            return data


# --------------------------------------------------------------------------- deleting


def test_a_deleted_stream_is_gone_at_once_and_its_bytes_a_little_later(store: Store) -> None:
    one(store, Create("s"))
    fill(store, "s", [b"x"] * 1200)
    info = stat(store, "s")
    one(store, Delete("s"))
    with pytest.raises(StreamNotFoundError):
        store.read(info, 0, 10)
    one(store, Create("s"))
    whole = fill(store, "s", [b"new"])
    assert content(store, "s") == whole
    assert tidy(store) >= 3  # not all in one transaction
    assert content(store, "s") == whole
    assert tamper(store, "SELECT count(*) FROM chunks") == [(1,)]
    assert tamper(store, "SELECT count(*) FROM garbage") == [(0,)]


def test_the_file_shrinks(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        one(store, Create("s"))
        one(store, Create("kept", data=b"kept"))
        fill(store, "s", [b"x" * 1_000_000] * 20)
        one(store, Delete("s"))
        tidy(store)
        assert store.size() < 5_000_000
        assert content(store, "kept") == b"kept"


def on_disk(file: Path) -> tuple[int, int]:
    """Bytes of the file and of its log."""
    return file.stat().st_size, log_of(file).stat().st_size


def test_space_comes_back_beside_what_is_kept_and_takes_none_before(tmp_path: Path) -> None:
    file = tmp_path / "store"
    with closing(SqliteStore(file)) as store:
        for path in ("kept", "s"):
            one(store, Create(path))
            fill(store, path, [b"x" * 1_000_000] * 30)
        tidy(store)
        whole = sum(on_disk(file))
        one(store, Delete("s"))
        while store.tidy(NOW):
            assert sum(on_disk(file)) < whole + 2_000_000, "a full disk could not be emptied"
        assert sum(on_disk(file)) < 40_000_000
        assert len(content(store, "kept")) == 30_000_000


def test_a_reader_that_is_in_the_way_delays_that(tmp_path: Path) -> None:
    file = tmp_path / "store"
    with closing(SqliteStore(file)) as store, contextlib.closing(sqlite3.connect(file)) as reader:
        one(store, Create("s"))
        fill(store, "s", [b"x" * 1_000_000] * 60)
        tidy(store)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM chunks").fetchall()
        one(store, Delete("s"))
        tidy(store)
        assert on_disk(file)[0] > 50_000_000
        reader.rollback()
        tidy(store)
        assert sum(on_disk(file)) < 5_000_000


def test_a_large_log_is_copied_when_nobody_is_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / "store"
    with closing(SqliteStore(file)) as store, contextlib.closing(sqlite3.connect(file)) as reader:
        one(store, Create("s"))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM chunks").fetchall()
        fill(store, "s", [b"x" * 1_000_000] * 60)
        tidy(store)
        assert on_disk(file)[1] > _LARGE_LOG_BYTES
        reader.rollback()
        tidy(store)
        assert on_disk(file)[1] == 0


# --------------------------------------------------------------------------- retention


def trim(store: Store, default: Retention = KEEP_ALL, now: float = NOW) -> None:
    tidy(store, now - IDLE_SECONDS)  # what was just appended becomes rows
    for operation in store.overdue(default, now):
        one(store, operation, now)
    tidy(store, now)


def test_retention_by_size(store: Store) -> None:
    one(store, Create("s", retain_bytes=100))
    whole = fill(store, "s", PIECES)
    trim(store)
    info = stat(store, "s")
    assert (info.start, info.tail) == (400, 500)
    assert rows(store, "s") == [5] * 20
    assert store.read(info, 400, 1000) == whole[400:]
    with pytest.raises(OffsetGoneError) as gone:
        store.read(info, 399, 1000)
    assert gone.value.start == 400
    trim(store)
    assert stat(store, "s") == info


def test_retention_by_age(store: Store) -> None:
    one(store, Create("s", retain_seconds=60))
    one(store, Append("s", b"old"), NOW)
    one(store, Append("s", b"young"), NOW + 30)
    trim(store, now=NOW + 59)
    assert stat(store, "s").start == 0
    trim(store, now=NOW + 61)
    assert stat(store, "s").start == 3
    trim(store, now=NOW + 91)
    info = stat(store, "s")
    assert (info.start, info.tail) == (8, 8)
    assert one(store, Append("s", b"next"), NOW + 92).ok
    info = stat(store, "s")
    assert store.read(info, 8, 100) == b"next"


def test_a_stream_without_a_retention_has_the_servers(store: Store) -> None:
    for path, limit in (("own", 400), ("none", None)):
        one(store, Create(path, retain_bytes=limit))
        fill(store, path, PIECES)
    trim(store)
    assert stat(store, "none").start == 0
    trim(store, Retention(max_bytes=50))
    assert stat(store, "none").start == 450
    assert stat(store, "own").start == 100


def test_the_start_survives(reopen: Callable[[], Store]) -> None:
    with closing(reopen()) as store:
        one(store, Create("s", retain_bytes=100))
        fill(store, "s", PIECES)
        trim(store)
    with closing(reopen()) as store:
        info = stat(store, "s")
        assert (info.start, info.tail, info.retain_bytes) == (400, 500, 100)
        assert one(store, Append("s", b"x")).ok
        assert stat(store, "s").start == 400


def test_nothing_is_taken_from_under_a_fork(store: Store) -> None:
    one(store, Create("s", retain_bytes=100))
    whole = fill(store, "s", PIECES)
    one(store, Create("f", fork=Fork("s", 300), retain_bytes=1000))
    trim(store)
    assert content(store, "f") == whole[:300]
    run(store, Trim("s", stat(store, "s").id, 400))
    assert stat(store, "s").start == 0
    one(store, Delete("f"))
    trim(store)
    assert stat(store, "s").start == 400


def test_a_fork_of_what_is_left_begins_where_its_source_does(store: Store) -> None:
    one(store, Create("s", retain_bytes=100))
    whole = fill(store, "s", PIECES)
    trim(store)
    assert not one(store, Create("f", fork=Fork("s", 399))).ok
    one(store, Create("f", fork=Fork("s", 450)))
    info = stat(store, "f")
    assert (info.start, info.tail, info.retain_bytes) == (400, 450, 100)
    assert store.read(info, 400, 100) == whole[400:450]


# --------------------------------------------------------------------------- over HTTP


@pytest.mark.anyio
@pytest.mark.usefixtures("each_protocol")
async def test_retention_over_http() -> None:
    async with served() as server:
        created = await server.put("s", Stream_Retain_Bytes="10")
        assert created.status == 201
        assert (await server.put("s", Stream_Retain_Bytes="10")).status == 200
        assert (await server.put("s")).status == 200
        assert (await server.put("s", Stream_Retain_Bytes="11")).status == 409
        for number in range(10):
            await server.post("s", b"%04d\n" % number)
            await server.log.tidy()
        await server.log.sweep()
        (listed,) = [describe(one) for one in await server.log.list_streams()]
        assert (listed["earliestOffset"], listed["size"]) == (format_offset(40), 10)
        assert (listed["retainBytes"], listed["retainSeconds"]) == (10, None)
        head = await server.ask("HEAD", "s")
        assert head["stream-earliest-offset"] == format_offset(40)
        assert head["stream-retain-bytes"] == "10"
        assert (await server.get("s?offset=-1")).body == b"0008\n0009\n"
        assert (await server.get(f"s?offset={format_offset(40)}")).body == b"0008\n0009\n"
        assert (await server.get("s?offset=now")).body == b""
        for live in ("", "&live=long-poll", "&live=sse", "&live=raw"):
            gone = await server.get(f"s?offset={format_offset(39)}{live}")
            assert (gone.status, gone.json()["error"]["code"]) == (410, "offset_gone")
            assert gone["stream-earliest-offset"] == format_offset(40)
            assert gone["cache-control"] == "no-store"


@pytest.mark.anyio
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "ten", "", "99999999999999999999"])
@pytest.mark.parametrize("name", ["Stream_Retain_Bytes", "Stream_Retain_Seconds"])
async def test_a_retention_that_is_none(name: str, value: str) -> None:
    async with served() as server:
        refused = await server.put("s", **{name: value})
        assert refused.status == 400
        assert name.replace("_", "-") in refused.json()["error"]["message"]


@pytest.mark.anyio
async def test_a_reader_that_retention_overtakes_is_told() -> None:
    async with await Log.open() as log:
        await log.transact(Create("s", retain_bytes=1000))
        await log.transact(Append("s", b"x" * 100))
        async with log.reader("s", 0) as reader:
            assert len((await reader.read(50)).data) == 50
            for _ in range(3):
                await log.transact(Append("s", b"y" * 1000))
                await log.tidy()
            await log.sweep()
            with pytest.raises(OffsetGoneError):
                await reader.next()
        async with log.reader("s", EARLIEST) as reader:
            assert (await reader.read()).start == 2100


@pytest.mark.anyio
async def test_a_live_answer_goes_on_while_its_stream_is_kept_tidy() -> None:
    async with served(PATIENT) as server:
        await server.put("s", Stream_Retain_Bytes="100000")
        async with server.live("s?offset=-1&live=raw") as (connection, _):
            await server.waiting("s")
            received = b""
            for number in range(30):
                await server.post("s", b"%02d" % number * 5000)
                await server.log.sweep()
                await server.log.tidy()
                while len(received) < (number + 1) * 10_000:
                    received += await connection.chunk()
        assert received == b"".join(b"%02d" % number * 5000 for number in range(30))
