"""Running an ASGI application the way our commands do: bind first, drain on a signal."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

DRAIN_SECONDS = 10
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


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
    """Tells the application about the end before waiting for connections to end.

    uvicorn's own handling of signals raises them again afterwards, which ends the process before
    the log is closed; here a signal is a request to stop and nothing more.
    """

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if not self.should_exit:
            self._on_exit()
        self.handle_exit(number, None)


async def serve(
    app: Any,
    listener: socket.socket,
    *,
    on_exit: Callable[[], None],
    drain_seconds: int = DRAIN_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM, then let open requests end for ``drain_seconds``.

    Args:
        app: An ASGI application without a lifespan of its own.
        listener: From `bind`.
        on_exit: Called in the loop when the signal comes: release readers, refuse new work.
        drain_seconds: How long open requests may take to end.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    await _Server(config, on_exit).serve(sockets=[listener])


def run(main: Callable[[], Any]) -> None:
    """Run a coroutine function as a program, on uvloop.

    The writer thread gives the interpreter's lock up for every statement of SQLite and has to get
    it back from a busy event loop. By default that takes up to 5 ms each time; with the interval
    below, appends per second went from 4,200 to 6,800 on a two-core machine.
    """
    sys.setswitchinterval(0.0005)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
