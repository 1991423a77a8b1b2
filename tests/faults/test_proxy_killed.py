"""``kill -9`` in mid-answer: what was stored stays, and everybody learns how it ended."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx2
import pytest

from durable_transport.protocol import generation_paths
from proxy.command import Command, serving
from proxy.harness import UNIT, eventually
from proxy.wire import Upstream, Wire, upstream

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PARTS = [b"part %d: \xff\x00\r\n" % number for number in range(5)]


async def _never_ends(wire: Wire) -> None:
    await wire.head()
    for part in PARTS:
        await wire.chunk(part)
    await asyncio.sleep(600 * UNIT)


def _client(command: Command) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=command.url, trust_env=False, timeout=30 * UNIT)


async def _start(client: httpx2.AsyncClient, up: Upstream) -> tuple[UUID, UUID]:
    ids = (uuid4(), uuid4())
    answer = await client.post(f"/api/{ids[0]}/{ids[1]}", headers={"X-Proxy-Url": up.url})
    assert answer.status_code == 200, answer.text
    return ids


async def _read(
    client: httpx2.AsyncClient,
    ids: tuple[UUID, UUID],
    *,
    enough: int,
    has_all: asyncio.Event | None = None,
) -> bytes:
    """Read the live data until there is enough of it, or it ends.

    ``has_all`` is set when everything that the upstream sends in `PARTS` has come.
    """
    got = b""
    url = f"/v1/stream/{generation_paths(*ids).data}?live=raw&offset=-1"
    with suppress(httpx2.TransportError):
        async with client.stream("GET", url) as live:
            async for piece in live.aiter_raw():
                got += piece
                if has_all is not None and len(got) == len(b"".join(PARTS)):
                    has_all.set()
                if len(got) >= enough:
                    break
    return got


async def _control(client: httpx2.AsyncClient, ids: tuple[UUID, UUID]) -> list[Any]:
    answer = await client.get(f"/v1/stream/{generation_paths(*ids).control}?offset=-1")
    assert answer.status_code == 200, answer.text
    messages: list[Any] = answer.json()
    return messages


async def _assert_orphaned(client: httpx2.AsyncClient, ids: tuple[UUID, UUID]) -> None:
    """All stored bytes, then the record; at once, and whichever way one asks."""
    body = b"".join(PARTS)
    assert await _read(client, ids, enough=len(body) + 1) == body
    start, record = await _control(client, ids)
    assert start["event"] == "start"
    assert (record["event"], record["payload"]["code"]) == ("error", "orphaned")
    assert int(record["dataOffset"]) == len(body)
    headers = {"X-Proxy-Url": "http://127.0.0.1:1/", "X-Proxy-Live": "raw"}
    again = await client.post(f"/api/{ids[0]}/{ids[1]}", headers=headers)
    assert (again.status_code, again.content) == (200, body)


async def test_a_restart_ends_what_the_killed_process_ran(tmp_path: Path) -> None:
    async with upstream(_never_ends) as up:
        async with serving(tmp_path) as first, _client(first) as client:
            running = [await _start(client, up) for _ in range(3)]
            for ids in running:
                assert await _read(client, ids, enough=len(b"".join(PARTS))) == b"".join(PARTS)
            await first.kill()
        async with serving(tmp_path) as second, _client(second) as client:
            for ids in running:
                await _assert_orphaned(client, ids)
            assert len(up.calls) == len(running)
            assert "Traceback" not in second.stderr


async def test_a_reader_that_waits_through_the_crash_learns_the_end(tmp_path: Path) -> None:
    async with upstream(_never_ends) as up:
        async with serving(tmp_path) as first, _client(first) as client:
            ids = await _start(client, up)
            body = b"".join(PARTS)
            has_all = asyncio.Event()
            waiting = asyncio.create_task(_read(client, ids, enough=len(body) + 1, has_all=has_all))
            await has_all.wait()
            await first.kill()
            assert await waiting == body
            port = first.url.rpartition(":")[2]
        async with serving(tmp_path, port=int(port)) as second, _client(second) as client:
            # On the same address, from where it was: the stream is closed, and the record says why.
            live = await client.get(
                f"/v1/stream/{generation_paths(*ids).data}?live=raw&offset={len(body):020d}"
            )
            assert (live.status_code, live.content) == (200, b"")
            assert live.headers["stream-closed"] == "true"
            await _assert_orphaned(client, ids)


async def test_crash_after_crash(tmp_path: Path) -> None:
    """Every process leaves a generation behind; none is lost, and none ends twice."""
    left: list[tuple[UUID, UUID]] = []
    async with upstream(_never_ends) as up:
        for _ in range(4):
            async with serving(tmp_path) as command, _client(command) as client:
                for ids in left:
                    await _assert_orphaned(client, ids)
                left.append(await _start(client, up))
                assert await _read(client, left[-1], enough=len(b"".join(PARTS)))
                await command.kill()
        # Killed again before anybody asked: the end is on disk all the same.
        async with serving(tmp_path) as command:
            await command.kill()
        async with serving(tmp_path) as command, _client(command) as client:
            for ids in left:
                await _assert_orphaned(client, ids)
        assert len(up.calls) == len(left)


async def test_killed_before_the_upstream_answered(tmp_path: Path) -> None:
    async def silent(_wire: Wire) -> None:
        await asyncio.sleep(600 * UNIT)

    ids = (uuid4(), uuid4())
    path = f"/api/{ids[0]}/{ids[1]}"
    async with upstream(silent) as up:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        async with serving(tmp_path) as first, _client(first) as client:
            starting = asyncio.create_task(client.post(path, headers=headers))
            await eventually(lambda: len(up.calls) == 1)
            await first.kill()
            with pytest.raises(httpx2.TransportError):
                await starting
        async with serving(tmp_path) as second, _client(second) as client:
            answer = await client.post(path, headers=headers)
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "generation_lost"
            # It may have been paid for: it is not sent again.
            assert len(up.calls) == 1


async def test_a_polite_end_waits_for_what_runs(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"begun ")
        await go_on.wait()
        await wire.chunk(b"and done")
        await wire.end()

    async with upstream(script) as up:
        async with serving(tmp_path) as first, _client(first) as client:
            ids = await _start(client, up)
            reading = asyncio.create_task(_read(client, ids, enough=100))
            assert await _read(client, ids, enough=6) == b"begun "
            ending = asyncio.create_task(first.terminate())

            async def draining() -> bool:
                return (await client.get("/health")).status_code == 503

            await eventually(draining)
            refused = await client.post(
                f"/api/{uuid4()}/{uuid4()}", headers={"X-Proxy-Url": up.url}
            )
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "shutting_down"
            go_on.set()
            assert await reading == b"begun and done"
            # A transport asks for the record after the end of the body, and by a new request.
            await asyncio.sleep(0.2)
            async with _client(first) as other:
                assert (await _control(other, ids))[-1]["event"] == "done"
            assert await ending == 0
        async with serving(tmp_path) as second, _client(second) as client:
            assert await _read(client, ids, enough=100) == b"begun and done"
            assert (await _control(client, ids))[-1]["event"] == "done"


async def test_a_polite_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    async with upstream(_never_ends) as up:
        async with serving(tmp_path, "--drain", "0.2") as first, _client(first) as client:
            ids = await _start(client, up)
            reading = asyncio.create_task(_read(client, ids, enough=10_000))
            assert await _read(client, ids, enough=len(b"".join(PARTS)))
            assert await first.terminate() == 0
            assert await reading == b"".join(PARTS)
            assert "Traceback" not in first.stderr
        async with serving(tmp_path) as second, _client(second) as client:
            await _assert_orphaned(client, ids)


async def test_a_second_interrupt_is_not_kept_waiting(tmp_path: Path) -> None:
    async with upstream(_never_ends) as up:
        async with serving(tmp_path, "--drain", "600") as first, _client(first) as client:
            ids = await _start(client, up)
            assert await _read(client, ids, enough=len(b"".join(PARTS)))
            first.process.send_signal(signal.SIGINT)

            async def draining() -> bool:
                return (await client.get("/health")).status_code == 503

            await eventually(draining)
            first.process.send_signal(signal.SIGINT)
            await asyncio.wait_for(first.process.wait(), 30 * UNIT)
            assert "Traceback" not in first.stderr
        async with serving(tmp_path) as second, _client(second) as client:
            await _assert_orphaned(client, ids)
