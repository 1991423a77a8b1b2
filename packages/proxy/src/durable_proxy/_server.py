"""The proxy on uvicorn: it leaves only after its generations have."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from durable_proxy._service import Proxy

CONNECTIONS_SECONDS = 5
"""How long connections may take to end once there is nothing left to wait for."""
IMPATIENCE_SECONDS = 0.1

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Server(uvicorn.Server):
    """Drains the proxy between the signal and the end of listening.

    While generations finish, readers come and go as before; only new generations are refused,
    and the health check says so to whoever balances load.
    """

    def __init__(self, config: uvicorn.Config, proxy: Proxy, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._proxy = proxy
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so: from here on, requests and signals are heard."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then end as uvicorn does. A second SIGINT ends the drain."""
        drain = asyncio.create_task(self._proxy.drain())
        while not drain.done() and not self.force_exit:
            await asyncio.wait([drain], timeout=IMPATIENCE_SECONDS)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        await super().shutdown(sockets)


async def serve(app: FastAPI, listener: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve an application whose proxy is running, until SIGINT or SIGTERM, and take leave."""
    config = uvicorn.Config(
        app,
        # The proxy is running already: what its start can say is said without a traceback.
        lifespan="off",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CONNECTIONS_SECONDS,
    )
    with _signals_end_nothing_else():
        await _Server(config, app.state.proxy, on_ready).serve(sockets=[listener])


@contextmanager
def _signals_end_nothing_else() -> Iterator[None]:
    """Let the log be closed after a signal.

    uvicorn sends itself the signal again once it has ended, to whoever handled it before.
    """
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
