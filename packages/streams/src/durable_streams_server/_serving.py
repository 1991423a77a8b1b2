"""Running an ASGI application the way our commands do: bind first, drain on a signal."""

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
import uvloop

from durable_streams_server._exchange import Limits
from durable_streams_server._protocol import AppendSurface, GuardedProtocol, StreamsProtocol

CONNECTIONS_SECONDS = 5
"""How long open requests may take to end once there is nothing left to wait for."""
IMPATIENCE_SECONDS = 0.1
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

Drain = Callable[[], Coroutine[Any, Any, None]]

logger = logging.getLogger("durable_streams_server")


class BindError(Exception):
    """The address cannot be listened on; the text says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address (port 0 picks a free one) before anything else is opened.

    Raises:
        BindError: the port is in use, not allowed, or the host is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise BindError(f"cannot listen on {host}: {error.strerror}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise BindError(
            f"cannot listen on {host} port {port}: {reason}. Choose another with --port"
        ) from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Drains the application between the signal and the end of listening.

    uvicorn's own handling of signals raises them again afterwards, which ends the process before
    its log is closed; here a signal is a request to stop and nothing more.
    """

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        drain: Drain,
        on_ready: Callable[[str], None],
        appends: AppendSurface | None,
    ) -> None:
        super().__init__(_config(app, appends))
        self._listener = listener
        self._drain = drain
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port, *_ = self._listener.getsockname()
        self._on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drain = asyncio.create_task(self._drain())
        while not drain.done() and not self.force_exit:
            await asyncio.wait([drain], timeout=IMPATIENCE_SECONDS)
        drain.cancel()
        (outcome,) = await asyncio.gather(drain, return_exceptions=True)
        if isinstance(outcome, Exception):
            logger.error("taking leave failed", exc_info=outcome)
        await super().shutdown(sockets)


def _config(app: Any, appends: AppendSurface | None) -> uvicorn.Config:
    http: Any = (
        partial(GuardedProtocol, Limits()) if appends is None else partial(StreamsProtocol, appends)
    )
    return uvicorn.Config(
        app,
        lifespan="off",
        http=http,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=CONNECTIONS_SECONDS,
    )


async def serve(
    app: Any,
    listener: socket.socket,
    *,
    drain: Drain,
    on_ready: Callable[[str], None],
    appends: AppendSurface | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, and take leave.

    Args:
        app: An ASGI application that is running already: no lifespan is sent to it.
        listener: From `bind`.
        drain: Called once at the signal, while requests are still served: finish what has to be
            finished and send waiting readers home. A second SIGINT cuts it short.
        on_ready: Called with the server's URL when requests and signals are heard.
        appends: The part of the application that takes appends the short way.
    """
    # What is there now stays for good: the collector need not go through it again and again.
    gc.collect()
    gc.freeze()
    await _Server(app, listener, drain, on_ready, appends).serve(sockets=[listener])


def _raise_file_limit() -> None:
    """Take all the open files that we may have: each reader is one, and many shells allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # some systems call "unlimited" what they do not give
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function as a program, on uvloop.

    The writer thread gives the interpreter's lock up for every statement of SQLite and has to get
    it back from a busy event loop. By default that takes up to 5 ms each time. On a two-core
    machine appends per second went from 4,200 to 6,800 with 0.5 ms, and, when an append had become
    cheaper, from 14,300 to 17,100 with the interval below.
    """
    sys.setswitchinterval(0.00005)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
