"""Lifetimes by an injected clock, and what a hundred turns leave behind."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable_streams_server import Append, Create, Delete, Log, NotFound, StreamNotFoundError
from durable_streams_server._url import open_store
from streams.builders import NOW
from streams.gate import PATIENCE
from streams.test_store import tamper

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def _touched_at(log: Log, path: str) -> float:
    stream = await log.stat(path)
    assert stream is not None
    return stream.touched_at


async def test_reads_and_writes_slide_the_window(clock: Clock) -> None:
    async with await Log.open(clock=clock) as log:
        await log.transact(Create("s", ttl_seconds=100))
        clock.now += 90
        await log.transact(Append("s", b"x"))
        clock.now += 90
        chunk = await log.read("s")
        log.touch(chunk.stream)
        await log.transact(Create("barrier"))  # the touch was queued before it
        assert await _touched_at(log, "s") == clock.now
        clock.now += 99
        assert await log.stat("s") is not None
        clock.now += 1
        assert await log.stat("s") is None
        with pytest.raises(StreamNotFoundError):
            await log.read("s")
        assert (await log.transact(Append("s", b"x"))) == (NotFound("s"),)


async def test_a_window_moved_a_moment_ago_is_left_alone(clock: Clock) -> None:
    async with await Log.open(clock=clock) as log:
        await log.transact(Create("s", ttl_seconds=100))
        async with log.reader("s") as reader:
            clock.now += 5
            log.touch(reader.stream)
            await log.transact(Create("barrier"))
            assert await _touched_at(log, "s") == NOW
            clock.now += 0.1
            log.touch(reader.stream)
            await log.transact(Create("barrier"))
            assert await _touched_at(log, "s") == clock.now


async def test_a_fixed_lifetime_does_not_slide(clock: Clock) -> None:
    async with await Log.open(clock=clock) as log:
        await log.transact(Create("s", expires_at=NOW + 100))
        async with log.reader("s") as reader:
            clock.now += 99
            await log.transact(Append("s", b"x"))
            log.touch(reader.stream)
        clock.now += 1
        assert await log.stat("s") is None


async def test_the_sweep_removes_what_is_over_and_wakes_its_readers(clock: Clock) -> None:
    async with await Log.open(clock=clock) as log:
        await log.transact(
            Create("ttl", data=b"x", ttl_seconds=10),
            Create("fixed", data=b"x", expires_at=NOW + 10),
            Create("kept", data=b"x", ttl_seconds=11),
        )
        async with log.reader("ttl", 1) as one, log.reader("fixed", 1) as two:
            waits = [asyncio.create_task(reader.next(PATIENCE)) for reader in (one, two)]
            await log.sweep()
            assert not any(wait.done() for wait in waits)
            clock.now += 10
            await log.sweep()
            for wait in waits:
                with pytest.raises(StreamNotFoundError):
                    await wait
        assert await asyncio.to_thread(log._store.expired, clock.now + 0.5) == []
        assert (await log.read("kept")).data == b"x"


async def test_a_log_beats_within_its_lease(unit: float) -> None:
    lease = 0.3 * unit
    async with await Log.open(lease_seconds=lease) as log:
        await log.transact(Create("s", owner=log.node_id))
        async with asyncio.timeout(PATIENCE):
            first = log._store._leases[log.node_id]  # type: ignore[attr-defined]
            while log._store._leases[log.node_id] < first + lease:  # type: ignore[attr-defined]
                assert await log.orphans() == []
                await asyncio.sleep(lease / 10)


async def test_a_node_that_stopped_beating_leaves_orphans(clock: Clock) -> None:
    async with await Log.open(clock=clock, lease_seconds=10) as log:
        await log.transact(Create("s", owner=log.node_id))
        assert await log.orphans() == []
        clock.now += 10
        assert [one.path for one in await log.orphans()] == ["s"]


# --------------------------------------------------------------------------- leaks


async def _ended(threads: set[threading.Thread]) -> None:
    """Wait for threads that have nothing left to do but to end."""
    for thread in threads:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


def _open_files() -> int:
    """How many files this process has open; 0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


async def test_a_hundred_openings_leave_nothing_open(lasting_url: str) -> None:
    async def once() -> None:
        async with await Log.open(lasting_url) as log:
            await log.transact(Create("s"), Append("s", b"x"))
            await log.read("s")

    await once()
    files, threads = _open_files(), set(threading.enumerate())
    for _ in range(100):
        await once()
    assert _open_files() <= files
    new = set(threading.enumerate()) - threads
    await _ended({thread for thread in new if thread.name.startswith("durable-")})


async def test_a_hundred_streams_come_and_go(lasting_url: str) -> None:
    async with await Log.open(lasting_url) as log:
        await log.transact(Create("kept"))
        async with log.reader("kept"):
            pass
        files = _open_files()
        for n in range(100):
            path = f"s/{n % 10}"
            await log.transact(Create(path, data=b"x"))
            async with log.reader(path) as reader:
                await reader.next()
                await log.transact(Delete(path))
        assert set(log._reads._tails) == {"kept"}
        assert _open_files() <= files + 4  # connections of the reading pool
    # Their bytes go a little later than they do.
    async with await Log.open(lasting_url) as log:
        await log.tidy()
    assert await asyncio.to_thread(_chunks, lasting_url) == [(0,)]


def _chunks(url: str) -> list[Any]:
    with closing(open_store(url)) as store:
        return tamper(store, "SELECT count(*) FROM chunks")


async def test_streams_that_nobody_reads_are_forgotten(log: Log) -> None:
    for n in range(600):
        await log.transact(Create(f"s{n}", data=b"x"))
        await log.read(f"s{n}")
    assert len(log._reads._tails) <= 512
    async with log.reader("s0") as reader:
        assert (await reader.next(0)).data == b"x"


@pytest.mark.parametrize("lifetime", [{"ttl_seconds": 1}, {"expires_at": NOW + 1}])
async def test_a_parked_reader_learns_at_once_that_the_life_is_over(
    lifetime: dict[str, float],
) -> None:
    # A clock that runs, but not with the time of day.
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with await Log.open(clock=lambda: NOW + loop.time() - began) as log:
        await log.transact(Create("s", **lifetime))  # type: ignore[arg-type]
        async with log.reader("s") as reader:
            with pytest.raises(StreamNotFoundError):
                await asyncio.wait_for(reader.next(), PATIENCE)
        assert loop.time() - began >= 1
