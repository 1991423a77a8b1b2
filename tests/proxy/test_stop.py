"""Stopping a generation: by anybody who may, at any time, and never another one than was meant."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from durable_streams_server import Delete, Log
from durable_transport.protocol import generation_paths
from proxy.harness import UNIT, Served, control, data, eventually, served, terminal
from proxy.wire import Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from proxy.wire import Upstream

pytestmark = pytest.mark.anyio


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"data: one\n\n")
    await asyncio.sleep(60 * UNIT)


async def _silent(_wire: Wire) -> None:
    await asyncio.sleep(60 * UNIT)


@pytest.fixture(autouse=True)
def _quick_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


class Running:
    """A generation that runs, and what one can do to it."""

    def __init__(self, proxy: Served, up: Upstream) -> None:
        self.proxy = proxy
        self.up = up
        self.session, self.request = uuid4(), uuid4()
        self.paths = generation_paths(self.session, self.request)

    async def start(self, **headers: str) -> httpx2.Response:
        return await self.proxy.client.post(
            self.proxy.path(self.session, self.request),
            headers={"X-Proxy-Url": self.up.url} | headers,
            content=b"{}",
        )

    async def stop(self, **body: Any) -> httpx2.Response:
        path = self.proxy.path(self.session, self.request)
        return await self.proxy.client.post(f"{path}/stop", json=body)

    async def look(self) -> Any:
        answer = await self.proxy.client.get(self.proxy.path(self.session, self.request))
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def running(script: Any = _endless, **options: Any) -> AsyncIterator[Running]:
    """A proxy with an upstream, and ids for one generation."""
    async with upstream(script) as up, served(**({"drain_seconds": 0} | options)) as proxy:
        yield Running(proxy, up)


async def test_a_stop_ends_the_upstream_keeps_what_came_and_says_who_and_why() -> None:
    async with running() as one:
        started = (await one.start()).json()
        begun = asyncio.get_running_loop().time()
        answer = await one.stop(actor="alice", reason="said enough")
        assert answer.status_code == 200
        async with asyncio.timeout(UNIT):
            await one.up.left.wait()
        assert asyncio.get_running_loop().time() - begun < UNIT
        told = answer.json()
        assert told["stopped"] is True
        assert (told["state"], told["bytes"]) == ("aborted", 11)
        assert told["incarnation"] == started["incarnation"]
        assert started["stopUrl"].endswith(f"/api/{one.session}/{one.request}/stop")
        record = await terminal(one.proxy.log, one.paths)
        assert record.data_position == 11
        assert await data(one.proxy.log, one.paths) == b"data: one\n\n"
        payload = record.terminal_payload()
        assert (payload.code, payload.state) == ("aborted", "aborted")
        assert (payload.actor, payload.reason) == ("alice", "said enough")
        assert payload.message == "alice stopped the generation: said enough"
        assert payload.bytes is not None
        assert payload.timing is not None
        assert payload.bytes.stored == payload.bytes.received == 11
        assert payload.timing.first_byte_ms is not None
        assert payload.timing.first_byte_ms <= payload.timing.duration_ms < 20_000 * UNIT
        assert told["end"]["reason"] == "said enough"
        events = [message.event for message in await control(one.proxy.log, one.paths)]
        assert events == ["start", "stop", "error"]


async def test_a_stop_without_a_body_and_one_while_the_upstream_thinks() -> None:
    async with running(_silent) as one:
        starting = asyncio.create_task(one.start())
        await eventually(lambda: len(one.up.calls) == 1)
        assert (await one.look())["state"] == "starting"
        path = one.proxy.path(one.session, one.request)
        answer = await one.proxy.client.post(f"{path}/stop")
        assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
        assert answer.json()["end"]["reason"] == "stopped"
        refused = await starting
        # No SDK sends a request again that was answered so.
        assert refused.status_code == 410
        assert refused.headers["x-proxy-error"] == "generation_aborted"
        async with asyncio.timeout(5 * UNIT):
            await one.up.left.wait()
        assert (await one.start()).status_code == 410, "what was stopped stays stopped"
        assert len(one.up.calls) == 1


async def test_twenty_stops_at_once_are_one() -> None:
    async with running() as one:
        await one.start()
        answers = await asyncio.gather(*[one.stop(actor=str(n)) for n in range(20)])
        assert all(answer.status_code == 200 for answer in answers)
        told = [answer.json() for answer in answers]
        assert [one["stopped"] for one in told].count(True) == 1
        assert all(one["state"] == "aborted" and one["end"] == told[0]["end"] for one in told)
        events = [message.event for message in await control(one.proxy.log, one.paths)]
        assert events == ["start", "stop", "error"]


@pytest.mark.parametrize(
    ("script", "state"), [(pieces(b"all"), "completed"), (whole(500, b"no"), "failed")]
)
async def test_a_stop_after_the_end_changes_nothing(script: Any, state: str) -> None:
    async with running(script) as one:
        await one.start()
        before = await control(one.proxy.log, one.paths)
        answer = await one.stop(reason="late")
        assert answer.status_code == 200
        assert (answer.json()["stopped"], answer.json()["state"]) == (False, state)
        assert "response" not in answer.json()["end"]
        assert await control(one.proxy.log, one.paths) == before


async def test_a_late_stop_does_not_hit_the_next_attempt() -> None:
    scripts = [whole(429, b"slow down"), _endless]

    async def script(wire: Wire) -> None:
        await scripts.pop(0)(wire)

    async with running(script) as one:
        await one.start()
        first = (await one.look())["incarnation"]
        second = (await one.start()).json()["incarnation"]
        assert first != second
        answer = await one.stop(incarnation=first)
        assert answer.status_code == 200
        assert (answer.json()["stopped"], answer.json()["state"]) == (False, "streaming")
        assert (await one.look())["stopping"] is False
        answer = await one.stop(incarnation=second)
        assert (answer.json()["stopped"], answer.json()["state"]) == (True, "aborted")


async def test_a_stop_that_was_decided_for_one_attempt_is_not_written_into_another() -> None:
    # Between the look and the write, the generation ends and the next attempt begins.
    class SlowLog(Log):
        armed = False
        looked, go_on = asyncio.Event(), asyncio.Event()

        async def transact(self, *operations: Any) -> Any:
            if self.armed and b'"stop"' in getattr(operations[0], "data", b""):
                self.armed = False
                self.looked.set()
                await self.go_on.wait()
            return await super().transact(*operations)

    held = asyncio.Event()

    async def rejects(wire: Wire) -> None:
        await held.wait()
        await wire.whole(429, b"slow down")

    scripts = [rejects, _endless]

    async def script(wire: Wire) -> None:
        await scripts.pop(0)(wire)

    async with await SlowLog.open("sqlite://") as log, running(script, store=log) as one:
        starting = asyncio.create_task(one.start())
        await eventually(lambda: len(one.up.calls) == 1)
        log.armed = True
        first = (await one.look())["incarnation"]
        stopping = asyncio.create_task(one.stop(incarnation=first))
        await log.looked.wait()
        held.set()
        assert (await starting).status_code == 429
        assert (await one.start()).status_code == 200
        log.go_on.set()
        assert (await stopping).json()["stopped"] is False
        assert (await one.look())["state"] == "streaming"


async def test_nothing_to_stop() -> None:
    async with running() as one:
        answer = await one.stop()
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
        answer = await one.proxy.client.get(one.proxy.path(one.session, one.request))
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"[" * 10_000, 400),
        (b'{"reason": 1}', 400),
        (b'{"actor": ["x"]}', 400),
        (b'{"actor": "%b"}' % (b"x" * 1001), 400),
        (b'{"incarnation": "x"}', 400),
        (b'{"incarnation": 1.5}', 400),
        (b'{"incarnation": -1}', 400),
        (b'{"incarnation": true}', 400),
        (b'{"incarnation": "%b"}' % (b"9" * 20), 400),
        (b" " * 20_000, 413),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
async def test_a_stop_that_makes_no_sense_is_refused(body: bytes, status: int) -> None:
    async with running() as one:
        await one.start()
        path = one.proxy.path(one.session, one.request)
        answer = await one.proxy.client.post(f"{path}/stop", content=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["x-proxy-error"] == answer.json()["error"]["code"]
        assert (await one.look())["state"] == "streaming"


async def test_ids_that_are_none() -> None:
    async with running() as one:
        for path in ("/api/x/active", f"/api/{uuid4()}/x", "/api/x/y"):
            answer = await one.proxy.client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_id")
        answer = await one.proxy.client.post("/api/x/y/stop")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_id")


async def test_an_odd_text_of_a_stop_is_kept_as_far_as_it_can_be() -> None:
    async with running() as one:
        await one.start()
        path = one.proxy.path(one.session, one.request)
        body = rb'{"reason": "\ud800 \u0000 \"quoted\""}'
        answer = await one.proxy.client.post(f"{path}/stop", content=body)
        assert answer.json()["end"]["reason"] == '? \x00 "quoted"'
        record = await terminal(one.proxy.log, one.paths)
        assert record.terminal_payload().reason == '? \x00 "quoted"'


async def test_a_stop_while_the_log_is_slow_lets_the_upstream_go_at_once() -> None:
    class SlowLog(Log):
        slow = False
        go_on = asyncio.Event()

        async def transact(self, *operations: Any) -> Any:
            if self.slow and any("/data" in operation.path for operation in operations):
                await self.go_on.wait()
            return await super().transact(*operations)

    more = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"one")
        await more.wait()
        while True:
            await wire.chunk(b"x" * 50_000)

    async with await SlowLog.open("sqlite://") as log, running(script, store=log) as one:
        await one.start()
        log.slow = True
        more.set()
        stopping = asyncio.create_task(one.stop())
        async with asyncio.timeout(2 * UNIT):
            await one.up.left.wait()
        assert not stopping.done()
        log.go_on.set()
        assert (await stopping).json()["state"] == "aborted"


async def test_a_deleted_generation_lets_its_upstream_go() -> None:
    async with running() as one:
        await one.start()
        log = one.proxy.log
        await log.transact(Delete(one.paths.control), Delete(one.paths.data))
        async with asyncio.timeout(5 * UNIT):
            await one.up.left.wait()
        await eventually(lambda: one.proxy.app.state.proxy.parts.generations.active == 0)


# ---------------------------------------------------------------------- who runs


async def test_who_runs_since_when_and_how_far() -> None:
    async with running() as one:
        assert (await one.proxy.client.get("/api/generations")).json() == {"generations": []}
        started = (await one.start()).json()
        other = Running(one.proxy, one.up)
        await other.start()
        await eventually(lambda: _has_bytes(one))
        listed = (await one.proxy.client.get("/api/generations")).json()["generations"]
        assert [item["sessionId"] for item in listed] == [str(one.session), str(other.session)]
        first = listed[0]
        assert first.pop("ageMs") >= 0
        assert first.pop("startedAt").endswith("Z")
        assert first == {
            "sessionId": str(one.session),
            "requestId": str(one.request),
            "incarnation": started["incarnation"],
            "state": "streaming",
            "bytes": 11,
            "offset": "00000000000000000011",
            "dataStream": one.paths.data,
            "controlStream": one.paths.control,
            "node": one.proxy.log.node_id,
            "nodeAlive": True,
            "stopping": False,
        }
        active = (await one.proxy.client.get(f"/api/{one.session}/active")).json()
        assert active["sessionId"] == str(one.session)
        assert [item["requestId"] for item in active["generations"]] == [str(one.request)]
        await one.stop()
        active = (await one.proxy.client.get(f"/api/{one.session}/active")).json()
        assert active["generations"] == []
        listed = (await one.proxy.client.get("/api/generations")).json()["generations"]
        assert [item["sessionId"] for item in listed] == [str(other.session)]


async def _has_bytes(one: Running) -> bool:
    return bool((await one.look())["bytes"] == 11)


async def test_headers_alone_are_streaming_too() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await asyncio.sleep(60 * UNIT)

    async with running(script) as one:
        await one.start()
        (item,) = (await one.proxy.client.get("/api/generations")).json()["generations"]
        assert (item["state"], item["bytes"]) == ("streaming", 0)


async def test_a_live_answer_names_its_incarnation() -> None:
    async with running(pieces(b"x")) as one:
        answer = await one.start(**{"X-Proxy-Live": "raw"})
        assert answer.headers["x-proxy-incarnation"] == (await one.look())["incarnation"]


async def test_the_end_is_told_after_it() -> None:
    async with running(pieces(b"all")) as one:
        await one.start()
        await terminal(one.proxy.log, one.paths)
        told = await one.look()
        assert told["state"] == "completed"
        assert told["end"]["event"] == "done"
        assert told["end"]["bytes"] == {"stored": 3, "received": 3}
        assert UUID(told["requestId"]) == one.request
