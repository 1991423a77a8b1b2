"""The proxy protocol under test: a proxy with a secret, and an upstream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from durable_transport.protocol import generation_paths
from proxy.harness import Served, served
from proxy.wire import Upstream, Wire, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx2

SECRET = "a-secret-of-the-service"
BEARER = {"Authorization": f"Bearer {SECRET}"}
HELLO = whole(200, b"hello", ("Content-Type", "text/plain; charset=utf-8"))


@dataclass
class World:
    """A proxy with a secret, and an upstream."""

    proxy: Served
    up: Upstream

    @property
    def client(self) -> httpx2.AsyncClient:
        return self.proxy.client

    async def create(
        self, path: str = "/chat", body: bytes = b"{}", /, **more: str
    ) -> httpx2.Response:
        """Create a stream; in names of headers, `_` is `-`."""
        headers = {"Upstream-URL": self.up.url + path, "Upstream-Method": "POST"} | BEARER
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        return await self.client.post(
            "/v1/proxy",
            headers={name: value for name, value in headers.items() if value},
            content=body,
        )

    async def address(self, path: str = "/chat") -> str:
        """The signed address of a new stream."""
        created = await self.create(path)
        assert created.status_code == 201, created.text
        return created.headers["location"]


@asynccontextmanager
async def world(
    script: Callable[[Wire], Awaitable[None]] = HELLO, **options: Any
) -> AsyncIterator[World]:
    given: dict[str, Any] = {"secret": SECRET} | options
    async with upstream(script) as up, served(**given) as proxy:
        yield World(proxy, up)


class Slow:
    """An upstream's script that sends one piece and then waits."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        await wire.chunk(b"data: one\n\n")
        await self.go_on.wait()
        await wire.chunk(b"data: two\n\n")
        await wire.end()


def refusal_of(answer: httpx2.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert sorted(error) == ["code", "message"]
    assert SECRET not in answer.text
    return answer.status_code, error["code"]


def id_of(address: str) -> str:
    return urlsplit(address).path.removeprefix("/v1/proxy/")


def bare_of(address: str) -> str:
    return address.partition("?")[0]


async def nothing_is_left(it: World) -> None:
    left = await it.proxy.log.list_streams("generations/")
    assert [stream.path for stream in left] == []


async def end_of(it: World, address: str) -> Any:
    """The record of the end, from the generation behind the stream."""
    one = UUID(id_of(address))
    path = f"/v1/stream/{generation_paths(one, one).control}"
    return (await it.client.get(path, headers=BEARER)).json()[-1]


async def has(it: World, address: str, data: bytes) -> bool:
    return (await it.client.get(address)).content == data
