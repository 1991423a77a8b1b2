"""Stopping a generation through the transports, and what stops none."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio.to_thread
import httpx2
import pytest

import durable_transport as dt
from durable_transport import MemoryStorage, session
from durable_transport.protocol import format_offset, to_uuid
from proxy.harness import eventually, served
from proxy.wire import Wire
from proxy.wire import upstream as real_upstream
from transport.flavours import FLAVOURS, QUICK, UNIT, Flavour
from transport.scripted import Act, ScriptedProxy, answer, hang, refuse, reset, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

IDS = ("chat-1", "request-1")
ENDED = {
    "stopped": True,
    "state": "aborted",
    "bytes": 11,
    "end": {"event": "error", "code": "aborted", "state": "aborted", "reason": "enough"},
}


@pytest.fixture(params=FLAVOURS, ids=str)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    chosen: Flavour = request.param
    return chosen


@pytest.fixture
def proxy() -> Iterator[ScriptedProxy]:
    with serving(ScriptedProxy()) as scripted:
        yield scripted


async def stop(flavour: Flavour, url: str, *ids: str, **options: Any) -> dt.Stopped:
    """Stop through one of the transports, and close it."""
    made = {name: options.pop(name) for name in ("storage", "headers") if name in options}
    transport = flavour.transport(url, timing=QUICK, **made)
    try:
        if flavour.is_async:
            stopped: dt.Stopped = await transport.stop(*ids, **options)
        else:
            stopped = await anyio.to_thread.run_sync(partial(transport.stop, *ids, **options))
        return stopped
    finally:
        if flavour.is_async:
            await transport.aclose()
        else:
            transport.close()


def _told(status: int = 200, **changed: Any) -> Act:
    return answer(status, json.dumps(ENDED | changed).encode(), Content_Type="application/json")


async def test_a_stop_says_what_and_why(flavour: Flavour, proxy: ScriptedProxy) -> None:
    proxy.start_acts.append(_told())
    told = await stop(
        flavour, proxy.url, *IDS, reason="enough", actor="alice", incarnation="7",
        headers={"Authorization": "Bearer x"},
    )  # fmt: skip
    (request,) = proxy.requests
    assert request.path == f"/api/{to_uuid(IDS[0])}/{to_uuid(IDS[1])}/stop"
    assert json.loads(request.body) == {"reason": "enough", "actor": "alice", "incarnation": "7"}
    assert request.headers["authorization"] == "Bearer x"
    assert (told.by_this, told.state, told.offset) == (True, "aborted", 11)
    assert told.terminal is not None
    assert told.terminal.reason == "enough"


async def test_without_an_id_it_is_the_active_one(flavour: Flavour, proxy: ScriptedProxy) -> None:
    storage = MemoryStorage()
    sessions = flavour.transport(proxy.url, storage=storage).sessions
    sessions.begin(*IDS)
    proxy.start_acts.append(_told())
    assert (await stop(flavour, proxy.url, IDS[0], storage=storage)).request_id == IDS[1]
    assert str(to_uuid(IDS[1])) in proxy.requests[0].path
    assert sessions.active(IDS[0]) is None, "nothing is left to resume"


def _running(*requests: str) -> Act:
    told = {"sessionId": "s", "generations": [{"requestId": request} for request in requests]}
    return answer(200, json.dumps(told).encode(), Content_Type="application/json")


async def test_what_the_storage_does_not_know_the_proxy_is_asked_for(
    flavour: Flavour, proxy: ScriptedProxy
) -> None:
    session, newest = to_uuid(IDS[0]), str(uuid4())
    proxy.start_acts.append(_running())
    assert await stop(flavour, proxy.url, IDS[0]) == dt.Stopped(by_this=False)
    proxy.start_acts.extend([reset, _running(str(uuid4()), newest), _told()])
    told = await stop(flavour, proxy.url, IDS[0], reason="enough")
    assert (told.by_this, told.request_id) == (True, newest)
    asked = [(request.method, request.path) for request in proxy.requests]
    active = ("GET", f"/api/{session}/active")
    assert asked == [active, active, active, ("POST", f"/api/{session}/{newest}/stop")]


@pytest.mark.parametrize(
    ("act", "error"),
    [(refuse(403, "forbidden"), dt.ProxyRefused), (answer(200, b"<html>"), dt.NotADurableProxy)],
)
async def test_who_cannot_be_told_what_runs_hears_of_it(
    flavour: Flavour, proxy: ScriptedProxy, act: Act, error: type[Exception]
) -> None:
    proxy.start_acts.append(act)
    with pytest.raises(error):
        await stop(flavour, proxy.url, IDS[0])


async def test_one_that_is_not_confirmed_stays_resumable(
    flavour: Flavour, proxy: ScriptedProxy
) -> None:
    storage = MemoryStorage()
    sessions = flavour.transport(proxy.url, storage=storage).sessions
    sessions.begin(*IDS)
    proxy.start_acts.append(_told(202, state="streaming", end=None))
    told = await stop(flavour, proxy.url, IDS[0], storage=storage)
    assert (told.by_this, told.state, told.terminal) == (True, "streaming", None)
    assert sessions.active(IDS[0]) is not None


@pytest.mark.parametrize(
    "trouble",
    [reset, answer(502), refuse(503, "shutting_down", Retry_After="0"), refuse(401, "x"), hang],
    ids=["reset", "502", "503", "401", "hang"],
)
async def test_what_may_pass_is_tried_again(
    flavour: Flavour, proxy: ScriptedProxy, trouble: Act
) -> None:
    proxy.start_acts.extend([trouble, _told(stopped=False)])
    assert not (await stop(flavour, proxy.url, *IDS)).by_this
    assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    ("acts", "error", "code"),
    [
        ([refuse(404, "not_found")], dt.GenerationNotFound, "stream_not_found"),
        ([refuse(403, "forbidden")], dt.ProxyRefused, "forbidden"),
        ([refuse(401, "unauthorized")] * 2, dt.ProxyRefused, "unauthorized"),
        ([answer(200, b"<html>")], dt.NotADurableProxy, "not_a_durable_proxy"),
        ([answer(200, b"[]")], dt.NotADurableProxy, "not_a_durable_proxy"),
        ([answer(404, b"<html>")], dt.NotADurableProxy, "not_a_durable_proxy"),
        ([answer(503)] * 1000, dt.ProxyUnreachable, "proxy_unreachable"),
    ],
)
async def test_what_does_not_pass_is_raised(
    flavour: Flavour,
    proxy: ScriptedProxy,
    acts: list[Act],
    error: type[dt.GenerationError],
    code: str,
) -> None:
    proxy.start_acts.extend(acts)
    with pytest.raises(error) as raised:
        await stop(flavour, proxy.url, *IDS)
    assert (raised.value.code, raised.value.session_id) == (code, IDS[0])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("aborted", dt.GenerationAborted),
        ("upstream_timeout", dt.GenerationTimedOut),
        ("upstream_truncated", dt.GenerationTruncated),
        ("too_large", dt.GenerationTooLarge),
        ("orphaned", dt.GenerationOrphaned),
    ],
)
async def test_every_bad_end_has_its_error_after_all_bytes(
    flavour: Flavour, proxy: ScriptedProxy, code: str, kind: type[dt.GenerationError]
) -> None:
    proxy.body = b"as far as it came"
    payload = {"code": code, "message": "why", "reason": "enough", "actor": "alice"}
    proxy.terminal = {"event": "error", "payload": payload}
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == proxy.body
    assert isinstance(outcome.error, kind)
    assert (outcome.error.code, outcome.error.reason, outcome.error.actor) == (
        code,
        "enough",
        "alice",
    )


async def test_a_store_that_cannot_take_the_end_is_an_end_for_readers(
    flavour: Flavour, proxy: ScriptedProxy
) -> None:
    proxy.body = b"as far as it came"
    proxy.terminal = None
    proxy.control_acts.extend([refuse(503, "generation_stalled")] * 2)
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == proxy.body
    assert isinstance(outcome.error, dt.GenerationFailed)
    assert outcome.error.code == "generation_stalled"


# ---------------------------------------------------------------------- the whole of it


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/plain"))
    await wire.chunk(b"as far as it came")
    await asyncio.sleep(60 * UNIT)


async def test_a_stop_ends_the_readers_of_a_real_proxy(flavour: Flavour) -> None:
    ids = str(uuid4()), str(uuid4())
    async with real_upstream(_endless) as up, served(drain_seconds=0) as proxy:
        request = {"url": up.url, "headers": session(ids[0], request_id=ids[1])}
        reading = asyncio.create_task(flavour.fetch(proxy.url, request=request))
        await eventually(lambda: _stored(proxy, ids))
        # Of a program with a storage of its own, which knows nothing of this session.
        told = await stop(flavour, proxy.url, ids[0], actor="alice", reason="enough")
        assert (told.by_this, told.state, told.offset) == (True, "aborted", 17)
        async with asyncio.timeout(10 * UNIT):
            outcome = await reading
            await up.left.wait()
        assert outcome.body == b"as far as it came"
        assert isinstance(outcome.error, dt.GenerationAborted)
        assert (outcome.error.actor, outcome.error.reason) == ("alice", "enough")
        assert not (await stop(flavour, proxy.url, *ids)).by_this


async def _stored(proxy: Any, ids: tuple[str, str]) -> bool:
    answer = await proxy.client.get(f"/api/{ids[0]}/{ids[1]}")
    return bool(answer.status_code == 200 and answer.json()["offset"] == format_offset(17))


async def test_cancelling_whoever_reads_only_leaves() -> None:
    ids = str(uuid4()), str(uuid4())
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/plain"))
        await wire.chunk(b"one ")
        await go_on.wait()
        await wire.chunk(b"two")
        await wire.end()

    storage = MemoryStorage()
    seen = asyncio.Event()

    async with real_upstream(script) as up, served() as proxy:
        transport = dt.AsyncDurableTransport(proxy.url, storage=storage, timing=QUICK)
        async with httpx2.AsyncClient(transport=transport) as client:

            async def read() -> None:
                headers = session(ids[0], request_id=ids[1])
                async with client.stream("POST", up.url, headers=headers) as response:
                    async for _ in response.aiter_raw():
                        seen.set()

            reading = asyncio.create_task(read())
            async with asyncio.timeout(10 * UNIT):
                await seen.wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert reading.cancelled()
            status = (await proxy.client.get(f"/api/{ids[0]}/{ids[1]}")).json()
            assert (status["state"], status["stopping"]) == ("streaming", False)
            assert not up.left.is_set()
            go_on.set()
            resumed = await client.get(up.url, headers=dt.resume(ids[0], from_start=True))
            assert resumed.content == b"one two"
