"""Which web pages may use the proxy: none, unless it says so."""

from __future__ import annotations

from uuid import uuid4

import pytest

from durable_transport.protocol import generation_paths
from proxy.harness import served
from proxy.wire import upstream, whole

pytestmark = pytest.mark.anyio


async def test_no_web_page_may_call_or_read_anything() -> None:
    origin = {"Origin": "https://app.example"}
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-proxy-url",
    }
    session, request = uuid4(), uuid4()
    async with upstream(whole(200, b"hello")) as up, served() as proxy:
        path = proxy.path(session, request)
        stored = f"/v1/stream/{generation_paths(session, request).data}"
        answers = [
            await proxy.client.options(path, headers=origin | asks),
            await proxy.client.post(path, headers=origin | {"X-Proxy-Url": up.url}),
            await proxy.client.options(stored, headers=origin | asks),
            await proxy.client.get(stored, headers=origin),
            await proxy.client.get(f"{stored}?offset=-1&live=raw", headers=origin),
            await proxy.client.get("/v1/stream/generations/x", headers=origin),
            await proxy.client.get("/health", headers=origin),
        ]
        assert answers[3].content == b"hello"
        for answer in answers:
            assert "access-control-allow-origin" not in answer.headers


async def test_pages_of_named_origins_may() -> None:
    ours, theirs = "https://app.example", "https://evil.example"
    async with served(cors_origins=[ours, "http://localhost:3000"]) as proxy:
        for path in ("/health", "/v1/stream/generations/x"):
            answer = await proxy.client.get(path, headers={"Origin": ours})
            assert answer.headers.get_list("access-control-allow-origin") == [ours]
            assert "origin" in answer.headers["vary"].lower()
            answer = await proxy.client.get(path, headers={"Origin": theirs})
            assert "access-control-allow-origin" not in answer.headers


async def test_browsers_may_call_and_read_everything_where_all_may() -> None:
    origin = {"Origin": "https://app.example"}
    async with upstream(whole(200, b"hello")) as up, served(cors_origins="*") as proxy:
        path = proxy.path(uuid4(), uuid4())
        preflight = await proxy.client.options(
            path,
            headers=origin
            | {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "x-proxy-url, authorization, x-anything",
            },
        )
        assert preflight.status_code == 204
        assert "x-anything" in preflight.headers["access-control-allow-headers"]
        answers = [
            await proxy.client.post(path, headers=origin | {"X-Proxy-Url": up.url}),
            await proxy.client.post(
                path, headers=origin | {"X-Proxy-Url": up.url, "X-Proxy-Live": "raw"}
            ),
            await proxy.client.post(path, headers=origin),
            await proxy.client.get("/nowhere", headers=origin),
            await proxy.client.get("/health", headers=origin),
            await proxy.client.get("/v1/stream/generations/x", headers=origin),
        ]
        for answer in answers:
            assert answer.headers.get_list("access-control-allow-origin") == ["*"]
            (exposed,) = answer.headers.get_list("access-control-expose-headers")
            assert {"*", "X-Proxy-Source", "X-Proxy-Error", "Stream-Next-Offset"} <= {
                *exposed.split(", ")
            }
            assert "access-control-allow-credentials" not in answer.headers
        assert "origin" not in {name.lower() for name, _ in up.calls[0].headers}
