"""The HTTP surface, on a socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from durable_proxy import Limits, __version__, create_app
from durable_streams_server import Limits as StreamLimits
from durable_streams_server import Log
from durable_transport.protocol import generation_paths
from proxy import harness
from proxy.harness import LOOPBACK, TIMEOUTS, UNIT, eventually, served
from proxy.wire import Wire, pieces, upstream, whole

if TYPE_CHECKING:
    import httpx2

pytestmark = pytest.mark.anyio

PARTS = [b"data: {}\r\n\n", "größe \U0001f600".encode(), bytes(range(256))]
SAFE = {
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
    "cache-control": "no-cache, no-transform",
}


@pytest.fixture(autouse=True, params=[False, True], ids=["mounted", "command"])
def as_command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Everything holds for the application, and for what our command makes of it."""
    is_so: bool = request.param
    monkeypatch.setattr(harness, "AS_COMMAND", is_so)
    return is_so


def _assert_refused(answer: httpx2.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-proxy-source"] == "proxy"
    assert answer.headers["x-proxy-error"] == code
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["code"] == code
    assert "Traceback" not in answer.text
    return str(error["message"])


async def test_the_start_answer_names_both_streams() -> None:
    session, request = uuid4(), uuid4()
    script = whole(201, b"hello", ("Content-Type", "text/plain"), ("X-Request-Id", "req_1"))
    async with upstream(script) as up, served() as proxy:
        answer = await proxy.client.post(
            proxy.path(session, request), headers={"X-Proxy-Url": up.url}, content=b"{}"
        )
        assert answer.status_code == 200
        assert {name: answer.headers[name] for name in SAFE} == SAFE
        paths = generation_paths(session, request)
        assert answer.json() == {
            "sessionId": str(session),
            "requestId": str(request),
            "streamUrl": f"{proxy.url}/stream/data",
            "controlUrl": f"{proxy.url}/stream/control",
            "contentType": "text/plain",
            "durableDataUrl": f"{proxy.url}/v1/stream/{paths.data}",
            "durableControlUrl": f"{proxy.url}/v1/stream/{paths.control}",
            "upstreamStatus": 201,
            "upstreamHeaders": [["x-request-id", "req_1"]],
            "stopUrl": f"{proxy.url}/api/{session}/{request}/stop",
            "incarnation": "1",
        }
        live = await proxy.client.get(answer.json()["durableDataUrl"] + "?live=raw&offset=-1")
        assert live.content == b"hello"
        messages = await proxy.control(session, request)
        assert [message["event"] for message in messages] == ["start", "done"]
        assert messages[-1]["dataOffset"] == "00000000000000000005"


async def test_an_answer_without_a_content_type_is_bytes() -> None:
    async with upstream(whole(200, b"hello")) as up, served() as proxy:
        answer = await proxy.start(up.url)
        assert answer.json()["contentType"] == "application/octet-stream"


async def test_urls_come_from_the_setting_and_never_from_the_host_header() -> None:
    async with upstream(whole(200, b"")) as up:
        for public, base in ((None, None), ("https://ai.example/p/", "https://ai.example/p")):
            async with served(public_url=public) as proxy:
                answer = await proxy.start(up.url, Host="evil.example")
                wanted = base or proxy.url
                assert answer.json()["streamUrl"] == f"{wanted}/stream/data"
                assert "evil" not in answer.text


async def test_the_live_body_is_the_upstreams_answer() -> None:
    async def script(wire: Wire) -> None:
        await wire.head(
            203,
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("X-RateLimit-Remaining", "9"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("X-Request-Id", "theirs"),
            ("Set-Cookie", "a=b"),
            ("X-Accel-Redirect", "/etc/passwd"),
            ("Access-Control-Allow-Origin", "https://theirs.example"),
            ("X-Proxy-Error", "forged"),
        )
        for part in PARTS:
            await wire.chunk(part)
        await wire.end()

    session, request = uuid4(), uuid4()
    async with upstream(script) as up, served() as proxy:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        for _ in range(2):
            answer = await proxy.client.post(proxy.path(session, request), headers=headers)
            assert answer.status_code == 203
            assert answer.content == b"".join(PARTS)
            found = answer.headers
            assert found["content-type"] == "text/event-stream; charset=utf-8"
            assert found.get_list("x-twice") == ["1", "2"]
            assert found["x-ratelimit-remaining"] == "9"
            assert found.get_list("x-request-id") == [str(request)]
            assert found["x-session-id"] == str(session)
            assert found["x-proxy-source"] == "upstream"
            assert {name: found[name] for name in SAFE} == SAFE
            assert not {"set-cookie", "x-accel-redirect", "x-proxy-error", "content-length"} & set(
                found
            )
        assert len(up.calls) == 1


async def test_the_live_body_comes_while_the_upstream_pauses() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        for part in (b"one", b"two"):
            await wire.chunk(part)
            await go_on.wait()
            go_on.clear()
        await wire.end()

    async with upstream(script) as up, served() as proxy:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        path = proxy.path(uuid4(), uuid4())
        async with (
            asyncio.timeout(10 * UNIT),
            proxy.client.stream("POST", path, headers=headers) as answer,
        ):
            body = answer.aiter_raw()
            assert await anext(body) == b"one"
            go_on.set()
            assert await anext(body) == b"two"
            go_on.set()
            assert [piece async for piece in body] == []


async def test_headers_of_a_live_body_do_not_wait_for_its_first_byte() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await go_on.wait()
        await wire.end()

    async with upstream(script) as up, served() as proxy:
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        path = proxy.path(uuid4(), uuid4())
        async with (
            asyncio.timeout(5 * UNIT),
            proxy.client.stream("POST", path, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            go_on.set()
            assert await answer.aread() == b""


@pytest.mark.parametrize("status", [200, 204, 205])
async def test_a_live_answer_without_a_body(status: int) -> None:
    async def script(wire: Wire) -> None:
        framing = "" if status == 204 else "Content-Length: 0"
        await wire.raw(f"HTTP/1.1 {status} X\r\nX-A: 1\r\n{framing}\r\n\r\n".encode())

    async with upstream(script) as up, served() as proxy:
        answer = await proxy.start(up.url, X_Proxy_Live="raw", X_Proxy_Method="PUT")
        assert (answer.status_code, answer.content) == (status, b"")
        assert answer.headers["x-a"] == "1"


async def test_nothing_in_between_holds_an_answer_back_or_takes_it_for_dead() -> None:
    """Comments while nothing comes, and no gateway that buffers or packs."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"x")
        await asyncio.sleep(60 * UNIT)

    ids = (uuid4(), uuid4())
    limits = StreamLimits(heartbeat=0.05 * UNIT)
    live = {"X-Proxy-Live": "raw"}
    async with upstream(script) as up, served(stream_limits=limits, drain_seconds=0) as proxy:
        url = {"X-Proxy-Url": up.url}
        assert (await proxy.client.post(proxy.path(*ids), headers=url)).status_code == 200
        data = f"/v1/stream/{generation_paths(*ids).data}?offset=-1&live=sse"
        async with proxy.client.stream("GET", data) as events:
            lines = events.aiter_lines()
            comments = 0
            async with asyncio.timeout(10 * UNIT):
                while comments < 3:
                    comments += (await anext(lines)).startswith(":")
            kinds = [events.headers]
        async with proxy.client.stream("POST", proxy.path(*ids), headers=url | live) as raw:
            kinds.append(raw.headers)
    for headers in kinds:
        assert headers["x-accel-buffering"] == "no"
        assert "no-transform" in headers["cache-control"]


async def test_a_quiet_live_body_ends_and_the_generation_goes_on() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"one")
        await go_on.wait()
        await wire.chunk(b"two")
        await wire.end()

    session, request = uuid4(), uuid4()
    quiet = StreamLimits(raw_idle=0.1 * UNIT)
    async with upstream(script) as up, served(stream_limits=quiet) as proxy:
        path = proxy.path(session, request)
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
        assert (await proxy.client.post(path, headers=headers)).content == b"one"
        assert [one["event"] for one in await proxy.control(session, request)] == ["start"]
        go_on.set()
        await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)
        assert (await proxy.client.post(path, headers=headers)).content == b"onetwo"


@pytest.mark.parametrize("status", [200, 400])
async def test_header_values_that_are_no_ascii_come_down_as_they_are(status: int) -> None:
    value = 'text/plain; name="10 \u20ac"'.encode()

    async def script(wire: Wire) -> None:
        head = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nX-Name: %b\r\n" % (status, value, value)
        await wire.raw(head + b"Content-Length: 2\r\n\r\nok")

    async with upstream(script) as up, served() as proxy:
        answer = await proxy.start(up.url, X_Proxy_Live="raw")
        assert (answer.status_code, answer.content) == (status, b"ok")
        found = {name.lower(): value for name, value in answer.headers.raw}
        assert found[b"content-type"] == found[b"x-name"] == value


@pytest.mark.parametrize("live", ["raw", None])
@pytest.mark.parametrize("status", [200, 204, 429])
@pytest.mark.parametrize("control", [b"\x01", b"\x7f"])
async def test_control_characters_in_headers_do_not_come_down(
    status: int, control: bytes, live: str | None
) -> None:
    async def script(wire: Wire) -> None:
        head = b"HTTP/1.1 %d X\r\nContent-Type: text/%bplain\r\nX-A: a%bb\r\nX-B: fine\r\n"
        length = b"" if status == 204 else b"Content-Length: 2\r\n"
        await wire.raw(head % (status, control, control) + length + b"\r\n")
        await wire.raw(b"" if status == 204 else b"ok")

    async with upstream(script) as up, served() as proxy, asyncio.timeout(10 * UNIT):
        answer = await proxy.start(up.url, **({"X_Proxy_Live": live} if live else {}))
        told = answer.headers.multi_items()
        if live is None and status < 300:
            assert answer.json()["contentType"] == "application/octet-stream"
            told = [tuple(one) for one in answer.json()["upstreamHeaders"]]
        else:
            assert answer.status_code == status
            assert answer.headers.get("content-type") in (None, "application/octet-stream")
        assert ("x-b", "fine") in told
        assert "x-a" not in dict(told)


@pytest.mark.parametrize("status", [302, 401, 404, 429, 500])
@pytest.mark.parametrize("live", ["raw", None])
async def test_an_upstreams_no_passes_through(status: int, live: str | None) -> None:
    body = b'{"error":"\xff"}'
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Retry-After", "3"),
        ("X-Should-Retry", "true"),
        ("Location", "/elsewhere"),
        ("Set-Cookie", "a=b"),
    ]
    async with upstream(whole(status, body, *headers)) as up, served() as proxy:
        answer = await proxy.start(up.url, **({"X_Proxy_Live": live} if live else {}))
        assert (answer.status_code, answer.content) == (status, body)
        found = answer.headers
        assert found.get_list("content-type") == ["application/problem+json"]
        assert (found["retry-after"], found["x-should-retry"]) == ("3", "true")
        assert found["x-proxy-source"] == "upstream"
        assert "x-proxy-error" not in found
        assert "set-cookie" not in found


async def test_what_the_proxy_refuses_by_itself() -> None:
    async with upstream(pieces()) as up:
        gone = up.url

    async def sleeps(_wire: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    impatient = type(TIMEOUTS)(connect=UNIT, answer=0.2 * UNIT, idle=UNIT)
    async with upstream(sleeps) as up, served(timeouts=impatient) as proxy:
        message = _assert_refused(await proxy.start(gone), 502, "upstream_unreachable")
        assert gone in message
        _assert_refused(await proxy.start(up.url), 504, "upstream_timeout")
        denied = await proxy.start("https://api.openai.com/v1/chat")
        message = _assert_refused(denied, 403, "upstream_not_allowed")
        assert "--allow 'https://api.openai.com/**'" in message
        message = _assert_refused(await proxy.start("http://user:pw@x/"), 400, "invalid_proxy_url")
        assert "pw" not in message


BAD: list[tuple[str, str, dict[str, str], int, str]] = [
    ("POST", "/api/not-a-uuid/{id}", {}, 400, "invalid_id"),
    ("POST", "/api/{id}/not-a-uuid", {}, 400, "invalid_id"),
    ("POST", "/api/{id}/%2e%2e", {}, 400, "invalid_id"),
    ("POST", "/api/{id}/{id}", {}, 400, "invalid_proxy_url"),
    ("POST", "/api/{id}/{id}", {"X-Proxy-Url": "/relative"}, 400, "invalid_proxy_url"),
    ("POST", "/api/{id}/{id}", {"X-Proxy-Url": "http://2130706433/"}, 400, "invalid_proxy_url"),
    ("POST", "/api/{id}/{id}", {"X-Proxy-Method": "BREW"}, 400, "invalid_proxy_method"),
    ("POST", "/api/{id}/{id}", {"X-Filler": "f" * 70_000}, 431, "headers_too_large"),
    ("PUT", "/api/{id}/{id}", {}, 405, "method_not_allowed"),
    ("POST", "/api/{id}", {}, 405, "method_not_allowed"),
    ("POST", "/api/{id}/{id}/more", {}, 404, "not_found"),
    ("GET", "/", {}, 404, "not_found"),
    ("GET", "/stream/data?offset=-1", {}, 400, "invalid_id"),
    ("GET", "/stream/other?offset=-1", {}, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "code"), BAD)
async def test_bad_input(
    method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with served() as proxy:
        if code == "invalid_proxy_method":
            headers = headers | {"X-Proxy-Url": f"http://{LOOPBACK}:1/"}
        url = path.replace("{id}", str(uuid4()))
        answer = await proxy.client.request(method, url, headers=headers)
        assert _assert_refused(answer, status, code)
        # The rest of the server is unaffected.
        assert (await proxy.client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/{id}/{id}", "DELETE, GET, POST"),
        ("OPTIONS", "/api/{id}/{id}", "DELETE, GET, POST"),
        ("GET", "/api/{id}/{id}/stop", "POST"),
        ("POST", "/api/{id}", "DELETE"),
        ("POST", "/stream/data", "GET"),
        ("DELETE", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str) -> None:
    async with served() as proxy:
        answer = await proxy.client.request(method, path.replace("{id}", str(uuid4())))
        message = _assert_refused(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed
        assert allowed in message


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_not_taken(*, declared: bool) -> None:
    async def body() -> Any:
        for _ in range(20):
            yield b"x" * 1000

    limits = Limits(request_body_bytes=10_000)
    async with upstream(whole(200, b"")) as up, served(limits=limits) as proxy:
        answer = await proxy.client.post(
            proxy.path(uuid4(), uuid4()),
            headers={"X-Proxy-Url": up.url},
            content=b"x" * 20_000 if declared else body(),
        )
        assert "10000 bytes" in _assert_refused(answer, 413, "body_too_large")
        assert up.calls == []


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    impatient = StreamLimits(body_wait=0.2 * UNIT)

    async def body() -> Any:
        yield b"one byte and then "
        await asyncio.sleep(5 * UNIT)

    async with upstream(whole(200, b"")) as up, served(stream_limits=impatient) as proxy:
        answer = await proxy.client.post(
            proxy.path(uuid4(), uuid4()), headers={"X-Proxy-Url": up.url}, content=body()
        )
        _assert_refused(answer, 408, "request_timeout")
        assert up.calls == []


async def test_half_a_request_starts_nothing() -> None:
    async with upstream(whole(200, b"")) as up, served() as proxy:
        port = int(proxy.url.rpartition(":")[2])
        _reader, writer = await asyncio.open_connection(LOOPBACK, port)
        path = proxy.path(uuid4(), uuid4())
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Proxy-Url: {up.url}\r\nContent-Length: 9\r\n"
        writer.write(f"{head}\r\nhalf".encode())
        await writer.drain()
        writer.close()
        assert (await proxy.start(up.url)).status_code == 200
        assert len(up.calls) == 1


async def test_streams_are_read_only() -> None:
    async with served() as proxy:
        missing = f"/v1/stream/{generation_paths(uuid4(), uuid4()).data}"
        assert (await proxy.client.get(missing)).status_code == 404
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            answer = await proxy.client.request(method, missing, content=b"x")
            assert answer.status_code == 405
            assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_health() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await go_on.wait()
        await wire.end()

    async with upstream(script) as up, served() as proxy:
        idle = {"status": "ok", "store": "ok", "version": __version__, "activeGenerations": 0}
        assert (await proxy.client.get("/health")).json() == idle
        await proxy.start(up.url)
        assert (await proxy.client.get("/health")).json() == idle | {"activeGenerations": 1}
        go_on.set()
        await eventually(lambda: proxy.app.state.proxy.parts.generations.active == 0)
        await proxy.app.state.proxy.drain()
        draining = await proxy.client.get("/health")
        assert draining.status_code == 503
        assert draining.json() == idle | {"status": "draining"}
        refused = await proxy.start(up.url)
        _assert_refused(refused, 503, "shutting_down")
        assert refused.headers["retry-after"] == "1"


async def test_a_defect_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def defect(*_: object) -> None:
        raise ZeroDivisionError("an internal text")

    async with upstream(whole(200, b"")) as up, served() as proxy:
        monkeypatch.setattr(proxy.app.state.proxy.parts.generations, "start", defect)
        answer = await proxy.start(up.url)
        message = _assert_refused(answer, 500, "internal")
        assert "internal text" not in message


async def test_a_given_log_stays_open_and_an_own_one_is_closed(log: Log) -> None:
    async with upstream(whole(200, b"hello")) as up, served(log) as proxy:
        await proxy.start(up.url)
    assert await log.stat("nothing") is None


async def test_an_application_that_was_not_started_says_what_is_missing() -> None:
    app = create_app("sqlite://")
    with pytest.raises(RuntimeError, match="lifespan_context"):
        _ = app.state.proxy.parts


async def test_the_openapi_page_names_the_headers() -> None:
    text = json.dumps(create_app("sqlite://").openapi())
    for name in ("X-Proxy-Url", "X-Proxy-Method", "X-Proxy-Live", "X-Proxy-Strip"):
        assert name in text
