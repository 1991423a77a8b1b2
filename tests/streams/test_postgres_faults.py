"""A database that goes away, goes silent, or answers too late: nothing is lost, nothing hangs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Duplicate,
    Log,
    Producer,
    StorageError,
    StreamsApp,
)
from durable_streams_server import _postgres_database as database_module
from durable_streams_server import _postgres_wakeups as wakeups_module
from streams.forwarder import Forwarder, listens
from streams.gate import PATIENCE
from streams.serving import PATIENT, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection

    from streams.postgres import Database

pytestmark = pytest.mark.anyio

QUICK = "poll=0.05"
NEVER = "poll=3000"
HASTY = "timeout=0.5&connect_timeout=2"


@pytest.fixture
async def forwarder(postgres: Database) -> AsyncIterator[Forwarder]:
    """Give a way to the database that can be cut."""
    port = int(postgres.url.rpartition(":")[2].partition("/")[0])
    async with Forwarder(port) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent is given up after half a second, and looked after as often."""
    monkeypatch.setattr(database_module, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(wakeups_module, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(wakeups_module, "RETRY_SECONDS", 0.1)


def through(forwarder: Forwarder, postgres: Database, settings: str) -> str:
    head, _, rest = postgres.url.rpartition(":")
    return f"{head}:{forwarder.port}/{rest.partition('/')[2]}?{settings}"


@asynccontextmanager
async def following(here: Log, there: Log) -> AsyncIterator[None]:
    """A reader on one node that gets what the other one writes, before and after the block."""
    await here.transact(Create("s"))
    async with there.reader("s") as reader:

        async def deliver(data: bytes) -> None:
            waiting = asyncio.create_task(reader.next())
            await asyncio.sleep(0.02)
            await here.transact(Append("s", data))
            async with asyncio.timeout(PATIENCE):
                assert (await waiting).data == data

        await deliver(b"before")
        yield
        for number in range(3):
            await deliver(b"after %d" % number)


# --------------------------------------------------------------------------- wake-ups


@pytest.mark.parametrize("settings", [QUICK, NEVER], ids=["polling", "listening again"])
async def test_a_listener_that_is_killed(postgres: Database, settings: str) -> None:
    url = f"{postgres.url}?{settings}"
    async with await Log.open(url) as here, await Log.open(url) as there, following(here, there):
        ended = await asyncio.to_thread(
            postgres.execute,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%%'",
        )
        assert len(ended) == 2


@pytest.mark.parametrize("settings", [QUICK, NEVER], ids=["polling", "listening again"])
async def test_a_listener_whose_connection_is_dead_without_knowing(
    postgres: Database, forwarder: Forwarder, settings: str
) -> None:
    url = through(forwarder, postgres, f"{settings}&{HASTY}")
    async with (
        await Log.open(postgres.url) as here,
        await Log.open(url) as there,
        following(here, there),
    ):
        assert forwarder.freeze(listens) == 1


# --------------------------------------------------------------------------- no database


async def test_a_database_that_goes_away_and_comes_back(
    postgres: Database, forwarder: Forwarder
) -> None:
    append = Append("s", b"!", producer=Producer("p", 0, 0))
    async with await Log.open(through(forwarder, postgres, f"{QUICK}&{HASTY}")) as log:
        await log.transact(Create("s", data=b"kept"))
        forwarder.refusing = True
        forwarder.cut()
        for _ in range(2):
            with pytest.raises(StorageError, match="cannot be reached"):
                await log.transact(append)
            with pytest.raises(StorageError, match="cannot be reached"):
                await log.read("s")
        with pytest.raises(StorageError):
            log.check()
        forwarder.refusing = False
        assert isinstance((await log.transact(append))[0], Appended)
        log.check()
        assert (await log.read("s")).data == b"kept!"


async def test_requests_are_refused_while_the_database_is_away(
    postgres: Database, forwarder: Forwarder
) -> None:
    url = through(forwarder, postgres, f"{QUICK}&{HASTY}")
    async with await Log.open(url) as log, serving(StreamsApp(log, limits=PATIENT), log) as server:
        await server.put("s", b"kept")
        forwarder.refusing = True
        forwarder.cut()
        for ask in (server.post("s", b"x"), server.get("s?offset=-1"), server.ask("HEAD", "s")):
            reply = await ask
            assert reply.status == 503
            assert int(reply["retry-after"]) >= 1
        forwarder.refusing = False
        assert (await server.post("s", b"!")).status == 204
        assert (await server.get("s?offset=-1")).body == b"kept!"


async def test_a_database_that_has_gone_silent_is_given_up(
    postgres: Database, forwarder: Forwarder
) -> None:
    async with await Log.open(through(forwarder, postgres, f"{QUICK}&{HASTY}")) as log:
        await log.transact(Create("s", data=b"kept"))
        forwarder.freezing = True
        forwarder.freeze()
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(
                *(log.transact(Append("s", b"x")) for _ in range(3)),
                *(log.read("s") for _ in range(3)),
                return_exceptions=True,
            )
        assert all(isinstance(one, StorageError) for one in results), results
        forwarder.freezing = False
        async with asyncio.timeout(PATIENCE):
            await log.transact(Append("s", b"!"))
            assert (await log.read("s")).data == b"kept!"


async def test_connections_that_died_unnoticed_cost_nobody_an_answer(postgres: Database) -> None:
    async with await Log.open(postgres.url) as log:
        await log.transact(Create("s"))
        for _ in range(3):
            await asyncio.gather(*(log.read("s") for _ in range(8)))
            assert await asyncio.to_thread(postgres.end_connections) >= 2
            assert (await log.transact(Append("s", b"x")))[0].ok
            await log.read("s")
            assert await asyncio.to_thread(postgres.end_connections) >= 2
            assert (
                await log.control(
                    lambda connection: connection.exec_driver_sql("SELECT 1").scalar()
                )
                == 1
            )
        assert (await log.read("s")).data == b"xxx"


def _one(connection: Connection) -> object:
    return connection.exec_driver_sql("SELECT 1").scalar()


async def test_a_commit_whose_answer_is_lost_is_stored_once(
    postgres: Database, forwarder: Forwarder
) -> None:
    append = Append("s", b"!", producer=Producer("p", 0, 0))
    async with await Log.open(through(forwarder, postgres, f"{QUICK}&{HASTY}")) as log:
        await log.transact(Create("s", data=b"kept"))
        async with log.reader("s", 4) as reader:
            forwarder.cut_after = b"COMMIT\0"
            with pytest.raises(StorageError, match="cannot be reached"):
                await log.transact(append)
            forwarder.cut_after = None
            assert (await log.read("s")).data == b"kept!", "the database has it, so readers do"
            assert (await reader.next(PATIENCE)).data == b"!"
            assert isinstance((await log.transact(append))[0], Duplicate)
            assert (await log.read("s")).data == b"kept!"


# --------------------------------------------------------------------------- others in the way


async def test_a_stream_that_somebody_holds_is_given_up_and_not_waited_for(
    postgres: Database,
) -> None:
    async with await Log.open(f"{postgres.url}?timeout=0.5") as log:
        await log.transact(Create("held"), Create("free"))
        holder = await asyncio.to_thread(_hold, postgres, "held")
        try:
            with pytest.raises(StorageError, match="took too long"):
                await log.transact(Append("held", b"x"))
            assert (await log.transact(Append("free", b"x")))[0].ok
        finally:
            await asyncio.to_thread(holder.close)
        assert (await log.transact(Append("held", b"x")))[0].ok
        assert (await log.read("held")).data == b"x"


def _hold(postgres: Database, path: str) -> psycopg.Connection[tuple[object, ...]]:
    connection = psycopg.connect(postgres.url)
    connection.execute("SELECT 1 FROM durable_streams.streams WHERE path = %s FOR UPDATE", (path,))
    return connection


async def test_a_node_that_stands_still_in_a_transaction_loses_it(postgres: Database) -> None:
    async with (
        await Log.open(f"{postgres.url}?timeout=0.5") as frozen,
        await Log.open(postgres.url) as log,
    ):
        await log.transact(Create("s"))
        started, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(connection: Connection) -> None:
            connection.exec_driver_sql("SELECT 1 FROM durable_streams.streams FOR UPDATE")
            loop.call_soon_threadsafe(started.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

        holding = asyncio.create_task(frozen.control(hold))
        await started.wait()
        assert (await log.transact(Append("s", b"x")))[0].ok
        go_on.set()
        with pytest.raises(StorageError):
            await holding
        assert (await frozen.transact(Append("s", b"y")))[0].ok


async def test_acknowledged_is_on_disk_even_where_the_database_says_otherwise(
    postgres: Database,
) -> None:
    name = postgres.url.rpartition("/")[2]
    alter = f"ALTER DATABASE {name}"
    await asyncio.to_thread(postgres.execute, f"{alter} SET synchronous_commit = off")
    try:
        async with await Log.open(postgres.url) as log:
            mode = await log.control(
                lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            )
            assert mode == "on"
    finally:
        await asyncio.to_thread(postgres.execute, f"{alter} RESET synchronous_commit")
