"""What a proxy tells Prometheus about itself."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated
from uuid import uuid4

import pytest
from fastapi import Header

from durable_proxy import Limits, Principal, Right
from durable_proxy._figures import Figures, resumes
from durable_proxy._reaper import reap
from durable_proxy._stalled import Stalled
from durable_streams_server import Create, Delete, Heartbeat, Log
from durable_transport.protocol import generation_paths
from proxy import harness
from proxy.harness import UNIT, Served, eventually, generations, served, start_request
from proxy.wire import Wire, pieces, upstream, whole

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-service"


@pytest.fixture(params=[False, True], ids=["application", "command"], autouse=True)
def _as_command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", request.param)
    monkeypatch.setattr("durable_proxy._service.FAREWELL_SECONDS", 0)


async def figures(proxy: Served, **headers: str) -> dict[str, float]:
    """All figures of a proxy: name with labels, and value."""
    answer = await proxy.client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    lines = re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"data: one\n\n")
    await asyncio.sleep(60 * UNIT)


async def _break_off(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"half")
    wire.reset()


async def test_a_generation_from_its_start_to_its_end() -> None:
    async with upstream(pieces(b"Hello, ", b"world")) as up, served() as proxy:
        assert (await figures(proxy))["durable_proxy_generations_started_total"] == 0
        answer = (await proxy.start(up.url)).json()
        session, request = answer["sessionId"], answer["requestId"]
        await proxy.control(session, request)
        await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)
        await proxy.client.post(f"/api/{session}/{request}", headers={"X-Proxy-Url": up.url})
        told = await figures(proxy)
    for name, value in {
        "generations_active": 0,
        "generations_started_total": 1,
        "starts_attached_total": 1,
        'generations_ended_total{state="completed"}': 1,
        'generations_ended_total{state="failed"}': 0,
        "upstream_bytes_total": 12,
        "stored_bytes_total": 12,
        "first_byte_seconds_count": 1,
        "generation_seconds_count": 1,
        "leases_lost_total": 0,
    }.items():
        assert told[f"durable_proxy_{name}"] == value, name
    assert told["durable_streams_store_up"] == 1
    assert told["durable_streams_appended_bytes_total"] > 12


async def test_one_that_runs_and_a_reader_that_came_back() -> None:
    async with upstream(_endless) as up, served(drain_seconds=0) as proxy:
        answer = (await proxy.start(up.url)).json()
        query = {"offset": f"{6:020}", "live": "raw"}
        async with proxy.client.stream("GET", answer["durableDataUrl"], params=query) as reading:
            body = reading.aiter_raw()
            assert await anext(body) == b"one\n\n"
            told = await figures(proxy)
        assert told["durable_proxy_generations_active"] == 1
        assert told["durable_proxy_reads_resumed_total"] == 1
        assert told['durable_streams_readers{mode="raw"}'] == 1
        assert told['durable_streams_reader_lag_bytes{mode="raw"}'] == 0
        live = {"X-Proxy-Live": "raw", "X-Proxy-Url": up.url}
        path = f"/api/{answer['sessionId']}/{answer['requestId']}"
        async with proxy.client.stream("POST", path, headers=live) as reading:
            body = reading.aiter_raw()
            assert await anext(body) == b"data: one\n\n"
            assert (await figures(proxy))['durable_streams_readers{mode="raw"}'] == 1
        await proxy.client.post(f"{path}/stop")
        told = await figures(proxy)
        assert told['durable_proxy_generations_ended_total{state="aborted"}'] == 1


async def test_every_end_has_its_figure() -> None:
    async with (
        upstream(_break_off) as breaks,
        upstream(whole(500, b"no")) as refuses,
        upstream(pieces(b"x" * 100)) as talks,
        served(limits=Limits(response_bytes=10)) as proxy,
    ):
        for one in (breaks, refuses, talks):
            await proxy.start(one.url)
        await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)
        told = await figures(proxy)
        ended = {
            match[1]: value
            for name, value in told.items()
            if (match := re.search(r'generations_ended_total\{state="(\w+)"', name)) and value
        }
        assert sum(ended.values()) == 3
        assert ended["too_large"] == 1
        assert told["durable_proxy_generation_seconds_count"] == 3


async def test_what_is_refused_is_counted_by_its_code_on_every_surface() -> None:
    async with served(secret=SECRET, allow=["https://api.example/**"]) as proxy:
        own = {"X-Proxy-Secret": SECRET}
        paths = generation_paths(uuid4(), uuid4())
        await proxy.client.get(f"/v1/stream/{paths.data}")
        await proxy.client.get("/api/generations")
        await proxy.client.get("/stream/data", params={"sessionId": str(uuid4())})
        await proxy.client.post(f"/api/{uuid4()}/{uuid4()}")
        assert (await proxy.client.get("/metrics")).status_code == 401
        await proxy.start("http://127.0.0.1:1/", **own)
        await proxy.client.get("/nothing")
        told = await figures(proxy, **own)
        assert told['durable_proxy_refused_total{code="unauthorized"}'] == 5
        assert told['durable_proxy_refused_total{code="upstream_not_allowed"}'] == 1
        assert told['durable_proxy_refused_total{code="not_found"}'] == 1


async def test_prometheus_may_send_the_secret_as_it_does_elsewhere() -> None:
    async with served(secret=SECRET) as proxy:
        answer = await proxy.client.get(
            "/metrics",
            headers={
                "Authorization": f"Bearer {SECRET}",
                "Accept": "application/openmetrics-text; version=1.0.0",
            },
        )
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")


async def test_prometheus_has_a_secret_that_reads_figures_and_nothing_else() -> None:
    scraper = {"Authorization": "Bearer a-secret-of-prometheus"}
    own = {"X-Proxy-Secret": SECRET}
    async with (
        upstream(whole(200, b"hello")) as up,
        served(secret=SECRET, metrics_secret=scraper["Authorization"].split()[1]) as proxy,
    ):
        answer = (await proxy.start(up.url, **own)).json()
        path = f"/api/{answer['sessionId']}/{answer['requestId']}"
        told = await figures(proxy, **scraper)
        assert told["durable_proxy_generations_started_total"] == 1
        for method, url in (
            ("GET", "/api/generations"),
            ("GET", path),
            ("POST", f"{path}/stop"),
            ("GET", answer["durableDataUrl"].partition("?")[0]),
            ("GET", f"/stream/data?sessionId={answer['sessionId']}"),
            ("GET", f"/v1/proxy/{answer['requestId']}"),
            ("DELETE", f"/v1/proxy/{answer['requestId']}"),
        ):
            refused = await proxy.client.request(method, url, headers=scraper)
            assert refused.status_code == 403, url
            assert refused.json()["error"]["code"].lower() == "forbidden", url
        # Of a start that header is the upstream's, and so none of ours is there.
        start = await proxy.start(up.url, **scraper)
        assert start.status_code == 401
        start = await proxy.start(up.url, X_Proxy_Secret="a-secret-of-prometheus")
        assert start.status_code == 403
        assert len(up.calls) == 1


async def test_a_dependency_may_know_who_reads_figures() -> None:
    async def who(x_user: Annotated[str, Header()]) -> Principal:
        return Principal(x_user, frozenset({Right(x_user)}))

    async with served(authorize=who, metrics_secret="a-secret-of-prometheus") as proxy:
        for headers, status in (
            ({"X-User": "metrics"}, 200),
            ({"X-User": "list"}, 403),
            ({"Authorization": "Bearer a-secret-of-prometheus"}, 200),
            ({"Authorization": "Bearer another-one"}, 401),
        ):
            answer = await proxy.client.get("/metrics", headers=headers)
            assert answer.status_code == status, headers


async def test_a_lost_lease_and_an_orphan_are_counted(log: Log) -> None:
    counted = Figures()
    async with upstream(_endless) as up, generations(log, figures=counted) as running:
        request = start_request(up.url)
        await running.start(request)
        await log.transact(Delete(request.paths.control), Delete(request.paths.data))
        await eventually(lambda: counted.leases_lost == 1)
        assert not counted.ended
    paths = generation_paths(uuid4(), uuid4())
    await log.transact(Heartbeat("gone", 1.0))
    await log.transact(
        Create(paths.control, "application/json", owner="gone"), Create(paths.data, owner="gone")
    )
    await reap(log, counted, Stalled(log))
    assert counted.orphans_ended == 1
    assert counted.ended == {"orphaned": 1}


@pytest.mark.parametrize(
    ("query", "resumed"),
    [
        (b"offset=00000000000000000006&live=raw", True),
        (b"live=sse&offset=6", True),
        (b"offset=00000000000000000000&live=raw", False),
        (b"offset=-1&live=raw", False),
        (b"offset=now&live=sse", False),
        (b"offset=6&live=long-poll", False),
        (b"offset=6", False),
        (b"live=raw", False),
        (b"", False),
    ],
)
def test_who_came_back(query: bytes, *, resumed: bool) -> None:
    assert resumes(query) is resumed
