"""The guard on a socket: every surface, through the framework and past it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from fastapi import Depends, Header, HTTPException, Request
from starlette.routing import Route

from durable_proxy import Limits, Principal, Right
from durable_transport.protocol import generation_paths
from proxy import harness
from proxy.harness import Served, served
from proxy.wire import Wire, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    import httpx2

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-service"
OLD = "the-secret-before-that-one"
OWN = {"X-Proxy-Secret": SECRET}
BEARER = {"Authorization": f"Bearer {SECRET}"}
OPEN_PATHS = {"/health", "/_inspector"}
OPENAPI_PATHS = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")


@pytest.fixture(autouse=True, params=[False, True], ids=["framework", "command"])
def as_command(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", request.param)


def _code(answer: httpx2.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert answer.headers["x-proxy-source"] == "proxy"
    assert answer.headers["x-proxy-error"] == error["code"]
    assert sorted(error) == ["code", "message"]
    assert SECRET not in answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="durable-proxy"'
    return answer.status_code, error["code"]


UNAUTHORIZED = (401, "unauthorized")
FORBIDDEN = (403, "forbidden")


async def _start(proxy: Served, url: str, ids: tuple[UUID, UUID], **more: str) -> httpx2.Response:
    headers = {"X-Proxy-Url": url} | harness._dashed(more)
    return await proxy.client.post(proxy.path(*ids), headers=headers, content=b"{}")


async def test_nobody_comes_in_without_the_secret() -> None:
    async with upstream(whole(200, b"hello")) as up, served(secret=SECRET) as proxy:
        wrong: list[dict[str, str]] = [{}, {"X-Proxy-Secret": "not-the-secret-of-it"}, BEARER]
        for headers in wrong:
            for live in (dict[str, str](), {"X-Proxy-Live": "raw"}):
                answer = await _start(proxy, up.url, (uuid4(), uuid4()), **headers, **live)
                assert _code(answer) == UNAUTHORIZED
        assert up.calls == []
        ids = uuid4(), uuid4()
        answer = await _start(proxy, up.url, ids, X_Proxy_Secret=SECRET)
        assert answer.status_code == 200
        paths = generation_paths(*ids)
        for path in (paths.data, paths.control, "generations/unknown", "x"):
            for query in ("", "?offset=-1&live=raw", f"?secret={SECRET}"):
                url = f"/v1/stream/{path}{query}"
                assert _code(await proxy.client.get(url)) == UNAUTHORIZED
                assert (await proxy.client.head(url)).status_code == 401
        for right in (OWN, BEARER):
            read = await proxy.client.get(f"/v1/stream/{paths.data}", headers=right)
            assert read.content == b"hello"
            followed = await proxy.client.get(
                f"/v1/stream/{paths.data}?offset=-1&live=raw", headers=right
            )
            assert followed.content == b"hello"
        assert (await proxy.client.get("/health")).status_code == 200


def _routes(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        # Newer versions of FastAPI keep a router that was included as it is.
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else _routes(included.routes)


async def test_every_route_asks() -> None:
    """Also those that will be added: a route that lets anybody in has to be named here."""
    asked = 0
    async with served(secret=SECRET) as proxy:
        for route in _routes(proxy.app.routes):
            path = route.path if isinstance(route, Route) else f"{route.path}/x"
            if path in OPEN_PATHS:
                continue
            path = re.sub("{(session|request_id|stream_id)}", lambda _: str(uuid4()), path)
            # A preflight cannot show who it is from.
            for method in (getattr(route, "methods", None) or {"GET", "HEAD"}) - {"OPTIONS"}:
                answer = await proxy.client.request(method, path.replace("{kind}", "data"))
                assert answer.status_code == 401, (method, route.path, answer.text)
                asked += 1
    assert asked >= 4


@pytest.mark.parametrize(
    ("options", "status"), [({}, 200), ({"secret": SECRET}, 404), ({"authorize": lambda: "x"}, 404)]
)
async def test_the_openapi_pages_are_there_where_anybody_may_do_everything(
    options: dict[str, Any], status: int
) -> None:
    async with served(**options) as proxy:
        for path in OPENAPI_PATHS:
            for headers in ({}, OWN):
                answer = await proxy.client.get(path, headers=headers)
                assert answer.status_code == status, path
                assert status == 200 or _code(answer) == (404, "not_found")


async def test_the_secret_and_signatures_stay_here() -> None:
    async with upstream(whole(200, b"hello")) as up, served(secret=[SECRET, OLD]) as proxy:
        leaks = {
            "authorization": f"Bearer {SECRET}",
            "x-api-key": OLD,
            "x-other": f"key={SECRET};",
        }
        for name, value in leaks.items():
            answer = await _start(proxy, up.url, (uuid4(), uuid4()), **OWN, **{name: value})
            assert _code(answer) == (400, "bad_request")
        answer = await _start(proxy, f"{up.url}?key={SECRET}", (uuid4(), uuid4()), **OWN)
        assert _code(answer) == (400, "bad_request")
        assert up.calls == []
        answer = await _start(
            proxy,
            up.url,
            (uuid4(), uuid4()),
            X_Proxy_Secret=OLD,
            Authorization="Bearer sk-theirs",
        )
        assert answer.status_code == 200
        answer = await _start(
            proxy, up.url, (uuid4(), uuid4()), **BEARER, X_Proxy_Strip="Authorization"
        )
        assert answer.status_code == 200
        first, second = up.calls
        assert first.values("authorization") == ["Bearer sk-theirs"]
        assert second.values("authorization") == []
        for call in up.calls:
            assert not any(SECRET in value or OLD in value for _, value in call.headers)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_signed_addresses() -> None:
    async with (
        upstream(whole(200, b"hello")) as up,
        served(secret=SECRET, url_seconds=100, public_url="https://ai.example/base") as proxy,
    ):
        clock = proxy.app.state.guard._clock = Clock()
        ids = uuid4(), uuid4()
        start = (await _start(proxy, up.url, ids, **OWN)).json()
        other = (await _start(proxy, up.url, (ids[0], uuid4()), **OWN)).json()
        assert start["urlsExpireAt"] == clock.now + 100
        assert SECRET not in str(start)

        def local(url: str) -> str:
            parts = urlsplit(url)
            assert url.startswith("https://ai.example/base/")
            return f"{parts.path.removeprefix('/base')}?{parts.query}"

        data, control = local(start["durableDataUrl"]), local(start["durableControlUrl"])
        assert (await proxy.client.get(data)).content == b"hello"
        assert (await proxy.client.get(f"{data}&offset=-1&live=raw")).content == b"hello"
        assert (await proxy.client.head(data)).status_code == 200
        assert (await proxy.client.get(control)).json()[-1]["event"] == "done"
        elsewhere = local(other["durableDataUrl"]).partition("?")[0]
        query = data.partition("?")[2]
        assert _code(await proxy.client.get(f"{elsewhere}?{query}")) == (401, "signature_invalid")
        encoded = data.replace("/data?", "%2Fdata?")
        assert _code(await proxy.client.get(encoded))[0] == 401
        # It is no right to start anything, and none to write.
        answer = await proxy.client.post(
            f"{proxy.path(uuid4(), uuid4())}?{query}", headers={"X-Proxy-Url": up.url}
        )
        assert _code(answer) == UNAUTHORIZED
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert (await proxy.client.request(method, data)).status_code == 405
        clock.now += 100
        assert _code(await proxy.client.get(data)) == (401, "signature_expired")
        assert (await proxy.client.get(data, headers=OWN)).content == b"hello"
        # Whoever has the secret gets new ones, and the upstream is not called again.
        again = (await _start(proxy, up.url, ids, **OWN)).json()
        assert again["durableDataUrl"] != start["durableDataUrl"]
        assert (await proxy.client.get(local(again["durableDataUrl"]))).content == b"hello"
        assert len(up.calls) == 2


async def test_a_secret_is_replaced_without_breaking_addresses() -> None:
    async with upstream(whole(200, b"hello")) as up, served(secret=OLD) as proxy:
        ids = uuid4(), uuid4()
        start = (await _start(proxy, up.url, ids, X_Proxy_Secret=OLD)).json()
        query = urlsplit(start["durableDataUrl"]).query
    for secrets, status in (([SECRET, OLD], 404), ([SECRET], 401)):
        async with served(secret=secrets) as proxy:
            data = f"/v1/stream/{generation_paths(*ids).data}?{query}"
            assert (await proxy.client.get(data)).status_code == status


async def test_the_metrics_secret_does_not_go_upstream() -> None:
    metrics = "the-secret-of-prometheus"
    async with (
        upstream(whole(200, b"")) as up,
        served(secret=SECRET, metrics_secret=metrics) as proxy,
    ):
        for url, more in ((up.url, {"X-Key": metrics}), (f"{up.url}?k={metrics}", {})):
            answer = await proxy.start(url, X_Proxy_Secret=SECRET, **more)
            assert _code(answer) == (400, "bad_request")
            assert metrics not in answer.text
        assert up.calls == []


async def test_without_a_secret_nothing_is_signed() -> None:
    async with upstream(whole(200, b"hello")) as up, served() as proxy:
        start = (await proxy.start(up.url)).json()
    assert "?" not in start["durableDataUrl"]
    assert "urlsExpireAt" not in start


# ---------------------------------------------------------------------- a dependency of one's own


async def known(
    request: Request, x_user: Annotated[str, Header()], suffix: Annotated[str, Depends(lambda: "!")]
) -> Principal | str | None:
    match x_user:
        case "reader":
            return Principal("reader" + suffix, frozenset({Right.READ}))
        case "starter":
            return Principal("starter", frozenset({Right.START}))
        case "all":
            return "all"
        case "own":
            return "own" if request.path_params.get("session") == request.headers["x-own"] else None
        case "banned":
            raise HTTPException(403, "you are banned")
        case "stale":
            raise HTTPException(401, "log in again", headers={"X-Any": "thing"})
        case _:
            return None


async def test_a_dependency_says_who_may_do_what() -> None:
    async with upstream(whole(200, b"hello")) as up, served(authorize=known) as proxy:
        ids = uuid4(), uuid4()
        data = f"/v1/stream/{generation_paths(*ids).data}"
        for user, code in (
            (None, UNAUTHORIZED),
            ("nobody", UNAUTHORIZED),
            ("stale", UNAUTHORIZED),
            ("banned", FORBIDDEN),
            ("reader", FORBIDDEN),
        ):
            headers = {} if user is None else {"X-User": user}
            assert _code(await _start(proxy, up.url, ids, **headers)) == code
        assert up.calls == []
        answer = await _start(proxy, up.url, ids, X_User="starter")
        assert answer.status_code == 200
        assert "?" not in answer.json()["durableDataUrl"]
        for user, status in (("starter", 403), ("reader", 200), ("all", 200), ("nobody", 401)):
            answer = await proxy.client.get(data, headers={"X-User": user})
            assert answer.status_code == status
        own = {"X-User": "own", "X-Own": str(ids[0])}
        assert (await proxy.client.get(data, headers=own)).status_code == 200
        assert (await _start(proxy, up.url, ids, **own)).status_code == 200
        own["X-Own"] = str(uuid4())
        assert (await proxy.client.get(data, headers=own)).status_code == 401
        assert (await _start(proxy, up.url, ids, **own)).status_code == 401


async def test_a_dependency_beside_a_secret() -> None:
    async with (
        upstream(whole(200, b"hello")) as up,
        served(authorize=known, secret=SECRET) as proxy,
    ):
        ids = uuid4(), uuid4()
        start = (await _start(proxy, up.url, ids, X_User="starter")).json()
        data = urlsplit(start["durableDataUrl"])
        assert (await proxy.client.get(f"{data.path}?{data.query}")).content == b"hello"
        assert (await proxy.client.get(data.path, headers=OWN)).content == b"hello"
        forged = await proxy.client.get(f"{data.path}?{data.query}x", headers={"X-User": "reader"})
        assert forged.content == b"hello"
        assert _code(await proxy.client.get(data.path)) == UNAUTHORIZED


async def test_a_dependency_is_done_before_the_answer() -> None:
    """One with ``yield`` does not hold what it holds for as long as somebody reads."""
    events: list[str] = []

    async def session() -> AsyncIterator[str]:
        events.append("open")
        yield "somebody"
        events.append("closed")

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        events.append("sent")
        await wire.end()

    async with upstream(script) as up, served(authorize=session) as proxy:
        answer = await _start(proxy, up.url, (uuid4(), uuid4()), X_Proxy_Live="raw")
        assert answer.content == b"hello"
    assert events == ["open", "closed", "sent"]


async def test_a_dependency_that_fails_lets_nobody_in() -> None:
    def broken() -> None:
        raise LookupError("an internal text")

    def something_else() -> int:
        return 7

    for authorize in (broken, something_else):
        async with upstream(whole(200, b"hello")) as up, served(authorize=authorize) as proxy:
            answer = await _start(proxy, up.url, (uuid4(), uuid4()))
            assert _code(answer) == (500, "internal")
            read = await proxy.client.get("/v1/stream/x")
            assert read.status_code == 500
            assert "internal text" not in answer.text + read.text
            assert up.calls == []


async def test_a_dependency_can_be_overridden_in_tests() -> None:
    async with upstream(whole(200, b"hello")) as up, served(authorize=known) as proxy:
        proxy.app.dependency_overrides[known] = lambda: "somebody"
        assert (await _start(proxy, up.url, (uuid4(), uuid4()))).status_code == 200


# ---------------------------------------------------------------------- limits


async def test_readers_of_one_principal_are_limited() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        await go_on.wait()
        await wire.end()

    async with (
        upstream(script) as up,
        served(secret=SECRET, authorize=known, limits=Limits(readers_per_principal=2)) as proxy,
    ):
        ids = uuid4(), uuid4()
        data = f"/v1/stream/{generation_paths(*ids).data}?offset=-1&live=raw"
        headers = {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"} | OWN
        async with (
            proxy.client.stream("POST", proxy.path(*ids), headers=headers) as first,
            proxy.client.stream("GET", data, headers=OWN) as second,
        ):
            assert (first.status_code, second.status_code) == (200, 200)
            for answer in (
                await proxy.client.get(data, headers=OWN),
                await proxy.client.post(proxy.path(uuid4(), uuid4()), headers=headers),
            ):
                assert _code(answer) == (429, "too_many_readers")
                assert int(answer.headers["retry-after"]) > 0
            assert len(up.calls) == 1
            # Somebody else still may, and so may who starts without reading.
            async with proxy.client.stream("GET", data, headers={"X-User": "reader"}) as other:
                assert other.status_code == 200
            go_on.set()
            assert await first.aread() == await second.aread() == b"hello"
        await harness.eventually(lambda: proxy.app.state.guard.readers.held("service") == 0)
        assert (await proxy.client.get(data, headers=OWN)).content == b"hello"


async def test_generations_of_one_principal_are_limited() -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        await go_on.wait()
        await wire.end()

    options: dict[str, Any] = {"secret": SECRET, "authorize": known}
    async with (
        upstream(script) as up,
        served(limits=Limits(generations_per_principal=2), **options) as proxy,
    ):
        ids = uuid4(), uuid4()
        for one in (ids, (uuid4(), uuid4())):
            assert (await _start(proxy, up.url, one, **OWN)).status_code == 200
        refused = uuid4(), uuid4()
        answer = await _start(proxy, up.url, refused, **OWN)
        assert _code(answer) == (429, "too_many_generations")
        assert int(answer.headers["retry-after"]) > 0
        # To attach is not to start, and somebody else has a number of his own.
        assert (await _start(proxy, up.url, ids, **OWN)).status_code == 200
        answer = await _start(proxy, up.url, (uuid4(), uuid4()), X_User="all")
        assert answer.status_code == 200
        assert len(up.calls) == 3
        go_on.set()
        running = proxy.app.state.proxy.parts.generations.running
        await harness.eventually(lambda: running.held("service") == 0)
        assert (await _start(proxy, up.url, refused, **OWN)).status_code == 200


async def test_an_attempt_that_failed_is_no_generation_to_attach_to() -> None:
    """What the upstream refused is tried anew, which takes a place."""
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        if "refuse" in wire.call.path:
            await wire.whole(429, b"slow down")
            return
        await wire.head()
        await go_on.wait()
        await wire.end()

    async with (
        upstream(script) as up,
        served(secret=SECRET, limits=Limits(generations_per_principal=1)) as proxy,
    ):
        ids = uuid4(), uuid4()
        assert (await _start(proxy, f"{up.url}/refuse", ids, **OWN)).text == "slow down"
        assert (await _start(proxy, up.url, (uuid4(), uuid4()), **OWN)).status_code == 200
        answer = await _start(proxy, f"{up.url}/refuse", ids, **OWN)
        assert _code(answer) == (429, "too_many_generations")
        go_on.set()


async def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with upstream(whole(200, b"hello")) as up, served(secret=SECRET) as proxy:
        start = (await _start(proxy, up.url, (uuid4(), uuid4()), **OWN)).json()
        data = urlsplit(start["durableDataUrl"])
        await proxy.client.get(data.path)
        await proxy.client.get(data.path, headers={"X-Proxy-Secret": "wrong" + SECRET})
        await proxy.client.get(f"{data.path}?{data.query}x")
        await _start(proxy, up.url, (uuid4(), uuid4()), **OWN, **BEARER)
        ours: list[Any] = [
            record.getMessage() for record in caplog.records if record.name.startswith("durable")
        ]
    assert not any(SECRET in text or "signature=" in text for text in ours)
