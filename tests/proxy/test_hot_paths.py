"""What our command serves past the framework, and what it must not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from starlette.responses import PlainTextResponse

from durable_proxy import create_app
from durable_streams_server import LogError
from durable_streams_server._follow import follow
from durable_transport.protocol import generation_paths
from proxy import harness
from proxy.harness import ANY_LOOPBACK, UNIT, served, serving
from proxy.wire import Wire, upstream, whole

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from durable_proxy._answers import Answer
    from durable_proxy._start_request import StartRequest

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def as_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", True)


class Guard:
    """A user's authentication: whoever has no key gets nothing, and every piece sent is seen."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._seen.append(scope["path"])
        if (b"x-key", b"let me in") in scope["headers"]:
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse("no", status_code=401)(scope, receive, send)


async def test_a_users_middleware_sees_every_request() -> None:
    seen: list[str] = []
    app = create_app("sqlite://", allow=[ANY_LOOPBACK])
    app.add_middleware(Guard, seen=seen)
    session, request = uuid4(), uuid4()
    data = f"/v1/stream/{generation_paths(session, request).data}"
    async with upstream(whole(200, b"hello")) as up, serving(app) as proxy:
        start, headers = proxy.path(session, request), {"X-Proxy-Url": up.url}
        assert (await proxy.client.post(start, headers=headers)).status_code == 401
        assert up.calls == []
        headers["X-Key"] = "let me in"
        assert (await proxy.client.post(start, headers=headers)).status_code == 200
        assert (await proxy.client.get(data)).status_code == 401
        assert (await proxy.client.get(data, headers=headers)).text == "hello"
    assert seen == [start, start, data, data]


@pytest.mark.parametrize("guarded", [False, True])
async def test_live_bytes_go_past_tasks_unless_somebody_is_in_between(
    *, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces, go_on = list[bytes](), asyncio.Event()

    def recording(reader, take, **how):  # type: ignore[no-untyped-def]  # noqa: ANN001,ANN003,ANN202
        def taking(chunk):  # type: ignore[no-untyped-def]  # noqa: ANN001,ANN202
            taken = take(chunk)
            if taken:
                pieces.append(chunk.data)
            return taken

        return follow(reader, taking, **how)

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        await go_on.wait()
        await wire.end()

    monkeypatch.setattr("durable_streams_server._live.follow", recording)
    app = create_app("sqlite://", allow=[ANY_LOOPBACK])
    if guarded:
        app.add_middleware(Guard, seen=[])
    async with upstream(script) as up, serving(app) as proxy:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw", "X-Key": "let me in"}
        path = proxy.path(uuid4(), uuid4())
        async with proxy.client.stream("POST", path, headers=headers) as answer:
            assert [await anext(answer.aiter_raw())] == [b"hello"]
            go_on.set()
    assert pieces == ([] if guarded else [b"hello"])


async def test_a_log_that_fails_is_told_as_behind_the_framework(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        raise LogError("an internal text")

    async with upstream(whole(200, b"")) as up, served() as proxy:
        monkeypatch.setattr(proxy.app.state.proxy.parts.generations, "start", fail)
        answer = await proxy.start(up.url)
    assert (answer.status_code, answer.headers["x-proxy-error"]) == (503, "storage_unavailable")
    assert "internal text" not in answer.text


@pytest.mark.parametrize("as_command", [False, True])
async def test_one_that_is_deleted_before_it_is_read_is_not_there(
    *, as_command: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", as_command)
    async with upstream(whole(200, b"hello")) as up, served() as proxy:
        generations = proxy.app.state.proxy.parts.generations
        start = generations.start

        async def start_and_lose(request: StartRequest) -> Answer:
            answer: Answer = await start(request)
            deleted = await proxy.client.delete(proxy.path(request.session_id, request.request_id))
            assert deleted.status_code == 204
            return answer

        monkeypatch.setattr(generations, "start", start_and_lose)
        answer = await proxy.start(up.url, x_proxy_live="raw")
    assert (answer.status_code, answer.headers["x-proxy-error"]) == (404, "not_found")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("path", ["/v1/streams/x", "/api/one/two/three", "/api//two"])
async def test_other_paths_are_the_applications(path: str) -> None:
    async with served() as proxy:
        answer = await proxy.client.post(path, timeout=5 * UNIT)
    assert (answer.status_code, answer.headers["x-proxy-error"]) == (404, "not_found")


async def test_the_health_check_may_be_a_head() -> None:
    async with served() as proxy:
        found = await proxy.client.head("/health")
        assert (found.status_code, found.content) == (200, b"")


@pytest.mark.parametrize("url", ["notaurl", "javascript:alert(1)", ""])
def test_an_address_that_no_client_can_call_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="begins with https://"):
        create_app("sqlite://", public_url=url)
