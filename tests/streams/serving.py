"""A server in this process, on a real socket, with the commands' protocol or uvicorn's own."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from durable_streams_server import Limits, Log, StreamsApp
from durable_streams_server._protocol import StreamsProtocol
from streams.gate import PATIENCE
from streams.http_client import LOOPBACK, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NEVER = 10 * PATIENCE
PATIENT = Limits(
    body=100_000,
    headers=4_000,
    long_poll=NEVER,
    rotate=NEVER,
    raw_idle=NEVER,
    heartbeat=NEVER,
    send=NEVER,
    body_wait=NEVER,
)
"""No wait of the server ends by itself before a test has lost its patience."""


class Served(Client):
    """The client of one server, which has the log at hand as well."""

    def __init__(self, port: int, log: Log, state: ServerState) -> None:
        super().__init__(port)
        self.log = log
        self.state = state

    def readers(self, path: str) -> int:
        """How many readers a stream has."""
        tail = self.log._reads._tails.get(path)
        return 0 if tail is None else tail.readers

    def is_receiving(self) -> bool:
        """Whether a request has begun, as a task or, the short way, in its connection."""
        connections: Any = self.state.connections
        return bool(self.state.tasks) or any(
            getattr(one, "_append", None) is not None for one in connections
        )

    async def settled(self, condition: Callable[[], bool]) -> None:
        """Wait for what has no event to wait for."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def waiting(self, path: str, count: int = 1) -> None:
        """Wait until readers of the stream wait for its next change."""
        tails = self.log._reads._tails
        await self.settled(lambda: path in tails and len(tails[path]._waiters) == count)


PROTOCOL = ["commands"]
"""Last: how applications are served from now on; `each_protocol` in conftest.py changes it."""


@asynccontextmanager
async def serving(app: Any, log: Log, *, http: Any = None) -> AsyncIterator[Served]:
    """Serve an application on a port of its own."""
    if http is None:
        short = PROTOCOL[-1] == "commands" and isinstance(app, StreamsApp)
        http = partial(StreamsProtocol, app) if short else "httptools"
    config = uvicorn.Config(app, http=http, lifespan="off", ws="none", log_config=None)
    config.load()
    protocol: Any = config.http_protocol_class
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}),
        LOOPBACK,
        0,
    )
    served = Served(server.sockets[0].getsockname()[1], log, state)
    try:
        yield served
    finally:
        server.close()
        log.release_readers()
        for connection in list(state.connections):
            connection.shutdown()
        await served.settled(lambda: not state.tasks and not state.connections)


@asynccontextmanager
async def served(
    limits: Limits = PATIENT,
    *,
    store_clock: Callable[[], float] = time.time,
    **options: Any,
) -> AsyncIterator[Served]:
    """Streams of a new log."""
    async with await Log.open(clock=store_clock) as log:
        app = StreamsApp(log, limits=limits, **options)
        async with serving(app, log) as server:
            yield server
