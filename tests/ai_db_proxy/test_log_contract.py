"""What the service relies on, of the log in this process and of one on a server."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from durable_ai_db_proxy import EmbeddedLog, RemoteLog
from durable_ai_db_proxy._log import FencedError, MissingError, Outpaced, Stored
from durable_streams_server import Log, StreamsApp
from streams.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_ai_db_proxy._log import SessionLog

LEASE = 1.0


@asynccontextmanager
async def remote() -> AsyncIterator[str]:
    """A server of streams."""
    async with await Log.open() as log, serving(StreamsApp(log), log) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(params=["embedded", "remote"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[SessionLog]:
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            yield EmbeddedLog(await stack.enter_async_context(await Log.open()))
        else:
            url = await stack.enter_async_context(remote())
            yield await stack.enter_async_context(RemoteLog(url, lease_seconds=LEASE))


def rows(*values: Any) -> list[bytes]:
    return [json.dumps(one).encode() for one in values]


async def test_streams_are_made_once_and_read_from_any_offset(log: SessionLog) -> None:
    assert await log.create("sessions/a")
    assert not await log.create("sessions/a")
    await log.add("sessions/a", rows(1, 2))
    first = await log.read("sessions/a", "-1")
    assert list(first.items) == [1, 2]
    await log.add("sessions/a", rows({"€": [3]}))
    rest = await log.read("sessions/a", first.offset)
    assert list(rest.items) == [{"€": [3]}]
    assert list((await log.read("sessions/a", rest.offset)).items) == []
    with pytest.raises(MissingError):
        await log.read("sessions/b", "-1")
    with pytest.raises(MissingError):
        await log.add("sessions/b", rows(1))


async def test_a_number_is_taken_once(log: SessionLog) -> None:
    await log.create("sessions/a")
    assert await log.append("sessions/a", rows(1), 1) == Stored()
    assert await log.append("sessions/a", rows(2), 1) == Outpaced()
    await log.add("sessions/a", rows("between"))
    outcomes = await asyncio.gather(*(log.append("sessions/a", rows(n), 2) for n in range(5)))
    assert sorted(map(repr, outcomes)) == ["Outpaced()"] * 4 + ["Stored()"]
    assert await log.append("sessions/a", rows(10), 10) == Stored()
    assert await log.append("sessions/a", rows(9), 9) == Outpaced()
    assert len((await log.read("sessions/a", "-1")).items) == 4


async def test_only_the_newest_epoch_writes(log: SessionLog) -> None:
    await log.create("sessions/a")
    async with log.writer("sessions/a", "run:1", 0) as old:
        await old.write(rows(1, 2))
        async with log.writer("sessions/a", "run:1", 1) as new:
            await new.write(rows("taken over"))
            with pytest.raises(FencedError):
                await old.write(rows(3))
            await new.write(rows("end"))
    assert list((await log.read("sessions/a", "-1")).items) == [1, 2, "taken over", "end"]


async def test_a_fork_has_the_first_rows_and_numbers_of_its_own(log: SessionLog) -> None:
    await log.create("sessions/a")
    await log.append("sessions/a", rows(1, 2, 3), 1)
    await log.append("sessions/a", rows(4, 5), 7)
    assert await log.fork("sessions/b", "sessions/a", 2)
    assert not await log.fork("sessions/b", "sessions/a", 2)
    assert list((await log.read("sessions/b", "-1")).items) == [1, 2]
    assert await log.append("sessions/b", rows("b"), 2) == Stored()
    assert await log.fork("sessions/c", "sessions/a", 5)
    assert list((await log.read("sessions/c", "-1")).items) == [1, 2, 3, 4, 5]
    assert list((await log.read("sessions/a", "-1")).items) == [1, 2, 3, 4, 5]
    with pytest.raises(MissingError):
        await log.fork("sessions/d", "sessions/none", 0)
    assert await log.delete("sessions/a")
    with pytest.raises(MissingError) as gone:
        await log.read("sessions/a", "-1")
    assert gone.value.gone
    with pytest.raises(MissingError):
        await log.create("sessions/a")
    assert list((await log.read("sessions/b", "-1")).items) == [1, 2, "b"]
    assert await log.delete("sessions/b")
    assert not await log.delete("sessions/b")


async def test_waiting_ends_with_news_or_in_time(log: SessionLog, unit: float) -> None:
    await log.create("sessions/a")
    await log.add("sessions/a", rows(1))
    offset = (await log.read("sessions/a", "-1")).offset
    await log.wait("sessions/a", offset, 0.05 * unit)
    waiting = asyncio.create_task(log.wait("sessions/a", offset, 60 * unit))
    await asyncio.sleep(0.05 * unit)
    await log.add("sessions/a", rows(2))
    async with asyncio.timeout(5 * unit):
        await waiting


async def test_what_a_node_noted_is_there_when_it_is_gone(unit: float) -> None:
    async with remote() as url:
        gone = RemoteLog(url, lease_seconds=LEASE * unit)
        async with RemoteLog(url, lease_seconds=LEASE * unit) as here:
            async with gone:
                for session in ("a", "b", "a"):
                    await gone.note(session)
                assert await here.lost() == []
            (lost,) = await here.lost()
            assert (lost.node, list(lost.sessions)) == (gone.node, ["a", "b"])
            await here.bury(gone.node)
            assert await here.lost() == []
            await asyncio.sleep(1.5 * LEASE * unit)
            await here.note("c")
            async with RemoteLog(url, lease_seconds=LEASE * unit) as other:
                assert await other.lost() == []
