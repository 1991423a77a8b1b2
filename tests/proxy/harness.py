"""The proxy under test: its core without HTTP, and the whole of it on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx2
import uvicorn

from durable_proxy import Limits, Timeouts, create_app
from durable_proxy._allowlist import Allowlist
from durable_proxy._figures import Figures
from durable_proxy._generations import Generations
from durable_proxy._hot_paths import hot_paths_first
from durable_proxy._start_request import StartRequest, parse_head
from durable_proxy._upstream import open_upstream
from durable_streams_server import Limits as StreamLimits
from durable_streams_server import Log, json_items
from durable_streams_server._protocol import GuardedProtocol
from durable_transport.protocol import ControlMessage, GenerationPaths, generation_paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastapi import FastAPI

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
LOOPBACK = "127.0.0.1"
ANY_LOOPBACK = f"http://{LOOPBACK}:*/**"
AS_COMMAND = False
"""Serve as `durable-proxy serve` does."""
TIMEOUTS = Timeouts(connect=5 * UNIT, answer=10 * UNIT, idle=10 * UNIT)


def start_request(
    url: str,
    *headers: tuple[str, str],
    method: str = "POST",
    body: bytes = b"{}",
    session: UUID | None = None,
    request: UUID | None = None,
    allow: str = ANY_LOOPBACK,
) -> StartRequest:
    """A valid start request, with ids of its own unless they are given."""
    raw = [(b"x-proxy-url", url.encode()), (b"x-proxy-method", method.encode())]
    raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    head = parse_head(
        str(session or uuid4()),
        str(request or uuid4()),
        raw,
        allowlist=Allowlist.parse([allow]),
        limits=Limits(),
    )
    return head.with_body(body)


@asynccontextmanager
async def generations(
    log: Log,
    *,
    timeouts: Timeouts = TIMEOUTS,
    limits: Limits | None = None,
    figures: Figures | None = None,
    **options: Any,
) -> AsyncIterator[Generations]:
    """The core of a proxy on a log, drained at the end."""
    async with open_upstream(timeouts, **options) as upstream:
        running = Generations(log, upstream, limits or Limits(), figures or Figures())
        try:
            yield running
        finally:
            await running.drain(0)


async def control(log: Log, paths: GenerationPaths) -> list[ControlMessage]:
    """The control messages of a generation, from its first to its terminal one."""
    found: list[ControlMessage] = []
    async with asyncio.timeout(10 * UNIT), log.reader(paths.control) as reader:
        while True:
            chunk = await reader.next()
            if chunk.data:
                found += [ControlMessage.model_validate(one) for one in json_items(chunk.data)]
            if chunk.closed:
                return found


async def data(log: Log, paths: GenerationPaths) -> bytes:
    """All bytes of a generation's data, up to its close."""
    body = b""
    async with asyncio.timeout(10 * UNIT), log.reader(paths.data) as reader:
        while True:
            chunk = await reader.next()
            body += chunk.data
            if chunk.closed:
                return body


async def terminal(log: Log, paths: GenerationPaths) -> ControlMessage:
    """The terminal record; the data stream is closed where it says."""
    record = (await control(log, paths))[-1]
    assert record.is_terminal
    stream = await log.stat(paths.data)
    assert stream is not None
    assert stream.closed
    assert stream.tail == record.data_position
    return record


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that has no event to wait for."""
    async with asyncio.timeout(10 * UNIT):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.005)


class Served:
    """A proxy on a socket, and a client for it."""

    def __init__(self, url: str, client: httpx2.AsyncClient, app: Any) -> None:
        self.url = url
        self.client = client
        self.app = app

    @property
    def log(self) -> Log:
        log: Log = self.app.state.proxy.parts.log
        return log

    def path(self, session: UUID, request: UUID) -> str:
        return f"/api/{session}/{request}"

    async def start(self, upstream: str, **headers: str) -> httpx2.Response:
        """Start a generation with new ids and read the whole answer."""
        return await self.client.post(
            self.path(uuid4(), uuid4()),
            headers={"X-Proxy-Url": upstream} | _dashed(headers),
            content=b"{}",
        )

    async def control(self, session: UUID, request: UUID) -> list[Any]:
        """Read the control stream over HTTP."""
        path = generation_paths(session, request).control
        answer = await self.client.get(f"/v1/stream/{path}", params={"offset": "-1"})
        assert answer.status_code == 200, answer.text
        messages: list[Any] = answer.json()
        return messages


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@asynccontextmanager
async def served(store: Log | str = "sqlite://", **options: Any) -> AsyncIterator[Served]:
    """The whole proxy on a loopback port."""
    given: dict[str, Any] = {"allow": [ANY_LOOPBACK], "timeouts": TIMEOUTS} | options
    async with serving(create_app(store, **given)) as proxy:
        yield proxy


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Served]:
    """An application of the proxy on a loopback port: as it is, or as our command serves it."""
    command: dict[str, Any] = {"http": partial(GuardedProtocol, StreamLimits())}
    async with app.router.lifespan_context(app):
        with socket.create_server((LOOPBACK, 0), backlog=512) as listener:
            url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            config = uvicorn.Config(
                hot_paths_first(app) if AS_COMMAND else app,
                ws="none",
                lifespan="off",
                log_config=None,
                timeout_graceful_shutdown=1,
                **(command if AS_COMMAND else {}),
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server._serve([listener]))
            try:
                async with httpx2.AsyncClient(
                    base_url=url, trust_env=False, timeout=20 * UNIT
                ) as client:
                    yield Served(url, client, app)
            finally:
                server.should_exit = True
                with contextlib.suppress(asyncio.CancelledError):
                    await task
