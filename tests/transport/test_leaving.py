"""Closing and cancelling: reading stops at once, nothing is left behind, the offset is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from durable_transport import (
    AsyncDurableTransport,
    DurableTransport,
    FileStorage,
    MemoryStorage,
    Sessions,
    session,
)
from transport.conftest import BODY
from transport.flavours import FLAVOURS, QUICK, UPSTREAM, Flavour, quick
from transport.scripted import ScriptedProxy, answer, end_after, hang, hang_after, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
ASYNC = [flavour for flavour in FLAVOURS if flavour.is_async]


def pointer(storage: Any, proxy: ScriptedProxy, name: str = "s") -> int | None:
    found = Sessions(storage, proxy.url, clock=time.time).active(name)
    return None if found is None else found.offset


async def eventually(condition: Callable[[], bool], unit: float) -> None:
    with anyio.fail_after(5 * unit):
        while not condition():  # noqa: ASYNC110  (the condition is one of another thread)
            await anyio.sleep(0.002)


@pytest.mark.parametrize("flavour", ASYNC, ids=str)
async def test_cancelling_a_read_closes_the_socket_and_keeps_the_offset(
    proxy: ScriptedProxy, flavour: Flavour, unit: float, tmp_path: Path
) -> None:
    storage = FileStorage(tmp_path)
    proxy.data_acts.append(hang_after(50))
    transport = flavour.transport(proxy.url, storage=storage)
    async with flavour.library.AsyncClient(transport=transport) as client:
        received = bytearray()

        async def read() -> None:
            async with client.stream("POST", UPSTREAM, headers=session("s")) as response:
                async for part in response.aiter_raw():
                    received.extend(part)

        task = asyncio.create_task(read())
        await eventually(lambda: len(received) == 50, unit)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < unit
        await eventually(lambda: proxy.open_connections() == 0, unit)
    assert await anyio.to_thread.run_sync(pointer, storage, proxy) == 50
    assert proxy.kinds() == ["start"]


@pytest.mark.parametrize("flavour", ASYNC, ids=str)
@pytest.mark.parametrize("where", ["start", "back-off", "reconnect", "control"])
async def test_cancelling_anywhere_leaves_nothing_open(
    proxy: ScriptedProxy, flavour: Flavour, unit: float, where: str
) -> None:
    match where:
        case "start":
            proxy.start_acts.append(hang)
        case "back-off":
            proxy.data_acts.extend([end_after(5), *([answer(503)] * 99)])
        case "reconnect":
            proxy.data_acts.extend([end_after(5), hang])
        case "control":
            proxy.control_acts.append(hang)
    storage = MemoryStorage()
    transport = flavour.transport(proxy.url, storage=storage)
    async with flavour.library.AsyncClient(transport=transport) as client:
        expected = {"start": 1, "back-off": 4, "reconnect": 3, "control": 2}[where]
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def read() -> None:
                    await client.post(UPSTREAM, headers=session("s"))

                group.start_soon(read)
                await eventually(lambda: len(proxy.requests) >= expected, unit)
                scope.cancel()
        await eventually(lambda: proxy.open_connections() == 0 or where == "back-off", unit)
    await eventually(lambda: proxy.open_connections() == 0, unit)
    assert pointer(storage, proxy) is not None


async def test_closing_early_stops_reading_and_keeps_the_pointer(
    proxy: ScriptedProxy, flavour: Flavour, unit: float
) -> None:
    storage = MemoryStorage()
    proxy.terminal = None
    proxy.data_acts.append(hang_after(70))
    began = time.monotonic()
    outcome = await flavour.fetch(
        proxy.url, storage=storage, stop_after=50, request={"headers": session("s")}
    )
    assert outcome.error is None
    assert time.monotonic() - began < unit
    await eventually(lambda: proxy.open_connections() == 0, unit)
    kept = pointer(storage, proxy)
    assert kept is not None
    assert 0 < kept <= len(outcome.body)
    assert outcome.durable is not None
    assert not outcome.durable.completed


async def test_closing_at_an_end_mark_finds_that_it_was_the_end(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    """SDKs stop at their format's end mark; a finished generation is not left resumable."""
    storage = MemoryStorage()
    outcome = await flavour.fetch(
        proxy.url,
        storage=storage,
        stop_after=len(BODY),
        timing=quick(settle=5.0),
        request={"headers": session("s")},
    )
    assert outcome.durable is not None
    assert outcome.durable.completed
    assert pointer(storage, proxy) is None


async def test_closing_does_not_wait_for_a_proxy_that_says_nothing(
    proxy: ScriptedProxy, flavour: Flavour, unit: float
) -> None:
    storage = MemoryStorage()
    proxy.control_acts.append(hang)
    began = time.monotonic()
    await flavour.fetch(
        proxy.url, storage=storage, stop_after=len(BODY), request={"headers": session("s")}
    )
    assert time.monotonic() - began < unit
    assert pointer(storage, proxy) is not None


async def test_a_response_that_is_never_read_can_be_closed(
    proxy: ScriptedProxy, flavour: Flavour, unit: float
) -> None:
    proxy.data_acts.append(hang_after(50))
    outcome = await flavour.fetch(proxy.url, stop_after=0)
    assert outcome.error is None
    await eventually(lambda: proxy.open_connections() == 0, unit)


async def test_the_offset_is_never_ahead_of_what_was_consumed(
    proxy: ScriptedProxy,
) -> None:
    storage = MemoryStorage()
    transport = AsyncDurableTransport(proxy.url, storage=storage, timing=QUICK)
    async with (
        httpx2.AsyncClient(transport=transport) as client,
        client.stream("POST", UPSTREAM, headers=session("s")) as response,
    ):
        done = 0
        async for part in response.aiter_raw():
            # ours only while we hold this part: it is not consumed yet
            assert pointer(storage, proxy) == done
            done += len(part)
            assert response.extensions["durable"].offset == done
    assert done == len(BODY)


async def test_a_storage_that_fails_later_does_not_cost_the_stream(
    proxy: ScriptedProxy, flavour: Flavour, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(FileStorage):
        writes = 0

        def update(self, key: str, change: Any) -> None:
            self.writes += 1
            if self.writes > 1:
                from durable_transport import StorageError

                raise StorageError(str(self.path), "No space left on device")
            super().update(key, change)

    outcome = await flavour.fetch(
        proxy.url, storage=Full(tmp_path), request={"headers": session("s")}
    )
    assert (outcome.body, outcome.error) == (BODY, None)
    assert "No space left" in caplog.text


async def test_only_what_was_made_here_is_closed(proxy: ScriptedProxy) -> None:
    class Inner(httpx2.AsyncHTTPTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True
            await super().aclose()

    inner = Inner()
    transport = AsyncDurableTransport(proxy.url, transport=inner)
    await transport.aclose()
    assert not inner.closed
    await inner.aclose()


def test_a_sync_read_interrupted_by_an_exception_keeps_the_offset(
    proxy: ScriptedProxy, unit: float
) -> None:
    storage = MemoryStorage()
    proxy.data_acts.append(hang_after(50))
    transport = DurableTransport(proxy.url, storage=storage, timing=QUICK)
    received = 0

    def read(client: httpx2.Client) -> None:
        nonlocal received
        with client.stream("POST", UPSTREAM, headers=session("s")) as response:
            for part in response.iter_raw():
                received += len(part)
                if received >= 30:
                    raise KeyboardInterrupt

    with httpx2.Client(transport=transport) as client, pytest.raises(KeyboardInterrupt):
        read(client)
    assert 0 < (pointer(storage, proxy) or 0) <= received
    deadline = time.monotonic() + 5 * unit
    while proxy.open_connections() and time.monotonic() < deadline:
        threading.Event().wait(0.002)
    assert proxy.open_connections() == 0
    assert "data" not in proxy.kinds()


@pytest.mark.allow_leaks  # trio keeps its worker threads for a while
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio(anyio_backend: str, tmp_path: Path) -> None:
    del anyio_backend
    with serving(ScriptedProxy(body=BODY)) as proxy:
        proxy.data_acts.extend([hang_after(50), end_after(30), hang_after(0)])
        storage = FileStorage(tmp_path)
        transport = AsyncDurableTransport(proxy.url, storage=storage, timing=QUICK)
        async with httpx2.AsyncClient(transport=transport) as client:
            response = await client.post(UPSTREAM, headers=session("s"))
            assert response.content == BODY
            proxy.data_acts.append(hang_after(50))
            with anyio.move_on_after(0.1) as scope:
                async with client.stream("POST", UPSTREAM, headers=session("s")) as response:
                    async for _ in response.aiter_raw():
                        pass
            assert scope.cancelled_caught
    assert pointer(storage, proxy) == 50


@pytest.mark.parametrize("flavour", ASYNC, ids=str)
async def test_another_task_may_close_what_is_being_read(
    proxy: ScriptedProxy, flavour: Flavour, unit: float
) -> None:
    proxy.data_acts.append(hang_after(50))
    storage = MemoryStorage()
    transport = flavour.transport(proxy.url, storage=storage)
    async with flavour.library.AsyncClient(transport=transport) as client:
        request = client.build_request("POST", UPSTREAM, headers=session("s"))
        response = await client.send(request, stream=True)
        received = bytearray()

        async def read() -> None:
            async for part in response.aiter_raw():
                received.extend(part)

        task = asyncio.create_task(read())
        await eventually(lambda: len(received) == 50, unit)
        with anyio.fail_after(unit):
            await response.aclose()
            with pytest.raises(flavour.library.ReadError, match="closed while"):
                await task
    await eventually(lambda: proxy.open_connections() == 0, unit)
    assert pointer(storage, proxy) == 50


async def test_iterating_after_the_end_gives_nothing(proxy: ScriptedProxy) -> None:
    async with httpx2.AsyncClient(transport=AsyncDurableTransport(proxy.url)) as client:
        response = await client.get(UPSTREAM)
        assert [part async for part in response.stream] == []  # type: ignore[union-attr]


async def test_a_transport_of_the_wrong_colour_is_an_error(proxy: ScriptedProxy) -> None:
    class Sync(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, stream=OnlySync(), request=request)

    class OnlySync(httpx2.SyncByteStream):
        pass

    transport = AsyncDurableTransport(proxy.url, transport=Sync())
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(TypeError, match="asynchronous transport"):
            await client.get(UPSTREAM)


async def test_an_answer_without_end_is_not_read_for_ever(
    proxy: ScriptedProxy, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable_transport._generation.REJECTION_LIMIT", 100)
    proxy.start_acts.append(answer(400, b"x" * 101, X_Proxy_Source="upstream"))
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY, None)  # asked again
