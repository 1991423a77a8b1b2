"""Server processes on one database: two that know nothing of each other, and workers of one."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from durable_transport.protocol import format_offset
from streams.command import ServeProcess, command
from streams.gate import PATIENCE
from streams.test_http_live import Events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def nodes(postgres: Database) -> AsyncIterator[tuple[ServeProcess, ServeProcess]]:
    """Give two server processes on one database."""
    async with AsyncExitStack() as stack:
        here, there = ServeProcess(postgres.url), ServeProcess(postgres.url)
        yield await stack.enter_async_context(here), await stack.enter_async_context(there)


async def test_live_readers_of_one_process_follow_the_other(
    nodes: tuple[ServeProcess, ServeProcess],
) -> None:
    here, there = nodes
    await here.put("s", b"0")
    start = f"s?offset={format_offset(1)}"
    async with (
        asyncio.timeout(PATIENCE),
        there.live(f"{start}&live=sse") as (sse, _),
        there.live(f"{start}&live=raw") as (raw, _),
    ):
        events = Events(sse)
        assert (await events.next()).control()
        for number in range(1, 4):
            poll = asyncio.create_task(
                there.get(f"s?offset={format_offset(number)}&live=long-poll")
            )
            await asyncio.sleep(0.05)
            await here.post("s", b"%d" % number)
            assert (await poll).body == b"%d" % number
            assert (await events.next()).data == f"{number}"
            assert (await events.next()).control()
            assert await raw.chunk() == b"%d" % number
        await here.close("s")
        assert (await events.next()).control()["streamClosed"] is True
        assert await raw.chunk() == b""
    closed = await there.get("s?offset=-1")
    assert (closed.body, closed["stream-closed"]) == (b"0123", "true")


async def test_writers_of_two_processes_are_told_the_same(
    nodes: tuple[ServeProcess, ServeProcess],
) -> None:
    here, there = nodes
    assert (await here.put("s")).status == 201
    assert (await there.put("s")).status == 200
    for seq in range(4):
        headers = {"Producer_Id": "p", "Producer_Epoch": "0", "Producer_Seq": f"{seq}"}
        first, second = nodes if seq % 2 else nodes[::-1]
        assert (await first.post("s", b"%d" % seq, **headers)).status == 200
        assert (await second.post("s", b"%d" % seq, **headers)).status == 204
        head = await second.ask("HEAD", "s")
        assert head["stream-next-offset"] == format_offset(seq + 1)
    stale = {"Producer_Id": "p", "Producer_Epoch": "1", "Producer_Seq": "0"}
    await here.post("s", b"4", **stale)
    late = {"Producer_Id": "p", "Producer_Epoch": "0", "Producer_Seq": "4"}
    assert (await there.post("s", b"x", **late)).status == 403
    fork = await there.put("f", Stream_Forked_From="/v1/stream/s")
    assert fork.status == 201
    assert (await here.ask("DELETE", "s")).status == 204
    assert (await there.get("s?offset=-1")).status == 410
    assert (await here.get("f?offset=-1")).body == b"01234"
    assert (await there.ask("DELETE", "f")).status == 204
    assert (await here.get("s?offset=-1")).status == 404


async def test_an_acknowledged_append_outlives_its_process(
    nodes: tuple[ServeProcess, ServeProcess],
) -> None:
    here, there = nodes
    await here.put("s")
    for number in range(20):
        assert (await here.post("s", b"%d;" % number)).status == 204
    here.signal(signal.SIGKILL)
    assert (await there.get("s?offset=-1")).body == b"".join(b"%d;" % n for n in range(20))
    assert (await there.post("s", b"on")).status == 204


# --------------------------------------------------------------------------- workers


def workers_of(process: ServeProcess) -> list[int]:
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:  # noqa: PTH123
        return [int(pid) for pid in file.read().split()]


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):  # noqa: ASYNC110, ASYNC240, PTH110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_workers_share_a_port_and_end_with_their_parent(
    postgres: Database, number: signal.Signals
) -> None:
    async with ServeProcess(postgres.url, "--workers", "3") as server:
        workers = workers_of(server)
        assert len(workers) == 3
        await server.put("s")
        replies = await asyncio.gather(*(server.post("s", b"%d;" % n) for n in range(60)))
        assert {reply.status for reply in replies} == {204}
        bodies = {(await server.get("s?offset=-1")).body for _ in range(10)}
        assert len(bodies) == 1
        assert sorted(bodies.pop().split(b";")[:-1]) == sorted(b"%d" % n for n in range(60))
        server.signal(number)
        assert await server.ended() == 0
        await gone(workers)


async def test_a_worker_that_dies_takes_the_server_along(postgres: Database) -> None:
    async with ServeProcess(postgres.url, "--workers", "3") as server:
        workers = workers_of(server)
        os.kill(workers[1], signal.SIGKILL)
        assert await server.ended() == 1
        await gone(workers)
        assert str(workers[1]) in server.errors()


async def test_workers_whose_parent_is_killed_end(postgres: Database) -> None:
    async with ServeProcess(postgres.url, "--workers", "2") as server:
        workers = workers_of(server)
        server.signal(signal.SIGKILL)
        await gone(workers)


@pytest.mark.parametrize("store", ["sqlite://", "sqlite:///never.sqlite"])
def test_a_file_has_no_room_for_workers(store: str) -> None:
    done = command("serve", "--port", "0", "--store", store, "--workers", "2")
    assert done.returncode == 2
    assert "a SQLite store belongs to one process" in done.stderr
    assert "--store postgresql://" in done.stderr


async def test_no_password_is_told(postgres: Database) -> None:
    user, _, place = postgres.url.removeprefix("postgresql://").partition("@")
    async with ServeProcess(f"postgresql://{user}:very-secret@{place}") as server:
        assert "very-secret" not in server.errors() + server.line
        assert place in server.line
    done = command("serve", "--port", "0", "--store", f"postgresql://u:very-secret@{place}-no")
    assert done.returncode == 1
    assert "very-secret" not in done.stderr
