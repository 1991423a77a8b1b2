"""More comes than can be stored, or than readers take: memory has a bound, and no byte is lost."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
import pytest

from durable_proxy import Limits
from durable_streams_server import Append, Log
from durable_transport.protocol import generation_paths
from proxy.command import serving
from proxy.harness import UNIT, generations, start_request, terminal
from proxy.wire import LOOPBACK, Wire, upstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from durable_streams_server import Operation, Outcome

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
PIECE = hashlib.shake_256(b"body").digest(MIB)
SOCKET_BYTES = 8 * MIB
"""More than two sockets of this machine hold between them."""


class SlowLog(Log):
    """Stores nothing quickly.

    Attributes:
        stored: Bytes of bodies that were stored.
        largest: The most that was stored at once.
    """

    stored = 0
    largest = 0

    async def transact(self, *operations: Operation) -> tuple[Outcome, ...]:
        size = sum(len(one.data) for one in operations if isinstance(one, Append))
        if size:
            await asyncio.sleep(0.005 * UNIT)
        outcomes = await super().transact(*operations)
        self.stored, self.largest = self.stored + size, max(self.largest, size)
        return outcomes


def as_fast_as_it_can(size: int, sent: list[int]) -> Callable[[Wire], Awaitable[None]]:
    async def script(wire: Wire) -> None:
        await wire.head(framing=f"Content-Length: {size}")
        for _ in range(size // len(PIECE)):
            await wire.raw(PIECE)
            sent[0] += len(PIECE)

    return script


async def test_an_upstream_is_no_faster_than_the_store() -> None:
    size, sent, ahead = 32 * MIB, [0], 0
    async with await SlowLog.open("sqlite://") as log:
        limits = Limits(buffered_bytes=256 * 1024)
        async with (
            upstream(as_fast_as_it_can(size, sent)) as up,
            generations(log, limits=limits) as running,
        ):
            request = start_request(up.url)
            await running.start(request)
            while sent[0] < size:
                await asyncio.sleep(0)
                ahead = max(ahead, sent[0] - log.stored)
            assert (await terminal(log, request.paths)).event == "done"
            stream = await log.stat(request.paths.data)
    assert stream is not None
    assert stream.tail == size
    assert ahead < SOCKET_BYTES
    # What had to wait for the store was written at once, and it was never much.
    assert log.largest < 1 * MIB


@pytest.mark.slow
async def test_a_large_body_and_readers_of_a_kilobyte_a_second_take_no_memory(
    tmp_path: Path,
) -> None:
    """The process's own memory: the kernel's buffers are of a fixed size."""
    size, readers = 160 * MIB, 8

    async def read_slowly(url: str, path: str) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.setblocking(False)
            await loop.sock_connect(plain, (LOOPBACK, int(url.rpartition(":")[2])))
            target = f"/v1/stream/{path}?live=raw&offset=-1"
            await loop.sock_sendall(plain, f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            while await loop.sock_recv(plain, 100):  # noqa: ASYNC110 - a pace, and no waiting
                await asyncio.sleep(0.1)

    async with (
        upstream(as_fast_as_it_can(size, [0])) as up,
        serving(tmp_path) as command,
        httpx2.AsyncClient(base_url=command.url, trust_env=False, timeout=30 * UNIT) as client,
    ):
        before = _resident(command.process.pid)
        ids = (uuid4(), uuid4())
        paths = generation_paths(*ids)
        answer = await client.post(f"/api/{ids[0]}/{ids[1]}", headers={"X-Proxy-Url": up.url})
        assert answer.status_code == 200
        slow = [asyncio.create_task(read_slowly(command.url, paths.data)) for _ in range(readers)]
        most = 0
        async with asyncio.timeout(60 * UNIT):
            while True:
                most = max(most, _resident(command.process.pid))
                control = await client.get(f"/v1/stream/{paths.control}?offset=-1")
                if control.json()[-1]["event"] != "start":
                    break
                await asyncio.sleep(0.05)
        assert control.json()[-1]["event"] == "done"
        digest, got = hashlib.sha256(), 0
        async with client.stream("GET", f"/v1/stream/{paths.data}?live=raw&offset=-1") as whole:
            async for piece in whole.aiter_raw():
                digest.update(piece)
                got += len(piece)
        most = max(most, _resident(command.process.pid))
        for task in slow:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*slow)
    assert got == size
    assert digest.digest() == hashlib.sha256(PIECE * (size // MIB)).digest()
    # The cache of the store takes 32 MiB of it, however large the body is.
    assert most - before < 96 * MIB


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - nothing that blocks
        return int(file.read().split()[1]) * resource.getpagesize()
