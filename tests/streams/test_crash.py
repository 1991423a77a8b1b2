"""A server killed at any moment has every acknowledged byte, and no torn one.

Each run is several generations of one store file. Writers append to shared streams as idempotent
producers, close streams and delete streams until the server is killed under them; then the next
generation has to hold what was acknowledged, and to take the unanswered requests again.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from streams.command import ServeProcess
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from streams.http_client import Connection

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUNS = int(os.environ.get("DURABLE_CRASH_RUNS", "2"))
"""How many seeds are tried: few by default."""
GENERATIONS = 3
SHARED = ("log/a", "log/b")
TOKEN = re.compile(rb"<(\d+):(\d+):(\d+):(x*)>")


def token(writer: int, seq: int, size: int) -> bytes:
    return b"<%d:%d:%d:%s>" % (writer, seq, size, b"x" * size)


@dataclass
class Ledger:
    """What the server has promised, and what it was asked without an answer."""

    appended: dict[str, list[bytes]] = field(default_factory=lambda: {path: [] for path in SHARED})
    unanswered: dict[int, tuple[str, int, bytes]] = field(default_factory=dict)
    closed: dict[str, bytes] = field(default_factory=dict)
    closing: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    promises: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def wait_for(self, promises: int) -> asyncio.Event:
        """An event that is set once so many more promises were made."""
        self.promises, self.enough = promises, asyncio.Event()
        return self.enough

    def promised(self) -> None:
        self.promises -= 1
        if self.promises <= 0:
            self.enough.set()


class Appender:
    """One idempotent producer: goes on where the last generation cut it off."""

    def __init__(self, number: int, ledger: Ledger, random: Random) -> None:
        self._number = number
        self._ledger = ledger
        self._random = random
        self._seqs = dict.fromkeys(SHARED, 0)

    async def run(self, connection: Connection) -> None:
        unanswered = self._ledger.unanswered.get(self._number)
        if unanswered is not None:
            await self._append(connection, *unanswered)
        while True:
            path = self._random.choice(SHARED)
            size = self._random.choice([0, 10, 3000, 40_000])
            await self._append(
                connection, path, self._seqs[path], token(self._number, self._seqs[path], size)
            )

    async def _append(self, connection: Connection, path: str, seq: int, body: bytes) -> None:
        self._ledger.unanswered[self._number] = (path, seq, body)
        await connection.request(
            "POST",
            f"/v1/stream/{path}",
            body,
            Content_Type="application/octet-stream",
            Producer_Id=str(self._number),
            Producer_Epoch="0",
            Producer_Seq=str(seq),
        )
        reply = await connection.reply()
        assert reply.status in (200, 204), reply
        self._ledger.appended[path].append(body)
        del self._ledger.unanswered[self._number]
        self._seqs[path] = seq + 1
        self._ledger.promised()


async def close_streams(connection: Connection, ledger: Ledger, generation: int) -> None:
    """Streams of one body, closed by the request that brings it."""
    number = 0
    while True:
        number += 1
        path, body = f"closed/{generation}/{number}", b"%d|" % number * 500
        await connection.request("PUT", f"/v1/stream/{path}")
        assert (await connection.reply()).status == 201
        ledger.closing[path] = body
        kind = "application/octet-stream"
        await connection.request(
            "POST", f"/v1/stream/{path}", body, Stream_Closed="true", Content_Type=kind
        )
        assert (await connection.reply()).status == 204
        ledger.closed[path] = ledger.closing.pop(path)
        ledger.promised()


async def delete_streams(connection: Connection, ledger: Ledger, generation: int) -> None:
    """Streams that are deleted as soon as they hold something."""
    number = 0
    while True:
        number += 1
        path = f"deleted/{generation}/{number}"
        await connection.request("PUT", f"/v1/stream/{path}", b"to be forgotten")
        assert (await connection.reply()).status == 201
        ledger.deleting.add(path)
        await connection.request("DELETE", f"/v1/stream/{path}")
        assert (await connection.reply()).status == 204
        ledger.deleting.remove(path)
        ledger.deleted.add(path)
        ledger.promised()


async def everything(server: ServeProcess, path: str) -> bytes:
    body, offset = b"", "-1"
    while True:
        reply = await server.get(f"{path}?offset={offset}")
        assert reply.status == 200
        body, offset = body + reply.body, reply["stream-next-offset"]
        assert int(offset) == len(body)
        if reply.get("stream-up-to-date"):
            return body


async def check(server: ServeProcess, ledger: Ledger) -> None:
    """The store holds what was promised, and of the rest all or nothing."""
    for path in SHARED:
        body = await everything(server, path)
        found = [match.group() for match in TOKEN.finditer(body)]
        assert b"".join(found) == body, f"{path} holds a torn append"
        assert len(set(found)) == len(found), f"{path} holds an append twice"
        promised = ledger.appended[path]
        open_ends = {body for where, _, body in ledger.unanswered.values() if where == path}
        assert set(promised) <= set(found), f"{path} has lost an acknowledged append"
        assert set(found) <= set(promised) | open_ends, f"{path} holds what nobody sent"
        for writer in {one.split(b":")[0] for one in found}:
            seqs = [int(one.split(b":")[1]) for one in found if one.startswith(writer + b":")]
            assert seqs == list(range(len(seqs))), f"{path} has appends out of order"
    for path, body in ledger.closed.items():
        reply = await server.get(path)
        assert (reply.body, reply.get("stream-closed")) == (body, "true"), path
    for path, body in ledger.closing.items():
        reply = await server.get(path)
        state = (reply.body, reply.get("stream-closed"))
        assert state in ((b"", None), (body, "true")), f"{path} is half closed"
    for path in sorted(ledger.deleted):
        assert (await server.get(path)).status == 404, f"{path} came back"
    for path in sorted(ledger.deleting):
        reply = await server.get(path)
        assert reply.status == 404 or reply.body == b"to be forgotten", path


async def disturbed(
    server: ServeProcess, appenders: list[Appender], ledger: Ledger, generation: int, after: int
) -> None:
    """Work on all sides until the server has kept so many promises; then kill it."""
    enough = ledger.wait_for(after)
    async with server.connect() as closer, server.connect() as deleter:
        connections = [server.connect() for _ in appenders]
        for connection in connections:
            await connection.__aenter__()
        work = [
            asyncio.create_task(appender.run(connection))
            for appender, connection in zip(appenders, connections, strict=True)
        ]
        work.append(asyncio.create_task(close_streams(closer, ledger, generation)))
        work.append(asyncio.create_task(delete_streams(deleter, ledger, generation)))
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait([waiting, *work], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.signal(signal.SIGKILL)
        await server.ended()
        ends = await asyncio.gather(*work, return_exceptions=True)
        for connection in connections:
            await connection.__aexit__(None, None, None)
    for end in ends:  # cut off by the kill, all of them, and by nothing else
        assert isinstance(end, asyncio.IncompleteReadError | ConnectionError), repr(end)


@pytest.mark.parametrize("seed", range(RUNS))
async def test_what_was_acknowledged_survives(url: str, seed: int) -> None:
    random = Random(f"crash {seed}")
    ledger = Ledger()
    appenders = [Appender(number, ledger, random) for number in range(6)]
    for generation in range(GENERATIONS):
        async with ServeProcess(url) as server:
            for path in SHARED:
                assert (await server.ask("PUT", path)).status == (200 if generation else 201)
            await check(server, ledger)
            await disturbed(server, appenders, ledger, generation, random.randint(1, 150))
    async with ServeProcess(url) as server:
        await check(server, ledger)
        for path, seq, body in list(ledger.unanswered.values()):
            number = body[1:].partition(b":")[0].decode()
            headers = {"Producer_Id": number, "Producer_Epoch": "0", "Producer_Seq": str(seq)}
            kind = "application/octet-stream"
            reply = await server.ask("POST", path, body, Content_Type=kind, **headers)
            assert reply.status in (200, 204)
            ledger.appended[path].append(body)
        ledger.unanswered.clear()
        await check(server, ledger)
