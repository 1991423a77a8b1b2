"""The log in one event loop: who sees what, when, and who is let go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import (
    Append,
    Appended,
    Chunk,
    Create,
    Delete,
    Log,
    LogClosedError,
    NotOwner,
    OffsetOutOfRangeError,
    Outcome,
    Producer,
    Reader,
    StoreUrlError,
    StreamNotFoundError,
)
from durable_streams_server import _log as log_module
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._tail import WINDOW_BYTES
from durable_streams_server._url import open_store
from streams.gate import PATIENCE, Gate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def waiting(work: asyncio.Task[Chunk]) -> None:
    """Let a reader come to its wait: it takes nothing from a thread on its way there."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not work.done()


def hold_the_answer(log: Log, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store tells to a reader who enters waits at the gate."""
    peers = log._store.peers
    if peers is None:
        monkeypatch.setattr(log._store, "stat", gate.after(log._store.stat))
    else:
        monkeypatch.setattr(peers, "stats", gate.after(peers.stats))


async def drained(reader: Reader) -> bytes:
    """Everything up to the close."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while True:
            chunk = await reader.next()
            assert chunk.start == len(data)
            data += chunk.data
            if chunk.closed:
                return data


# --------------------------------------------------------------------------- reading


async def test_a_reader_follows_and_ends_with_the_stream(log: Log) -> None:
    await log.transact(Create("s", data=b"one"))
    async with log.reader("s") as reader:
        first = await reader.next()
        assert (first.data, first.up_to_date, first.closed) == (b"one", True, False)
        following = asyncio.create_task(reader.next())
        await waiting(following)
        await log.transact(Append("s", b"two"))
        second = await following
        assert (second.start, second.end, second.data) == (3, 6, b"two")
        following = asyncio.create_task(reader.next())
        await waiting(following)
        await log.transact(Append("s", b"end", close=True))
        last = await following
        assert (last.data, last.closed, last.up_to_date) == (b"end", True, True)
        after = await reader.next()
        assert (after.data, after.closed, reader.position) == (b"", True, 9)


async def test_a_close_without_bytes_wakes_a_reader(log: Log) -> None:
    await log.transact(Create("s", data=b"x"))
    async with log.reader("s", 1) as reader:
        following = asyncio.create_task(reader.next())
        await waiting(following)
        await log.transact(Append("s", close=True))
        chunk = await following
        assert (chunk.data, chunk.closed) == (b"", True)


async def test_data_comes_before_the_close_even_to_a_late_reader(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        await log.transact(Append("s", b"data"))
        await log.transact(Append("s", close=True))
        chunk = await reader.next()
        assert (chunk.data, chunk.closed) == (b"data", True)


async def test_an_append_between_entering_and_waiting_is_not_lost(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        await log.transact(Append("s", b"between"))
        assert (await reader.next(PATIENCE)).data == b"between"


async def test_an_append_while_a_reader_enters_is_not_lost(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.transact(Create("s", data=b"a"))
    gate = Gate()
    hold_the_answer(log, gate, monkeypatch)
    reader = log.reader("s", 1)
    entering = asyncio.create_task(reader.__aenter__())
    await gate.reached()
    await log.transact(Append("s", b"b"))  # later than what the reader was told by the store
    gate.open()
    await entering
    try:
        assert (await reader.next(PATIENCE)).data == b"b"
    finally:
        await reader.__aexit__(None, None, None)


async def test_a_delete_while_a_reader_enters_is_seen(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.transact(Create("s", data=b"a"))
    gate = Gate()
    hold_the_answer(log, gate, monkeypatch)
    entering = asyncio.create_task(log.reader("s").__aenter__())
    await gate.reached()
    await log.transact(Delete("s"))
    gate.open()
    with pytest.raises(StreamNotFoundError):
        await entering


async def test_a_reader_behind_the_window_reads_from_the_store(log: Log) -> None:
    await log.transact(Create("s"))
    pieces = [bytes([n]) * 10_000 for n in range(30)]
    assert sum(map(len, pieces)) > 2 * WINDOW_BYTES
    async with log.reader("s") as slow, log.reader("s") as fast:
        for piece in pieces:
            await log.transact(Append("s", piece))
            assert (await fast.next(PATIENCE)).data == piece
        await log.transact(Append("s", close=True))
        assert await drained(slow) == b"".join(pieces)


async def test_what_a_slow_reader_is_told_belongs_to_its_own_stream(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.transact(Create("s", data=b"old"))
    gate = Gate()
    monkeypatch.setattr(log._store, "read", gate.after(log._store.read))
    async with log.reader("s") as reader:
        reading = asyncio.create_task(reader.read())
        await gate.reached()
        created = await log.transact(Delete("s"), Create("s", data=b"new", closed=True))
        assert all(outcome.ok for outcome in created)
        gate.open()
        chunk = await reading
        assert (chunk.data, chunk.closed) == (b"old", False)
        assert chunk.stream.id == reader._stream_id
        with pytest.raises(StreamNotFoundError):
            await reader.next(0)


async def test_many_readers_get_the_same_bytes(log: Log) -> None:
    await log.transact(Create("s"))
    readers = [log.reader("s") for _ in range(50)]
    for reader in readers:
        await reader.__aenter__()
    following = [asyncio.create_task(drained(reader)) for reader in readers]
    expected = b""
    for n in range(40):
        data = b"%d;" % n * (n * 60)
        await log.transact(Append("s", data or b"0"))
        expected += data or b"0"
    await log.transact(Append("s", close=True))
    assert set(await asyncio.gather(*following)) == {expected}
    for reader in readers:
        await reader.__aexit__(None, None, None)


@pytest.mark.parametrize("max_bytes", [1, 3, 8])
async def test_json_readers_get_whole_messages(log: Log, max_bytes: int) -> None:
    await log.transact(Create("s", "application/json", data=b'"early",'))
    async with log.reader("s") as live:
        for text in (b'"a,]",', b"[2],", b"3,"):
            await log.transact(Append("s", text))
        texts = []
        while not (chunk := await live.read(max_bytes)).up_to_date:
            texts.append(chunk.data)
        texts.append(chunk.data)
        assert b"".join(texts) == b'"early","a,]",[2],3,'
        assert all(text.endswith(b",") for text in texts if text)


async def test_a_binary_read_is_cut(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        await log.transact(Append("s", b"abcdef"))
        pieces = [(await reader.read(4)).data for _ in range(3)]
        assert pieces == [b"abcd", b"ef", b""]


async def test_where_nothing_can_be_read(log: Log) -> None:
    with pytest.raises(StreamNotFoundError, match="'nowhere'"):
        await log.read("nowhere")
    await log.transact(Create("s", data=b"abc"))
    with pytest.raises(OffsetOutOfRangeError, match="past the tail 3") as error:
        await log.read("s", 4)
    assert (error.value.position, error.value.tail) == (4, 3)
    assert (await log.read("s", 3)).data == b""
    assert await log.stat("nowhere") is None


# --------------------------------------------------------------------------- letting go


async def test_a_reader_of_a_deleted_stream_is_told(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        following = asyncio.create_task(reader.next())
        await waiting(following)
        await log.transact(Delete("s"))
        with pytest.raises(StreamNotFoundError):
            await following


async def test_a_reader_does_not_slip_into_the_next_incarnation(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        following = asyncio.create_task(reader.next())
        await waiting(following)
        await log.transact(Delete("s"), Create("s", data=b"somebody else's"))
        with pytest.raises(StreamNotFoundError):
            await following
    assert (await log.read("s")).data == b"somebody else's"


async def test_a_time_limit_gives_an_empty_chunk(log: Log, unit: float) -> None:
    await log.transact(Create("s", data=b"x"))
    async with log.reader("s", 1) as reader:
        chunk = await reader.next(0.01 * unit)
        assert (chunk.data, chunk.closed, chunk.start, chunk.end) == (b"", False, 1, 1)
        await log.transact(Append("s", b"y"))
        assert (await reader.next(0)).data == b"y"


async def test_stop_ends_one_reader_for_good(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as stopped, log.reader("s") as other:
        waits = [asyncio.create_task(one.next()) for one in (stopped, other)]
        await waiting(waits[0])
        stopped.stop()
        assert (await waits[0]).data == b""
        assert (await stopped.next()).data == b""
        assert stopped.stopped
        await waiting(waits[1])
        await log.transact(Append("s", b"x"))
        assert (await waits[1]).data == b"x"


async def test_released_readers_stop_waiting_while_writing_goes_on(log: Log) -> None:
    await log.transact(Create("s"))
    async with log.reader("s") as reader:
        following = asyncio.create_task(reader.next())
        await waiting(following)
        log.release_readers()
        assert (await following).data == b""
        await log.transact(Append("s", b"x"))
        assert (await reader.next()).data == b"x"
        assert (await reader.next()).data == b"", "and it does not wait again"


# --------------------------------------------------------------------------- writing


async def test_bytes_are_visible_once_they_are_on_disk_and_not_before(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.transact(Create("s"))
    gate = Gate()
    monkeypatch.setattr(log._store, "commit", gate.before(log._store.commit))
    async with log.reader("s") as reader:
        appending = asyncio.create_task(log.transact(Append("s", b"x")))
        await gate.reached()
        assert (await reader.next(0)).data == b""
        assert (await log.read("s")).data == b""
        assert not appending.done()
        gate.open()
        await appending
        assert (await reader.next(0)).data == b"x", "there as soon as it is acknowledged"


async def test_an_offset_that_a_reader_was_given_is_always_good(
    lasting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit can be read from the file before the log has heard that it is done."""
    async with await Log.open(lasting_url) as log:
        await log.transact(Create("s", data=b"old,"))
        gate = Gate()
        async with log.reader("s") as behind:
            monkeypatch.setattr(log._store, "commit", gate.after(log._store.commit))
            appending = asyncio.create_task(log.transact(Append("s", b"new,")))
            await gate.reached()
            chunk = await behind.read()
            async with log.reader("s", chunk.end):
                pass
            gate.open()
            await appending
            assert chunk.data + (await behind.read()).data == b"old,new,"


async def test_concurrent_appends_follow_each_other_without_gap(log: Log) -> None:
    await log.transact(Create("s"))
    sizes = [1 + n % 7 for n in range(300)]
    results = await asyncio.gather(
        *(log.transact(Append("s", b"%c" % (65 + size) * size)) for size in sizes)
    )
    spans = []
    for (outcome,), size in zip(results, sizes, strict=True):
        assert isinstance(outcome, Appended)
        assert outcome.end - outcome.start == size
        spans.append((outcome.start, outcome.end, size))
    spans.sort()
    assert [start for start, _, _ in spans] == [0, *(end for _, end, _ in spans[:-1])]
    data = (await log.read("s")).data
    assert data == b"".join(b"%c" % (65 + size) * size for _, _, size in spans)


async def test_a_cancelled_append_happens_once_or_not_at_all(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.transact(Create("s"))
    gate = Gate()
    monkeypatch.setattr(log._store, "commit", gate.before(log._store.commit))
    append = Append("s", b"x", producer=Producer("p", 0, 0))
    async with log.reader("s") as reader:
        appending = asyncio.create_task(log.transact(append))
        await gate.reached()
        appending.cancel()
        await asyncio.wait([appending])
        assert appending.cancelled()
        gate.open()
        again = (await log.transact(append))[0]
        assert again.ok
        await log.transact(Append("s", close=True))
        assert await drained(reader) == b"x"


async def test_owners_of_two_logs(lasting_url: str) -> None:
    async with await Log.open(lasting_url) as first:
        await first.transact(Create("s", owner=first.node_id))
        assert await first.orphans() == []
        old = first.node_id
    async with await Log.open(lasting_url) as second:
        assert second.node_id != old
        assert [one.path for one in await second.orphans()] == ["s"]
        assert [one.owner for one in await second.owned()] == [old]
        foreign = (await second.transact(Append("s", b"x", owner=second.node_id)))[0]
        assert isinstance(foreign, NotOwner)
        reaped = (await second.transact(Append("s", close=True, owner=old, reaping=True)))[0]
        assert reaped.ok
        assert await second.orphans() == []


# --------------------------------------------------------------------------- closing


async def test_close_commits_what_is_queued_and_sends_readers_home(
    lasting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await Log.open(lasting_url)
    await log.transact(Create("s"))
    gate = Gate()
    monkeypatch.setattr(log._store, "commit", gate.before(log._store.commit))
    async with log.reader("s") as reader:
        following = asyncio.create_task(reader.next())
        appends = [asyncio.create_task(log.transact(Append("s", b"%d" % n))) for n in range(9)]
        await gate.reached()
        closing = asyncio.create_task(log.close())
        assert (await following).data == b""
        with pytest.raises(LogClosedError):
            await log.transact(Append("s", b"late"))
        gate.open()
        outcomes: list[tuple[Outcome, ...]] = await asyncio.gather(*appends)
        await closing
    assert all(one.ok for (one,) in outcomes)
    async with await Log.open(lasting_url) as again:
        assert (await again.read("s")).data == b"012345678"


async def test_everybody_who_closes_waits_for_the_one_end(
    lasting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await Log.open(lasting_url)
    gate = Gate()
    monkeypatch.setattr(log._store, "close", gate.before(log._store.close))
    impatient, patient = (asyncio.create_task(log.close()) for _ in range(2))
    await gate.reached()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert not patient.done()
    gate.open()
    await patient
    async with await Log.open(lasting_url):
        pass


async def test_a_cancelled_opening_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    gate, closed = Gate(), asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(log_module, "open_store", gate.after(open_store))
    close = SqliteStore.close

    def close_and_tell(store: SqliteStore) -> None:
        close(store)
        loop.call_soon_threadsafe(closed.set)

    monkeypatch.setattr(SqliteStore, "close", close_and_tell)
    opening = asyncio.create_task(Log.open(url))
    await gate.reached()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    gate.open()
    await asyncio.wait_for(closed.wait(), PATIENCE)
    monkeypatch.undo()
    async with await Log.open(url):
        pass


async def test_house_keeping_that_the_close_overtakes_is_no_failure(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = await Log.open(url)
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)  # it has begun, and has not come to the chores yet
    await asyncio.wait_for(log._every(0, "house-keeping", log.tidy), PATIENCE)
    await closing
    assert not caplog.records


async def test_a_closed_log_refuses_everything(url: str) -> None:
    log = await Log.open(url)
    await log.transact(Create("s", data=b"x"))
    await log.close()
    await log.close()
    for work in (log.transact(Delete("s")), log.read("s"), log.stat("s"), log.orphans()):
        with pytest.raises(LogClosedError):
            await work
    assert str(LogClosedError()) == "the log is closed"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "file",
        "sqlite:",
        "sqlite:///",
        "sqlite://host/file",
        "mysql://h/x",
        "postgresql://",
        "sqlite+x:///f",
    ],
)
async def test_unknown_stores(bad: str) -> None:
    with pytest.raises(StoreUrlError, match="sqlite:///relative/file"):
        await Log.open(bad)


async def test_a_url_may_name_memory_in_two_ways() -> None:
    async with await Log.open("sqlite:///:memory:") as log:
        store = log._store
        assert isinstance(store, SqliteStore)
        assert store.file is None
