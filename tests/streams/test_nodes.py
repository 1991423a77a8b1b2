"""Several logs on one database: what one acknowledged, every other one shows."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Created,
    Delete,
    Duplicate,
    Exists,
    Fork,
    Heartbeat,
    Log,
    NotOwner,
    Producer,
    Reader,
    StreamClosed,
    StreamGoneError,
    StreamNotFoundError,
)
from durable_streams_server._tail import WINDOW_BYTES
from durable_streams_server._url import open_store
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.postgres import Database

pytestmark = pytest.mark.anyio

QUICK = "poll=0.05"
NEVER = "poll=3000"


@pytest.fixture(params=[f"notify=off&{QUICK}", f"notify=on&{NEVER}"], ids=["polls", "is told"])
async def nodes(request: pytest.FixtureRequest, postgres: Database) -> AsyncIterator[list[Log]]:
    """Give two logs on one database, which have only one way to hear of each other."""
    async with opened(postgres, request.param, 2) as logs:
        yield logs


@asynccontextmanager
async def opened(postgres: Database, settings: str, count: int) -> AsyncIterator[list[Log]]:
    async with AsyncExitStack() as stack:
        url = f"{postgres.url}?{settings}"
        yield [await stack.enter_async_context(await Log.open(url)) for _ in range(count)]


async def everything(reader: Reader) -> bytes:
    """All bytes up to the close, each exactly where the one before ended."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        while True:
            chunk = await reader.next()
            assert chunk.start == len(data)
            data += chunk.data
            if chunk.closed:
                return data


# --------------------------------------------------------------------------- reading


async def test_what_one_acknowledged_the_other_reads_at_once(nodes: list[Log]) -> None:
    here, there = nodes
    expected = b""
    await here.transact(Create("s"))
    for number in range(40):
        writer, reader = (here, there) if number % 2 else (there, here)
        (outcome,) = await writer.transact(Append("s", b"%d;" % number))
        assert isinstance(outcome, Appended)
        assert outcome.start == len(expected)
        expected += b"%d;" % number
        found = await reader.stat("s")
        assert found is not None
        assert found.tail == len(expected)
        assert (await reader.read("s")).data == expected


async def test_a_waiting_reader_is_woken_by_the_other_node(nodes: list[Log]) -> None:
    here, there = nodes
    await here.transact(Create("s", data=b"0"))
    async with there.reader("s", 1) as reader:
        for number in range(5):
            waiting = asyncio.create_task(reader.next())
            await asyncio.sleep(0.01)
            await here.transact(Append("s", b"%d" % number))
            async with asyncio.timeout(PATIENCE):
                assert (await waiting).data == b"%d" % number


async def test_a_reader_sees_what_two_nodes_write_without_gap_or_overlap(
    nodes: list[Log],
) -> None:
    here, there = nodes
    await here.transact(Create("s"))
    async with here.reader("s") as one, there.reader("s") as other:
        following = [asyncio.create_task(everything(reader)) for reader in (one, other)]

        async def write(log: Log, letter: bytes) -> None:
            for number in range(60):
                await log.transact(Append("s", letter * (1 + number * 37)))

        await asyncio.gather(write(here, b"h"), write(there, b"t"))
        await here.transact(Append("s", close=True))
        seen = await asyncio.gather(*following)
    assert seen[0] == seen[1] == (await there.read("s", 0, 1 << 20)).data
    assert len(seen[0]) > 2 * WINDOW_BYTES
    assert seen[0].count(b"h") == seen[0].count(b"t") == len(seen[0]) // 2


async def test_a_close_by_the_other_node_comes_after_its_bytes(nodes: list[Log]) -> None:
    here, there = nodes
    await here.transact(Create("s"))
    async with there.reader("s") as reader:
        waiting = asyncio.create_task(everything(reader))
        await asyncio.sleep(0.01)
        await here.transact(Append("s", b"end", close=True))
        assert await waiting == b"end"
    assert isinstance((await there.transact(Append("s", b"x")))[0], StreamClosed)


async def test_a_delete_by_the_other_node_ends_a_reader(nodes: list[Log]) -> None:
    here, there = nodes
    await here.transact(Create("s", data=b"x"))
    async with there.reader("s", 1) as reader:
        waiting = asyncio.create_task(reader.next(PATIENCE))
        await asyncio.sleep(0.01)
        await here.transact(Delete("s"))
        with pytest.raises(StreamNotFoundError):
            await waiting
    assert await there.stat("s") is None
    with pytest.raises(StreamNotFoundError):
        await there.read("s")


async def test_a_stream_made_anew_by_the_other_node_is_another_one(nodes: list[Log]) -> None:
    here, there = nodes
    await here.transact(Create("s", data=b"old bytes"))
    assert (await there.read("s")).data == b"old bytes"
    async with there.reader("s", 9) as reader:
        waiting = asyncio.create_task(reader.next(PATIENCE))
        await asyncio.sleep(0.01)
        await here.transact(Delete("s"), Create("s", data=b"new"))
        with pytest.raises(StreamNotFoundError):
            await waiting
    assert (await there.read("s")).data == b"new"


async def test_a_deleted_source_is_gone_on_the_other_node_and_its_fork_reads(
    nodes: list[Log],
) -> None:
    here, there = nodes
    await here.transact(Create("s", data=b"abc"))
    await there.transact(Create("f", data=b"!", fork=Fork("s", 2)))
    await here.transact(Delete("s"))
    with pytest.raises(StreamGoneError):
        await there.read("s")
    assert (await there.read("f")).data == b"ab!"
    await there.transact(Delete("f"))
    assert await here.stat("s") is None, "the last fork takes its source along"


# --------------------------------------------------------------------------- writing


async def test_a_producer_is_known_to_every_node(nodes: list[Log]) -> None:
    here, there = nodes
    await here.transact(Create("s"))
    for seq in range(6):
        append = Append("s", b"%d" % seq, producer=Producer("p", 0, seq))
        first, second = nodes if seq % 2 else nodes[::-1]
        assert isinstance((await first.transact(append))[0], Appended)
        assert isinstance((await second.transact(append))[0], Duplicate)
    assert (await here.read("s")).data == b"012345"
    assert (await there.read("s")).data == b"012345"


async def test_one_of_many_who_create_a_stream_at_once_has_made_it(nodes: list[Log]) -> None:
    for round_ in range(10):
        paths = [f"{round_}/{number}" for number in range(8)]
        outcomes = await asyncio.gather(
            *(
                log.transact(*[Create(path) for path in order])
                for log in nodes
                for order in (paths, paths[::-1])
            )
        )
        made = [one.stream.path for group in outcomes for one in group if isinstance(one, Created)]
        assert sorted(made) == sorted(paths)
        assert all(isinstance(one, Created | Exists) for group in outcomes for one in group)


async def test_batches_that_name_the_same_streams_all_come_through(nodes: list[Log]) -> None:
    here, there = nodes
    paths = [f"s{number}" for number in range(6)]
    await here.transact(*[Create(path) for path in paths])

    async def write(log: Log, order: list[str]) -> None:
        for _ in range(30):
            outcomes = await log.transact(*[Append(path, b"x") for path in order])
            assert all(one.ok for one in outcomes)

    await asyncio.gather(write(here, paths), write(there, paths[::-1]))
    for path in paths:
        assert (await here.read(path)).data == b"x" * 60


async def test_streams_that_come_and_go_on_two_nodes(nodes: list[Log]) -> None:
    """A stream that is deleted and made anew in one step is always there to append to."""
    here, there = nodes
    await here.transact(Create("s"))
    done = asyncio.Event()

    async def replace() -> None:
        for _ in range(60):
            assert all(one.ok for one in await here.transact(Delete("s"), Create("s")))
        done.set()

    async def append() -> None:
        while not done.is_set():
            assert isinstance((await there.transact(Append("s", b"x")))[0], Appended)

    await asyncio.gather(replace(), append())


# --------------------------------------------------------------------------- owners


async def test_a_lease_holds_on_every_node_and_ends_with_its_log(postgres: Database) -> None:
    async with opened(postgres, QUICK, 1) as (there,):
        async with opened(postgres, QUICK, 1) as (here,):
            await here.transact(Create("s", owner=here.node_id))
            assert await there.orphans() == []
            foreign = Append("s", b"x", owner=there.node_id)
            early = Append("s", close=True, owner=here.node_id, reaping=True)
            for append in (foreign, early):
                assert isinstance((await there.transact(append))[0], NotOwner)
        assert [one.path for one in await there.orphans()] == ["s"]
        assert (await there.transact(early))[0].ok
        assert await there.orphans() == []


async def test_two_who_end_an_orphan_write_one_last_record(postgres: Database) -> None:
    async with opened(postgres, QUICK, 2) as nodes:
        await nodes[0].transact(Create("data", owner="gone"), Create("control", owner="gone"))
        rites = (
            Append("data", close=True, owner="gone", reaping=True),
            Append("control", b"last", close=True, owner="gone", reaping=True),
        )
        outcomes = await asyncio.gather(*(log.transact(*rites) for log in nodes * 3))
        assert sum(all(one.ok for one in group) for group in outcomes) == 1
        assert (await nodes[1].read("control")).data == b"last"


@pytest.mark.parametrize("ahead", [-1000.0, 1000.0])
async def test_a_clock_that_is_wrong_keeps_nobody_alive_and_kills_nobody(
    postgres: Database, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    now = time.time

    def wrong() -> float:
        return now() + ahead

    async with opened(postgres, QUICK, 1) as (right,):
        monkeypatch.setattr(
            "durable_streams_server._postgres.time",
            SimpleNamespace(time=wrong, monotonic=time.monotonic),
        )
        monkeypatch.setattr(
            "durable_streams_server._postgres_batch.time", SimpleNamespace(time=wrong)
        )
        store = await asyncio.to_thread(open_store, postgres.url)
        try:
            owned = (Create("s", owner="wrong"), Create("r", owner=right.node_id))
            for group in (owned, (Heartbeat("wrong", wrong() + 30),)):
                await asyncio.to_thread(store.commit, [group], wrong())
            assert await right.orphans() == []
            assert await asyncio.to_thread(store.orphans, wrong()) == []
            late = await asyncio.to_thread(right._store.orphans, now() + 29)
            assert [one.path for one in late] == ["r"]
            late = await asyncio.to_thread(right._store.orphans, now() + 31)
            assert {one.path for one in late} == {"r", "s"}
        finally:
            await asyncio.to_thread(store.close)
