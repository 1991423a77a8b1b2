"""The command as a server: its options, its health, and an end within the drain time."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import pytest

from durable_streams_server._serving import CONNECTIONS_SECONDS
from streams.command import ServeProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_options_and_health() -> None:
    options = ["--max-body", "10", "--long-poll-timeout", "0.05"]
    async with ServeProcess("sqlite://", *options) as server:
        await server.put("s", b"0123456789")
        assert (await server.post("s", b"0123456789!")).status == 413
        assert (await server.get("s?offset=now&live=long-poll")).status == 204
        server.prefix = "/"
        health = await server.get("health")
        assert (health.status, health.json()["status"]) == (200, "ok")
        assert health["cache-control"] == "no-store"
        assert server.errors() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_within_the_drain_time(
    url: str, tmp_path: Path, number: signal.Signals, unit: float
) -> None:
    async with ServeProcess(url) as server, AsyncExitStack() as stack:
        await server.put("s", b"x")
        polls = [asyncio.create_task(server.get("s?offset=now&live=long-poll")) for _ in range(5)]
        readers = []
        for live in ["sse", "raw"] * 5:
            connection, _ = await stack.enter_async_context(server.live(f"s?offset=-1&live={live}"))
            assert b"x" in await connection.chunk()
            readers.append(connection)
        start = asyncio.get_running_loop().time()
        server.signal(number)
        for connection in readers:
            while await connection.chunk():  # and not cut off: a clean end of the body
                pass
        assert {(await poll).status for poll in polls} == {204}
        assert await server.ended() == 0
        took = asyncio.get_running_loop().time() - start
        assert took < CONNECTIONS_SECONDS * max(unit, 1), "readers were let go, not waited for"
        assert server.errors() == ""
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_slow_request_is_answered_before_the_end(url: str) -> None:
    async with ServeProcess(url) as server, server.connect() as connection:
        await server.put("s")
        await connection.request(
            "POST", "/v1/stream/s", Content_Type="text/plain", Content_Length="2"
        )
        await connection.send(b"a")
        await server.get("s")  # the server has read what was sent before
        server.signal(signal.SIGTERM)
        await connection.send(b"b")
        assert (await connection.reply()).status == 204
        assert await server.ended() == 0
    async with ServeProcess(url) as server:
        assert (await server.get("s")).body == b"ab"


async def test_a_second_server_takes_over_where_the_first_ended(url: str) -> None:
    for generation in range(2):
        async with ServeProcess(url) as server:
            await server.put("s")
            assert (await server.post("s", b"%d" % generation)).status == 204
            server.signal(signal.SIGTERM)
            assert await server.ended() == 0
    async with ServeProcess(url) as server:
        assert (await server.get("s")).body == b"01"


@pytest.mark.parametrize(("option", "told"), [("--cors", "*"), ("--no-cors", None)])
async def test_pages_of_other_origins_are_let_in_or_not(option: str, told: str | None) -> None:
    async with ServeProcess("sqlite://", option) as server:
        reply = await server.put("s", b"x")
        assert (reply.status, reply.get("access-control-allow-origin")) == (201, told)
