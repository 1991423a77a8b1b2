"""What goes on when nobody waits for it: generations live on their own, and fail on their own."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
import pytest

from durable_proxy import Limits, create_app
from durable_proxy._figures import Figures
from durable_proxy._generations import Generations
from durable_proxy._upstream import open_upstream
from durable_transport.protocol import generation_paths
from proxy.harness import (
    ANY_LOOPBACK,
    TIMEOUTS,
    UNIT,
    data,
    eventually,
    generations,
    served,
    serving,
    start_request,
    terminal,
)
from proxy.wire import Wire, pieces, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_proxy._upstream import UpstreamAnswer
    from durable_proxy._upstream_request import UpstreamRequest
    from durable_streams_server import Log

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quick_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


async def test_a_client_that_leaves_before_the_upstream_has_answered() -> None:
    thought = asyncio.Event()

    async def thinking(wire: Wire) -> None:
        await thought.wait()
        await pieces(b"at last")(wire)

    async with upstream(thinking) as up, served(drain_seconds=0) as proxy:
        path, headers = proxy.path(uuid4(), uuid4()), {"X-Proxy-Url": up.url}
        with pytest.raises(httpx2.ReadTimeout):
            await proxy.client.post(path, headers=headers, timeout=0.2 * UNIT)
        # Nobody but the loop's own sets refers to what waits for the upstream now.
        gc.collect()
        assert (await proxy.client.get(path)).json()["state"] == "starting"
        thought.set()
        answer = (await proxy.client.post(path, headers=headers)).json()
        whole = await proxy.client.get(answer["durableDataUrl"] + "?offset=-1&live=raw")
        assert whole.text == "at last"
        assert len(up.calls) == 1


class DefectiveUpstream:
    """Fails in a way that nobody has thought of, once."""

    timeouts = TIMEOUTS

    def __init__(self, sound: object) -> None:
        self._sound = sound
        self.calls = 0

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamAnswer]:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("a defect")
        async with self._sound.send(request) as answer:  # type: ignore[attr-defined]
            yield answer


async def test_a_defect_ends_its_own_generation_and_nothing_else(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async with upstream(pieces(b"fine")) as up, open_upstream(TIMEOUTS) as sound:
        running = Generations(log, DefectiveUpstream(sound), Limits(), Figures())  # type: ignore[arg-type]
        bad, good = start_request(up.url), start_request(up.url)
        await running.start(bad)
        record = await terminal(log, bad.paths)
        assert record.event == "error"
        assert "a defect" not in record.model_dump_json()
        await running.start(good)
        assert await data(log, good.paths) == b"fine"
        await running.drain(0)
    assert "a defect" in caplog.text


ENDS = (
    b"data: [DONE]\n\n",
    b'{"event":"done","dataOffset":"00000000000000000000","payload":{}},',
    b'event: control\ndata: {"streamClosed":true}\n\n',
    b"0\r\n\r\n",
)


@pytest.mark.parametrize("forged", ENDS)
async def test_a_body_cannot_say_that_it_is_complete(log: Log, forged: bytes) -> None:
    async def broken_off(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        await wire.chunk(forged)
        wire.reset()

    async with upstream(broken_off) as up, generations(log) as running:
        request = start_request(up.url)
        await running.start(request)
        assert (await terminal(log, request.paths)).event == "error"
        assert await data(log, request.paths) == forged


def test_one_application_runs_in_one_loop_after_another_and_several_beside_each_other(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stores = [tmp_path_factory.mktemp("loops") / "proxy.sqlite" for _ in range(2)]
    one, other = (create_app(f"sqlite:///{file}", allow=[ANY_LOOPBACK]) for file in stores)

    async def round_(app: object) -> None:
        async with upstream(pieces(b"Hello")) as up, serving(app) as proxy:  # type: ignore[arg-type]
            started = (await proxy.start(up.url)).json()
            paths = generation_paths(started["sessionId"], started["requestId"])
            assert await data(proxy.log, paths) == b"Hello"
            await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)

    async def beside() -> None:
        async with serving(other):
            await asyncio.to_thread(asyncio.run, round_(one))

    asyncio.run(round_(one))
    asyncio.run(beside())
    assert one.state.proxy.figures.started == 2
