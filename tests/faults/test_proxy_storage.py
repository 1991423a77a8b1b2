"""A store that refuses writes in mid-answer: the generation fails, and never with a hole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx2
import pytest

from durable_proxy._answers import Accepted
from durable_proxy._errors import Refusal
from durable_streams_server import Append, Create, Log, StorageError
from durable_transport import AsyncDurableTransport, GenerationFailed, session
from durable_transport.protocol import ErrorCode, TerminalCode, generation_paths
from proxy import harness
from proxy.harness import (
    UNIT,
    control,
    data,
    eventually,
    generations,
    served,
    start_request,
    terminal,
)
from proxy.shapes import Rows, node, of
from proxy.wire import Wire, upstream, whole
from streams.forwarder import Forwarder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durable_streams_server import Operation, Outcome
    from streams.postgres import Database

pytestmark = pytest.mark.anyio

PARTS = [b"part %d; " % number for number in range(8)]


class FailingLog(Log):
    """Fails chosen writes of generations, before or after they were made.

    Attributes:
        refusals: Numbers of the appends (counted from 0) that fail, as a full disk would.
        late: Fail after the write has been made: its caller cannot know.
    """

    refusals: frozenset[int] = frozenset()
    late = False
    appends = 0

    async def transact(self, *operations: Operation) -> tuple[Outcome, ...]:
        if not any(isinstance(operation, Append) for operation in operations):
            return await super().transact(*operations)
        number, self.appends = self.appends, self.appends + 1
        if number not in self.refusals:
            return await super().transact(*operations)
        if self.late:
            await super().transact(*operations)
        raise StorageError("no space left on device")


async def _one_part_per_commit(wire: Wire, log: FailingLog) -> None:
    await wire.head()
    for number, part in enumerate(PARTS):
        await wire.chunk(part)
        await eventually(lambda number=number: log.appends > number)  # type: ignore[misc]
    await wire.end()


@pytest.mark.parametrize("refused", range(len(PARTS) + 1))
@pytest.mark.parametrize("late", [False, True], ids=["not written", "written"])
async def test_one_refused_write(refused: int, *, late: bool) -> None:
    async with await FailingLog.open("sqlite://") as log:
        log.refusals, log.late = frozenset({refused}), late

        async def script(wire: Wire) -> None:
            await _one_part_per_commit(wire, log)

        async with upstream(script) as up, generations(log) as running:
            request = start_request(up.url)
            await running.start(request)
            body = await data(log, request.paths)
            assert b"".join(PARTS).startswith(body), "a hole"
            record = await terminal(log, request.paths)
            if record.event == "done":
                # The last write, with the end in it, was made after all.
                assert late
                assert body == b"".join(PARTS)
            else:
                assert record.payload["code"] == TerminalCode.STORAGE_ERROR
                assert "space" not in record.payload["message"], "an internal text"
            assert len(up.calls) == 1
            await eventually(lambda: running.active == 0)


async def test_an_outage_is_waited_for_and_then_told(unit: float) -> None:
    async with await FailingLog.open("sqlite://") as log:
        log.refusals = frozenset(range(2, 6))

        async def script(wire: Wire) -> None:
            await _one_part_per_commit(wire, log)

        async with upstream(script) as up, generations(log) as running:
            request = start_request(up.url)
            assert isinstance(await running.start(request), Accepted)
            async with asyncio.timeout(10 * unit):
                record = await terminal(log, request.paths)
            assert record.payload["code"] == TerminalCode.STORAGE_ERROR
            assert await data(log, request.paths) == b"".join(PARTS[:2])
            assert len(up.calls) == 1
            await asyncio.wait_for(up.left.wait(), 5 * unit)


async def test_a_start_during_an_outage_is_refused_and_not_left_waiting() -> None:
    async with await FailingLog.open("sqlite://") as log:
        log.refusals = frozenset(range(100))

        async def script(wire: Wire) -> None:
            await wire.head()
            await wire.chunk(b"x")
            await asyncio.sleep(60 * UNIT)

        async with upstream(script) as up, generations(log) as running:
            request = start_request(up.url)
            async with asyncio.timeout(10 * UNIT):
                answer = await running.start(request)
            assert isinstance(answer, Refusal)
            assert answer.code is ErrorCode.STORAGE_UNAVAILABLE
            log.refusals = frozenset()
            messages = await control(log, request.paths)
            assert [message.payload["code"] for message in messages] == ["storage_error"]
            assert await data(log, request.paths) == b""


async def test_readers_are_told_when_the_store_stays_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._stalled.PATIENCE_SECONDS", 0.3 * UNIT)
    monkeypatch.setattr("durable_proxy._relay.LAST_RETRY_SECONDS", 0.1 * UNIT)
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)
    async with await FailingLog.open("sqlite://") as log:
        log.refusals = frozenset(range(2, 100_000))

        async def script(wire: Wire) -> None:
            await _one_part_per_commit(wire, log)

        async with upstream(script) as up, served(log, drain_seconds=0) as proxy:
            transport = AsyncDurableTransport(proxy.url)
            async with (
                httpx2.AsyncClient(transport=transport, timeout=20 * UNIT) as client,
                asyncio.timeout(10 * UNIT),
            ):
                got = bytearray()

                async def read() -> None:
                    headers = session(ids[0], request_id=ids[1])
                    async with client.stream("POST", up.url, headers=headers) as answer:
                        async for piece in answer.aiter_raw():
                            got.extend(piece)

                ids = str(uuid4()), str(uuid4())
                with pytest.raises(GenerationFailed) as failed:
                    await read()
                assert got == b"".join(PARTS[:2])
                assert failed.value.code == "generation_stalled"
                # The bytes are there, and so is the reason, for whoever comes later.
                paths = generation_paths(UUID(ids[0]), UUID(ids[1]))
                url = f"/v1/stream/{paths.data}"
                assert (await proxy.client.get(f"{url}?offset=-1")).content == got
                for offset in (f"{len(got):020d}", "now"):
                    refused = await proxy.client.get(f"{url}?offset={offset}&live=long-poll")
                    assert refused.status_code == 503
                    assert refused.json()["error"]["code"] == "generation_stalled"
                log.refusals = frozenset()
                record = await terminal(log, paths)
                assert record.payload["code"] == TerminalCode.STORAGE_ERROR
                answer = await proxy.client.get(f"{url}?offset={len(got):020d}&live=long-poll")
                assert answer.headers["stream-closed"] == "true"


async def test_readers_by_the_proxy_protocol_are_told_so_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("durable_proxy._stalled.PATIENCE_SECONDS", 0.3 * UNIT)
    monkeypatch.setattr("durable_proxy._relay.LAST_RETRY_SECONDS", 0.1 * UNIT)
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)
    async with await FailingLog.open("sqlite://") as log:
        log.refusals = frozenset(range(1, 100_000))

        async def script(wire: Wire) -> None:
            await _one_part_per_commit(wire, log)

        async with upstream(script) as up, served(log, drain_seconds=0) as proxy:
            headers = {"Upstream-URL": up.url, "Upstream-Method": "POST"}
            created = await proxy.client.post("/v1/proxy", headers=headers, content=b"{}")
            address = created.headers["location"]
            stored = (await proxy.client.get(f"{address}&offset=-1")).headers["stream-next-offset"]

            async def is_told() -> bool:
                read = await proxy.client.get(f"{address}&offset={stored}&live=long-poll")
                return read.status_code == 503 and "generation_stalled" in read.text

            await eventually(is_told)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._stalled.PATIENCE_SECONDS", 0.3 * UNIT)
    monkeypatch.setattr("durable_proxy._relay.LAST_RETRY_SECONDS", 0.1 * UNIT)
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


HALF = "half a €".encode()[:-1]
"""The last bytes are no row before the rest of the character is there."""


def _half_a_character(log: FailingLog) -> Callable[[Wire], Awaitable[None]]:
    """The store is full from the moment that the first piece is in it."""

    async def stored() -> bool:
        return any(stream.tail == len(HALF) for stream in await log.list_streams("generations/"))

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(HALF)
        await eventually(stored)
        log.refusals = frozenset(range(100_000))
        await wire.chunk(b"never stored")
        await wire.end()

    return script


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("kind", ["data", "control"])
@pytest.mark.parametrize("whole_session", [False, True], ids=["request", "session"])
async def test_readers_of_shapes_are_told_so_too(kind: str, *, whole_session: bool) -> None:
    async with await FailingLog.open("sqlite://") as log:
        ids = uuid4(), uuid4()
        async with (
            upstream(_half_a_character(log)) as up,
            served(log, drain_seconds=0) as proxy,
            asyncio.timeout(15 * UNIT),
        ):
            headers = {"X-Proxy-Url": up.url}
            assert (await proxy.client.post(proxy.path(*ids), headers=headers)).status_code == 200
            rows = Rows(proxy, kind, of(*ids[: 1 if whole_session else 2]))
            await rows.catch_up()
            # Whoever waits by either way is sent home, and nobody else is kept from anything.
            query = rows.place | {"live": "true", "live_sse": "true"}
            await asyncio.gather(rows.live(), proxy.client.get(f"/stream/{kind}", params=query))
            assert (await proxy.client.get("/health")).status_code in (200, 503)
            for more in ({}, {"live": "true"}, {"live": "true", "live_sse": "true"}):
                refused = await rows.ask(**more)
                assert refused.status_code == 503, more
                assert refused.json()["error"]["code"] == "generation_stalled"
                assert "retry-after" in refused.headers
            # The rows are there for whoever comes later, as far as there are any.
            late = await Rows(proxy, kind, of(*ids)).ask()
            assert late.status_code == (200 if kind == "data" else 503)
            log.refusals = frozenset()
            await terminal(log, generation_paths(*ids))
            assert (await rows.ask()).status_code == 200
            if kind == "data":
                assert rows.text == "half a \ufffd"
            else:
                assert rows.rows[-1]["event"] == "error"


@pytest.mark.usefixtures("_soon")
async def test_our_transport_raises_by_shapes_what_it_raises_by_the_log() -> None:
    async with (
        await FailingLog.open("sqlite://") as log,
        upstream(_half_a_character(log)) as up,
        served(log, drain_seconds=0) as proxy,
        httpx2.AsyncClient(
            transport=AsyncDurableTransport(proxy.url, reads="shapes"), timeout=20 * UNIT
        ) as client,
        asyncio.timeout(15 * UNIT),
    ):
        got = bytearray()

        async def read() -> None:
            async with client.stream("POST", up.url) as answer:
                async for piece in answer.aiter_raw():
                    got.extend(piece)

        with pytest.raises(GenerationFailed) as failed:
            await read()
        assert failed.value.code == "generation_stalled"
        assert got == b"half a "


@pytest.mark.usefixtures("_soon")
async def test_an_unmodified_client_of_electric_asks_again_until_the_record_is_there() -> None:
    async with await FailingLog.open("sqlite://") as log:
        ids = uuid4(), uuid4()
        async with upstream(_half_a_character(log)) as up, served(log, drain_seconds=0) as proxy:
            headers = {"X-Proxy-Url": up.url}
            assert (await proxy.client.post(proxy.path(*ids), headers=headers)).status_code == 200
            async with node(f"{proxy.url}/stream/control", params=of(*ids)) as client:
                await client.until(lambda: any(one.get("status") == 503 for one in client.said))
                log.refusals = frozenset()
                await client.until(lambda: bool(client.rows))
                assert client.rows[0]["payload"]["code"] == TerminalCode.STORAGE_ERROR
                assert client.refetches == 0


async def test_over_http_an_outage_is_a_503_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class BrokenLog(Log):
        broken = True

        async def transact(self, *operations: Operation) -> tuple[Outcome, ...]:
            if self.broken and any(isinstance(operation, Create) for operation in operations):
                raise StorageError("no space left on device")
            return await super().transact(*operations)

        def check(self) -> None:
            if self.broken:
                raise StorageError("no space left on device")

    async with (
        await BrokenLog.open("sqlite://") as log,
        upstream(whole(200, b"hello")) as up,
        served(log) as proxy,
    ):
        answer = await proxy.start(up.url)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-proxy-error"] == "storage_unavailable"
        assert "space" not in answer.text
        health = await proxy.client.get("/health")
        assert (health.status_code, health.json()["store"]) == (503, "failing")
        assert up.calls == []
        monkeypatch.setattr(log, "broken", False)
        assert (await proxy.start(up.url)).status_code == 200
        assert (await proxy.client.get("/health")).json()["status"] == "ok"


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("as_command", [False, True])
async def test_without_a_database_every_read_is_a_503(
    postgres: Database, *, as_command: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", as_command)
    server, _, rest = postgres.url.rpartition(":")
    port, _, name = rest.partition("/")
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        await go_on.wait()
        await wire.chunk(b"never stored")
        await wire.end()

    async with Forwarder(int(port)) as forwarder, upstream(script) as up:
        store = f"{server}:{forwarder.port}/{name}?timeout=0.5&connect_timeout=2"
        async with served(store, drain_seconds=0) as proxy, asyncio.timeout(30 * UNIT):
            ids = uuid4(), uuid4()
            headers = {"X-Proxy-Url": up.url}
            assert (await proxy.client.post(proxy.path(*ids), headers=headers)).status_code == 200
            forwarder.refusing = True
            forwarder.cut()
            go_on.set()
            paths, stalls = generation_paths(*ids), proxy.app.state.proxy.parts.generations.stalls
            await eventually(lambda: stalls.is_over(paths))
            for path in (paths.data, paths.control):
                for query in ("offset=-1", "offset=now", "offset=now&live=long-poll"):
                    refused = await proxy.client.get(f"/v1/stream/{path}?{query}")
                    assert refused.status_code == 503, query
                    assert refused.json()["error"]["code"] == "storage_unavailable"
                    assert refused.headers["retry-after"] == "1"
            forwarder.refusing = False
            await eventually(lambda: not stalls)
