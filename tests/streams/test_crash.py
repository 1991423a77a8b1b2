"""A server killed at any moment has every acknowledged byte, and no torn one.

Each run is several generations of one store file, under a load of everything that can be asked. The
server is killed after so many promises, or while its answers are held back from those who wait for
them, or while it starts (some files are of an older schema, and are migrated then). The next
generation has to hold what was promised, and goes on with the same clients.

``DURABLE_CRASH_RUNS`` is how many seeds are tried, from ``DURABLE_CRASH_SEED`` on. A
machine that has other work to do needs a larger ``DURABLE_TEST_UNIT``.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from streams.crash_world import (
    OLD,
    PAST,
    SHARED,
    Actor,
    Bounded,
    Mortal,
    Owner,
    Past,
    Producer,
    Reader,
    Shared,
    Worker,
)
from streams.gate import PATIENCE
from streams.holding import holding
from streams.http_client import BodyCutError, Client
from streams.warm import WarmProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUNS = int(os.environ.get("DURABLE_CRASH_RUNS", "3"))
FIRST = int(os.environ.get("DURABLE_CRASH_SEED", "0"))
GENERATIONS = 3
VERSION_1 = (Path(__file__).parent / "schema_1.sql").read_text()


class Promises:
    """Counts what was promised, to kill after so many."""

    def __init__(self) -> None:
        self._left = 0
        self.kept = asyncio.Event()

    def wait_for(self, count: int) -> None:
        self._left = count
        self.kept.clear()

    def count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.kept.set()


class Run:
    """One store file through all its generations."""

    def __init__(self, seed: int, url: str, settled: Callable[[], None] = lambda: None) -> None:
        self._settled = settled
        self._random = Random(f"crash {seed}")
        self._url = url
        self._promises = Promises()
        shared = Shared()
        count = self._promises.count
        self._actors: list[Actor] = [
            shared,
            *(Producer(number, shared, self._random, count) for number in range(4)),
            *(Owner(number, self._random, count) for number in range(4)),
            *(Reader(SHARED[0], mode, shared) for mode in ("raw", "sse", "long-poll")),
            Mortal(count),
            Bounded(count),
            Worker(count),
        ]

    def begin_in_the_past(self, file: Path) -> None:
        """The file is one of the first schema."""
        with sqlite3.connect(file) as old:
            old.executescript(VERSION_1)
            old.execute(
                "INSERT INTO streams (path, content_type, tail, closed, created_at, touched_at,"
                " fork_position, forks, deleted) VALUES (?, 'text/plain', ?, 1, 0, 0, 0, 0, 0)",
                (OLD, len(PAST)),
            )
            old.execute(
                "INSERT INTO chunks (stream_id, end_offset, data) VALUES (1, ?, ?)",
                (len(PAST), PAST),
            )
        old.close()
        self._actors.append(Past())

    async def live(self) -> None:
        for _ in range(GENERATIONS):
            while self._random.random() < 0.4:
                await self._die_at_birth()
            await self._generation()
        await asyncio.to_thread(self._settled)
        async with WarmProcess(self._url) as server:
            await self._check(server)

    async def _die_at_birth(self) -> None:
        server = WarmProcess(self._url)
        output = await asyncio.to_thread(server.launch)
        await asyncio.sleep(self._random.uniform(0, 0.25))
        await server.kill()
        output.close()

    async def _check(self, server: Client) -> None:
        for actor in self._actors:
            await actor.check(server)

    async def _generation(self) -> None:
        await asyncio.to_thread(self._settled)
        async with WarmProcess(self._url) as server:
            await self._check(server)
            await self._actors[0].act(server)
            self._promises.wait_for(self._random.randint(1, 250))
            async with holding(server.port) as between:
                work = [
                    asyncio.create_task(actor.act(Client(between.port)))
                    for actor in self._actors[1:]
                ]
                await self._until_enough(work)
                if self._random.random() < 0.5:
                    between.hold()
                    await asyncio.sleep(self._random.uniform(0, 0.05))
                await server.kill()
                between.cut()
                ends = await asyncio.gather(*work, return_exceptions=True)
        for end in ends:  # cut off by the kill, all of them, and by nothing else
            assert isinstance(end, BaseException)
            if not isinstance(end, asyncio.IncompleteReadError | ConnectionError | BodyCutError):
                raise end

    async def _until_enough(self, work: list[asyncio.Task[None]]) -> None:
        kept = asyncio.create_task(self._promises.kept.wait())
        await asyncio.wait([kept, *work], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        kept.cancel()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
async def test_what_was_acknowledged_survives(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "store.sqlite"
    run = Run(seed, f"sqlite:///{file}")
    if seed % 3 == 0:
        run.begin_in_the_past(file)
    await run.live()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
async def test_what_was_acknowledged_survives_in_postgres(postgres: Database, seed: int) -> None:
    def settled() -> None:
        # What a dead server had sent may still be carried out; then its connections end.
        deadline = time.monotonic() + PATIENCE
        while postgres.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        ):
            assert time.monotonic() < deadline, "a dead server's connection stays"
            time.sleep(0.01)

    await Run(seed, postgres.url, settled).live()
