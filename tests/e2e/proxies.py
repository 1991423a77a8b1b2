"""The proxy under test: in a thread of this process, or as the command a user would start."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

import durable_ai_db_proxy
import durable_proxy
from e2e.drivers import UNIT

LOOPBACK = "127.0.0.1"
START_SECONDS = 60 * UNIT
STOP_SECONDS = 10 * UNIT
POLL_SECONDS = 0.02
COMMAND = Path(sys.executable).with_name("durable-proxy")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_up.set()


@contextlib.contextmanager
def app_in_a_thread(app: Any, name: str = "app") -> Iterator[str]:
    """Serve an application with uvicorn; gives its URL."""
    config = uvicorn.Config(
        app, ws="none", log_config=None, log_level="critical", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    with socket.create_server((LOOPBACK, 0), backlog=512) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name=name)
        thread.start()
        try:
            if not server.is_up.wait(START_SECONDS):
                raise RuntimeError(f"the {name} did not start")
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)


@contextlib.contextmanager
def proxy_in_a_thread(store: str, allow: str) -> Iterator[str]:
    """Serve ``durable_proxy.create_app`` with uvicorn; gives its URL."""
    app = durable_proxy.create_app(store, allow=[allow], drain_seconds=UNIT)
    with app_in_a_thread(app, "proxy") as url:
        yield url


@contextlib.contextmanager
def sessions_in_a_thread(store: str, allow: str) -> Iterator[str]:
    """Serve ``durable_ai_db_proxy.create_app`` with uvicorn; gives its URL."""
    app = durable_ai_db_proxy.create_app(store, allow=[allow], drain_seconds=0)
    with app_in_a_thread(app, "sessions") as url:
        yield url


class ProxyProcess:
    """``durable-proxy serve`` on a port of its own; it may be killed and started again."""

    def __init__(self, directory: Path, allow: str) -> None:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            self.port: int = probe.getsockname()[1]
        self._store = f"sqlite:///{directory / 'proxy.sqlite'}"
        self._log = directory / "proxy.log"
        self._allow = allow
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [str(COMMAND), "serve", "--host", LOOPBACK, "--port", str(self.port)]
        command += ["--store", self._store, "--allow", self._allow]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        with httpx2.Client(trust_env=False) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(httpx2.TransportError):
                    if client.get(f"{self.url}/health").is_success:
                        return
                time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the proxy did not start: {self._log.read_text()}")

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it politely, then not."""
        if self._process is None or self._process.poll() is not None:
            return
        self.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def proxy_process(directory: Path, allow: str) -> Iterator[ProxyProcess]:
    """Run the command for as long as the block lasts."""
    process = ProxyProcess(directory, allow)
    process.start()
    try:
        yield process
    finally:
        process.stop()
