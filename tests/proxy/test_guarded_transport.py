"""The Python transport with a proxy that has a secret: connections drop, and nothing expires."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from durable_streams_server import Limits as StreamLimits
from durable_transport import AsyncDurableTransport, Timing
from proxy.harness import UNIT, served
from proxy.wire import Wire, upstream

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-service"
QUICK = Timing(backoff_first=0.01 * UNIT, backoff_limit=0.05 * UNIT, healthy=0.01 * UNIT)


async def slowly(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/plain"))
    for piece in (b"one ", b"two ", b"three"):
        await wire.chunk(piece)
        await asyncio.sleep(0.3 * UNIT)
    await wire.end()


@pytest.mark.parametrize(
    ("for_proxy", "asked"),
    [
        ({"X-Proxy-Secret": SECRET}, {"Authorization": "Bearer sk-theirs"}),
        (
            {"X-Proxy-Authorization": f"Bearer {SECRET}"},
            {"Authorization": "Bearer sk-theirs"},
        ),
        ({"Authorization": f"Bearer {SECRET}"}, {}),
    ],
    ids=["own header", "own bearer", "bearer"],
)
async def test_it_shows_its_secret_on_every_connection(
    for_proxy: dict[str, str], asked: dict[str, str]
) -> None:
    often = StreamLimits(rotate=0.2 * UNIT)
    # Whatever is signed has expired long before it could be used: none of it is.
    options: dict[str, Any] = {"secret": SECRET, "stream_limits": often, "url_seconds": -1000}
    async with upstream(slowly) as up, served(**options) as proxy:
        transport = AsyncDurableTransport(proxy.url, headers=for_proxy, timing=QUICK)
        async with httpx2.AsyncClient(transport=transport) as client:
            answer = await client.post(f"{up.url}/chat", headers=asked, content=b"{}")
            assert (answer.status_code, answer.text) == (200, "one two three")
        (call,) = up.calls
        assert call.values("authorization") == list(asked.values())
        assert not any(SECRET in value for _, value in call.headers)


async def test_a_wrong_secret_is_the_proxys_answer() -> None:
    async with upstream(slowly) as up, served(secret=SECRET) as proxy:
        wrong = {"X-Proxy-Secret": "not-that-secret"}
        transport = AsyncDurableTransport(proxy.url, headers=wrong, timing=QUICK)
        async with httpx2.AsyncClient(transport=transport) as client:
            answer = await client.post(f"{up.url}/chat", content=b"{}")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"
        assert up.calls == []
