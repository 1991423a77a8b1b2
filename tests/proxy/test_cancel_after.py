"""Stop if nobody reads: who counts as a reader, and for how long nobody may be there."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from durable_proxy._errors import RefusedError
from durable_transport.protocol import GenerationPaths, generation_paths
from proxy.harness import UNIT, Served, control, eventually, served, start_request, terminal
from proxy.wire import Upstream, Wire, pieces, upstream

pytestmark = pytest.mark.anyio

PATIENCE = max(1.0, UNIT)
AFTER = {"X-Proxy-Cancel-After": f"{PATIENCE:g}"}


@pytest.fixture(autouse=True)
def _quick_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/plain"))
    await wire.chunk(b"one")
    await asyncio.sleep(60 * UNIT)


async def _silent(_wire: Wire) -> None:
    await asyncio.sleep(60 * UNIT)


async def _start(proxy: Served, up: Upstream, **headers: str) -> tuple[UUID, UUID, GenerationPaths]:
    session, request = uuid4(), uuid4()
    answer = await proxy.client.post(
        proxy.path(session, request), headers={"X-Proxy-Url": up.url, **AFTER, **headers}
    )
    assert answer.status_code == 200, answer.text
    return session, request, generation_paths(session, request)


async def test_one_that_nobody_reads_is_stopped() -> None:
    async with upstream(_endless) as up, served(drain_seconds=0) as proxy:
        _, _, paths = await _start(proxy, up)
        async with asyncio.timeout(5 * PATIENCE):
            await up.left.wait()
        payload = (await terminal(proxy.log, paths)).terminal_payload()
        assert (payload.code, payload.state, payload.reason) == ("aborted", "aborted", "unread")
        assert payload.actor is None
        assert payload.message == f"nobody has been reading it for {PATIENCE:g} s"
        events = [message.event for message in await control(proxy.log, paths)]
        assert events == ["options", "start", "error"]


@pytest.mark.parametrize(
    "query", ["live=raw", "live=sse", "live=long-poll"], ids=["raw", "sse", "poll"]
)
async def test_one_that_is_read_goes_on_until_its_reader_has_gone(query: str) -> None:
    async with upstream(_endless) as up, served(drain_seconds=0) as proxy:
        _, _, paths = await _start(proxy, up)
        url = f"/v1/stream/{paths.data}?{query}&offset=00000000000000000003"
        reading = asyncio.create_task(proxy.client.get(url))
        await asyncio.sleep(2 * PATIENCE)
        assert not up.left.is_set()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        async with asyncio.timeout(5 * PATIENCE):
            await up.left.wait()
        assert (await terminal(proxy.log, paths)).terminal_payload().reason == "unread"


async def test_who_waits_for_the_upstream_is_a_reader_until_they_leave() -> None:
    async with upstream(_silent) as up, served(drain_seconds=0) as proxy:
        session, request = uuid4(), uuid4()
        headers = {"X-Proxy-Url": up.url, **AFTER}
        starting = asyncio.create_task(
            proxy.client.post(proxy.path(session, request), headers=headers)
        )
        await asyncio.sleep(2 * PATIENCE)
        assert not up.left.is_set()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        async with asyncio.timeout(5 * PATIENCE):
            await up.left.wait()
        record = await terminal(proxy.log, generation_paths(session, request))
        assert record.terminal_payload().reason == "unread"


async def test_one_that_ends_in_time_is_complete() -> None:
    async with upstream(pieces(b"all")) as up, served() as proxy:
        _, _, paths = await _start(proxy, up)
        assert (await terminal(proxy.log, paths)).event == "done"
        await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "0", "0.5", "1e3", "nan", "inf", "86401", "9" * 5000, "1,2"]
)
def test_a_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="X-Proxy-Cancel-After is a number of seconds"):
        start_request("http://127.0.0.1:1/", ("X-Proxy-Cancel-After", value))


def test_a_time() -> None:
    def seconds(*headers: Any) -> float | None:
        return start_request("http://127.0.0.1:1/", *headers).cancel_after

    assert seconds() is None
    assert seconds(("X-Proxy-Cancel-After", "1.25")) == 1.25
    assert seconds(("X-Proxy-Cancel-After", "86400")) == 86400
    assert not any(
        b"cancel" in name
        for name, _ in start_request("http://127.0.0.1:1/", *AFTER.items()).headers
    )
