"""A client that leaves never stops or changes a generation, whenever it leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from durable_streams_server import Limits as StreamLimits
from durable_transport.protocol import generation_paths
from proxy.harness import LOOPBACK, UNIT, Served, data, eventually, served, terminal
from proxy.wire import Wire, upstream

pytestmark = pytest.mark.anyio

PARTS = [b"part %d: \xff\x00\r\n" % number for number in range(6)]


async def _leave_after(proxy: Served, ids: tuple[UUID, UUID], url: str, received: int) -> None:
    """Open a live body, and close the socket once so many bytes of it have come."""
    reader, writer = await asyncio.open_connection(LOOPBACK, int(proxy.url.rpartition(":")[2]))
    head = f"POST {proxy.path(*ids)} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    writer.write(f"{head}X-Proxy-Url: {url}\r\nX-Proxy-Live: raw\r\n\r\n{{}}".encode())
    await writer.drain()
    if received >= 0:
        await reader.readuntil(b"\r\n\r\n")
    got = 0
    while got < received:
        size = int(await reader.readuntil(b"\r\n"), 16)
        await reader.readexactly(size + 2)
        got += size
    writer.transport.abort()


async def _begun(proxy: Served, ids: tuple[UUID, UUID]) -> None:
    async def exists() -> bool:
        return await proxy.log.stat(generation_paths(*ids).control) is not None

    await eventually(exists)


@pytest.mark.parametrize("boundary", range(-1, len(PARTS) + 1))
async def test_a_client_that_leaves_at_a_chunk_boundary(boundary: int) -> None:
    """-1 leaves before the answer's headers."""
    left = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        for number, part in enumerate(PARTS):
            if number == max(boundary, 0):
                await left.wait()
            await wire.chunk(part)
        await left.wait()
        await wire.end()

    ids = (uuid4(), uuid4())
    async with upstream(script) as up, served() as proxy, asyncio.timeout(20 * UNIT):
        await _leave_after(
            proxy, ids, up.url, -1 if boundary < 0 else len(b"".join(PARTS[:boundary]))
        )
        left.set()
        await _begun(proxy, ids)
        assert await data(proxy.log, generation_paths(*ids)) == b"".join(PARTS)
        assert (await terminal(proxy.log, generation_paths(*ids))).event == "done"
        assert len(up.calls) == 1
        # A client that comes back has everything.
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        again = await proxy.client.post(proxy.path(*ids), headers=headers)
        assert again.content == b"".join(PARTS)
        assert len(up.calls) == 1


async def test_a_slow_reader_slows_nobody_down() -> None:
    body = b"x" * 5_000_000

    async def script(wire: Wire) -> None:
        await wire.head()
        for start in range(0, len(body), 100_000):
            await wire.chunk(body[start : start + 100_000])
        await wire.end()

    ids = (uuid4(), uuid4())
    async with upstream(script) as up, served() as proxy:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        async with proxy.client.stream("POST", proxy.path(*ids), headers=headers) as slow:
            assert slow.status_code == 200
            # The slow one has read nothing; the generation ends, and another reads all of it.
            assert (await terminal(proxy.log, generation_paths(*ids))).event == "done"
            fast = await proxy.client.post(proxy.path(*ids), headers=headers)
            assert fast.content == body
            assert await slow.aread() == body


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        for _ in range(200):
            await wire.chunk(b"x" * 100_000)
        await wire.end()

    ids = (uuid4(), uuid4())
    limits = StreamLimits(send=0.2 * UNIT)
    async with upstream(script) as up, served(stream_limits=limits) as proxy:
        reader, writer = await asyncio.open_connection(
            LOOPBACK, int(proxy.url.rpartition(":")[2]), limit=1000
        )
        head = f"POST {proxy.path(*ids)} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        writer.write(f"{head}X-Proxy-Url: {up.url}\r\nX-Proxy-Live: raw\r\n\r\n".encode())
        await _begun(proxy, ids)
        await terminal(proxy.log, generation_paths(*ids))
        # Longer than a client may take nothing.
        await asyncio.sleep(UNIT)
        got = 0
        async with asyncio.timeout(10 * UNIT):
            with suppress(ConnectionError):
                while piece := await reader.read(65536):
                    got += len(piece)
        assert got < 20_000_000
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
