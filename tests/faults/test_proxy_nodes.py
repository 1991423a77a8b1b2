"""Several proxies on one Postgres: real processes, that are killed, frozen and replaced."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx2
import pytest

from durable_transport import AsyncDurableTransport, session
from durable_transport.protocol import generation_paths
from proxy.command import Command, serving
from proxy.harness import UNIT, eventually
from proxy.wire import Upstream, Wire, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streams.postgres import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LEASE = 1.0 * UNIT
PARTS = [b"part %d: \xff\x00\r\n" % number for number in range(5)]
BODY = b"".join(PARTS)


class Node:
    """One proxy process and a client for it."""

    def __init__(self, command: Command, client: httpx2.AsyncClient) -> None:
        self.command = command
        self.client = client

    def signal(self, number: signal.Signals) -> None:
        self.command.process.send_signal(number)

    async def start(self, up: Upstream, ids: tuple[UUID, UUID] | None = None) -> tuple[UUID, UUID]:
        """Start a generation, or attach to the one with these ids."""
        ids = ids or (uuid4(), uuid4())
        answer = await self.client.post(f"/api/{ids[0]}/{ids[1]}", headers={"X-Proxy-Url": up.url})
        assert answer.status_code == 200, answer.text
        return ids

    async def read(self, ids: tuple[UUID, UUID], has: int = 0) -> bytes:
        """Read until there are so many bytes, or to the end of the stream."""
        got = b""
        path = generation_paths(*ids).data
        while True:
            url = f"/v1/stream/{path}?live=raw&offset={len(got):020d}"
            async with self.client.stream("GET", url) as live:
                assert live.status_code == 200
                closed = "stream-closed" in live.headers
                async for piece in live.aiter_raw():
                    got += piece
                    if has and len(got) >= has:
                        return got
            if closed:
                return got

    async def is_running_something(self) -> bool:
        return bool((await self.client.get("/health")).json()["activeGenerations"])

    async def control(self, ids: tuple[UUID, UUID]) -> list[Any]:
        answer = await self.client.get(f"/v1/stream/{generation_paths(*ids).control}?offset=-1")
        assert answer.status_code == 200, answer.text
        messages: list[Any] = answer.json()
        return messages

    async def assert_orphaned(self, ids: tuple[UUID, UUID]) -> None:
        """It has one start, one end, and all that was stored before it."""
        start, record = await self.control(ids)
        assert start["event"] == "start"
        assert (record["event"], record["payload"]["code"]) == ("error", "orphaned")
        assert int(record["dataOffset"]) == len(BODY)
        assert await self.read(ids) == BODY


@asynccontextmanager
async def node(directory: Path, postgres: Database, *options: str) -> AsyncIterator[Node]:
    await asyncio.to_thread(directory.mkdir)
    async with (
        serving(directory, "--lease", f"{LEASE:g}", *options, store=postgres.url) as command,
        httpx2.AsyncClient(base_url=command.url, trust_env=False, timeout=30 * UNIT) as client,
    ):
        yield Node(command, client)


@asynccontextmanager
async def several(directory: Path, postgres: Database, count: int) -> AsyncIterator[list[Node]]:
    """Start proxies that know nothing of each other, all at the same time."""
    async with AsyncExitStack() as stack:
        starting = [node(directory / f"{number}", postgres) for number in range(count)]
        yield list(await asyncio.gather(*(stack.enter_async_context(one) for one in starting)))


@pytest.fixture
async def nodes(tmp_path: Path, postgres: Database) -> AsyncIterator[tuple[Node, Node]]:
    """Give two of them."""
    async with several(tmp_path, postgres, 2) as (here, there):
        yield here, there


async def _never_ends(wire: Wire) -> None:
    await wire.head()
    for part in PARTS:
        await wire.chunk(part)
    await asyncio.sleep(600 * UNIT)


async def test_what_one_relays_is_read_from_the_other(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(PARTS[0])
        await go_on.wait()
        for part in PARTS[1:]:
            await wire.chunk(part)
        await wire.end()

    async with upstream(script) as up:
        ids = await here.start(up)
        assert await there.read(ids, has=len(PARTS[0])) == PARTS[0]
        reading = asyncio.create_task(there.read(ids))
        go_on.set()
        assert await asyncio.wait_for(reading, 10 * UNIT) == BODY
        assert (await there.control(ids))[-1]["event"] == "done"
        await there.start(up, ids)
        assert len(up.calls) == 1


async def test_what_one_relays_is_stopped_from_the_other(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    async with upstream(_never_ends) as up:
        ids = await here.start(up)
        assert await there.read(ids, has=len(BODY)) == BODY
        for one in (here, there):
            (running,) = (await one.client.get("/api/generations")).json()["generations"]
            assert running["requestId"] == str(ids[1])
            assert (running["state"], running["bytes"]) == ("streaming", len(BODY))
            assert running["nodeAlive"]
        begun = time.monotonic()
        stop = {"actor": "alice", "reason": "enough"}
        answer = await there.client.post(f"/api/{ids[0]}/{ids[1]}/stop", json=stop)
        await asyncio.wait_for(up.left.wait(), 5 * UNIT)
        assert time.monotonic() - begun < UNIT
        assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
        for one in (here, there):
            record = (await one.control(ids))[-1]
            assert (record["payload"]["code"], record["payload"]["actor"]) == ("aborted", "alice")
            assert await one.read(ids) == BODY
            assert (await one.client.get("/api/generations")).json()["generations"] == []


async def test_a_reader_on_any_node_is_one(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    patience = max(1.0, UNIT)
    headers = {"X-Proxy-Cancel-After": f"{patience:g}"}
    async with upstream(_never_ends) as up:
        headers["X-Proxy-Url"] = up.url
        ids = uuid4(), uuid4()
        answer = await here.client.post(f"/api/{ids[0]}/{ids[1]}", headers=headers)
        assert answer.status_code == 200
        reading = asyncio.create_task(there.read(ids))
        await asyncio.sleep(3 * patience)
        assert not up.left.is_set(), "the other node's reader does not count"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.wait_for(up.left.wait(), 5 * patience)
        record = (await there.control(ids))[-1]
        while record["event"] != "error":
            await asyncio.sleep(0.05 * UNIT)
            record = (await there.control(ids))[-1]
        assert record["payload"]["reason"] == "unread"


async def test_a_stop_is_kept_when_the_node_that_should_hear_it_is_gone(
    nodes: tuple[Node, Node],
) -> None:
    here, there = nodes
    async with upstream(_never_ends) as up:
        ids = await here.start(up)
        assert await there.read(ids, has=len(BODY)) == BODY
        await here.command.kill()
        stop = {"actor": "alice", "reason": "enough"}
        answer = await there.client.post(f"/api/{ids[0]}/{ids[1]}/stop", json=stop)
        assert answer.status_code in (200, 202)
        record = (await there.control(ids))[-1]
        # It ends within the lease, and as what came first.
        while record["event"] != "error":
            await asyncio.sleep(0.05 * UNIT)
            record = (await there.control(ids))[-1]
        assert record["payload"]["code"] in ("aborted", "orphaned")
        assert int(record["dataOffset"]) == len(BODY)
        assert await there.read(ids) == BODY


async def test_a_start_on_two_nodes_at_once_calls_the_upstream_once(
    nodes: tuple[Node, Node],
) -> None:
    async def script(wire: Wire) -> None:
        await asyncio.sleep(0.05)
        await wire.whole(200, BODY)

    async with upstream(script) as up:
        for round_ in range(8):
            ids = (uuid4(), uuid4())
            order = (*nodes, *nodes) if round_ % 2 else (*nodes[::-1], *nodes[::-1])
            await asyncio.gather(*(one.start(up, ids) for one in order))
            assert [await one.read(ids) for one in nodes] == [BODY, BODY]
            assert len(up.calls) == round_ + 1


async def test_a_killed_nodes_readers_elsewhere_get_all_bytes_and_the_reason(
    nodes: tuple[Node, Node],
) -> None:
    here, there = nodes
    async with upstream(_never_ends) as up:
        running = [await here.start(up) for _ in range(3)]
        for ids in running:
            assert await there.read(ids, has=len(BODY)) == BODY
        waiting = [asyncio.create_task(there.read(ids)) for ids in running]
        await here.command.kill()
        killed = time.monotonic()
        async with asyncio.timeout(10 * LEASE):
            assert await asyncio.gather(*waiting) == [BODY] * len(running)
        # A reaper looks three times per lease.
        assert time.monotonic() - killed < 2 * LEASE + UNIT
        for ids in running:
            await there.assert_orphaned(ids)
            # A paid request is not repeated because its node has died.
            await there.start(up, ids)
        assert len(up.calls) == len(running)


async def test_an_owner_that_slept_through_its_lease_is_fenced(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        for part in PARTS:
            await wire.chunk(part)
        await go_on.wait()
        await wire.chunk(b"too late")
        await wire.end()

    async with upstream(script) as up:
        ids = await here.start(up)
        assert await there.read(ids, has=len(BODY)) == BODY
        here.signal(signal.SIGSTOP)
        try:
            assert await asyncio.wait_for(there.read(ids), 10 * LEASE) == BODY
            await there.assert_orphaned(ids)
            # What the upstream says meanwhile waits in the sleeping node's socket.
            go_on.set()
        finally:
            here.signal(signal.SIGCONT)

        async def idle() -> bool:
            return not await here.is_running_something()

        await eventually(idle)
        for one in nodes:
            await one.assert_orphaned(ids)
        # The node itself is well: it has a lease again.
        later = await here.start(up)
        assert await there.read(later) == BODY + b"too late"
        await asyncio.sleep(LEASE)
        assert (await there.control(later))[-1]["event"] == "done"
        assert "Traceback" not in here.command.stderr


async def test_any_node_stops_what_another_one_runs(nodes: tuple[Node, Node]) -> None:
    here, there = nodes
    async with upstream(_never_ends) as up:
        ids = await here.start(up)
        assert await there.read(ids, has=len(BODY)) == BODY
        reading = asyncio.create_task(there.read(ids))
        started = time.monotonic()
        who = {"actor": "alice", "reason": "enough"}
        stopped = await there.client.post(f"/api/{ids[0]}/{ids[1]}/stop", json=who)
        assert (stopped.status_code, stopped.json()["stopped"]) == (200, True)
        # The upstream is let go, and not only the readers.
        await asyncio.wait_for(up.left.wait(), 5 * UNIT)
        assert time.monotonic() - started < 1.5 * UNIT
        assert await asyncio.wait_for(reading, 5 * UNIT) == BODY
        for one in nodes:
            record = (await one.control(ids))[-1]
            assert (record["event"], record["payload"]["code"]) == ("error", "aborted")
            again = await one.client.post(f"/api/{ids[0]}/{ids[1]}/stop")
            assert (again.status_code, again.json()["stopped"]) == (200, False)


async def test_a_node_that_leaves_lets_its_answers_finish_for_readers_elsewhere(
    nodes: tuple[Node, Node],
) -> None:
    here, there = nodes
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(PARTS[0])
        await go_on.wait()
        for part in PARTS[1:]:
            await wire.chunk(part)
        await wire.end()

    async with upstream(script) as up:
        ids = await here.start(up)
        reading = asyncio.create_task(there.read(ids))
        leaving = asyncio.create_task(here.command.terminate())

        async def draining() -> bool:
            return (await here.client.get("/health")).status_code == 503

        await eventually(draining)
        # The lease is renewed while the node drains.
        await asyncio.sleep(1.5 * LEASE)
        go_on.set()
        assert await asyncio.wait_for(reading, 10 * UNIT) == BODY
        assert (await there.control(ids))[-1]["event"] == "done"
        assert await leaving == 0


# --------------------------------------------------------------------------- replacing nodes


class Balancer:
    """Passes connections on to nodes that are well, in turns, as a balancer with health checks.

    Attributes:
        nodes: Who there is.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.url = ""
        self._turn = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            inner, outer = await self._connect()
            await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(2 * len(self.nodes)):
            self._turn += 1
            chosen = self.nodes[self._turn % len(self.nodes)]
            with suppress(httpx2.TransportError, OSError):
                if (await chosen.client.get("/health")).status_code == 200:
                    port = int(chosen.command.url.rpartition(":")[2])
                    return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionError("nobody is well")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    finally:
        sink.close()


@asynccontextmanager
async def balanced() -> AsyncIterator[Balancer]:
    balancer = Balancer()
    serving_ = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving_.add(task)
        with suppress(asyncio.CancelledError, ConnectionError):
            await balancer.serve(reader, writer)
        serving_.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        for task in list(serving_):
            task.cancel()
        await asyncio.gather(*serving_, return_exceptions=True)


ANSWER = [b"data: %d\n\n" % number for number in range(60)]


async def _for_half_a_second(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    for part in ANSWER:
        await wire.chunk(part)
        await asyncio.sleep(0.5 * UNIT / len(ANSWER))
    await wire.end()


async def test_nodes_are_replaced_one_by_one_and_nobody_notices(
    tmp_path: Path, postgres: Database
) -> None:
    """Each client asks again and again; every node is replaced by another under them."""
    done = asyncio.Event()
    answers: list[bytes] = []

    async def ask(client: httpx2.AsyncClient, url: str) -> None:
        while not done.is_set():
            response = await client.post(url, json={})
            assert response.status_code == 200, response.text
            answers.append(response.content)

    async def follow(client: httpx2.AsyncClient, url: str) -> None:
        """Two clients of one generation: whoever comes second reads what the other began."""
        while not done.is_set():
            ids = dict(session(f"{uuid4()}", request_id=f"{uuid4()}"))
            both = await asyncio.gather(*(client.post(url, json={}, headers=ids) for _ in range(2)))
            answers.extend(response.content for response in both)

    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(upstream(_for_half_a_second))
        balancer = await stack.enter_async_context(balanced())
        transport = AsyncDurableTransport(balancer.url)
        client = await stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, timeout=20 * UNIT)
        )
        old, *others = await stack.enter_async_context(several(tmp_path, postgres, 4))
        balancer.nodes = [old, others.pop()]
        async with asyncio.timeout(60 * UNIT), asyncio.TaskGroup() as load:
            for number in range(12):
                load.create_task((follow if number % 3 == 0 else ask)(client, up.url))
            await eventually(lambda: len(answers) > 12)
            for _ in range(2):
                old, *rest = balancer.nodes
                balancer.nodes = [old, *rest, others.pop()]
                await eventually(old.is_running_something)
                before = len(answers)
                # The balancer learns of it from the node's own health.
                assert await old.command.terminate() == 0
                balancer.nodes.remove(old)
                await eventually(lambda before=before: len(answers) > before + 12)  # type: ignore[misc]
            done.set()
    assert set(answers) == {b"".join(ANSWER)}
    # Four of the clients ask in pairs.
    assert len(up.calls) < len(answers)
