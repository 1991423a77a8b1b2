"""Starting and stopping the emulator, in a thread or in a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from emulator._app import create_app
from emulator._script import Script
from emulator._state import State

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class Upstream(State):
    """A running emulator and its addresses."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self.port = port

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def openai_url(self) -> str:
        """``base_url`` for the ``openai`` clients."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """``base_url`` for the ``anthropic`` clients."""
        return self.url


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.is_up.set()


def make_server(state: State) -> _Server:
    """A quiet server for the emulator: what it does is asserted, not logged."""
    config = uvicorn.Config(
        create_app(state),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return _Server(config)


def listen(port: int = 0) -> socket.socket:
    """A listening loopback socket; its port is free by construction."""
    listener = socket.create_server((LOOPBACK, port), backlog=2048)
    listener.set_inheritable(True)
    return listener


@contextlib.contextmanager
def serve() -> Iterator[Upstream]:
    """Run an emulator in a thread; it is there on entry and gone on exit."""
    with listen() as listener:
        upstream = Upstream(listener.getsockname()[1])
        server = make_server(upstream)
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator")
        thread.start()
        try:
            if not server.is_up.wait(START_SECONDS):
                raise RuntimeError("the emulator did not start")
            yield upstream
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)


class RemoteUpstream:
    """A running emulator in another process, steered over HTTP."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        self.openai_url = f"{url}/v1"
        self.anthropic_url = url

    def add(self, script: Script) -> None:
        """Register a script, in place of one with the same id."""
        self._call("PUT", "scripts", script.model_dump_json().encode())

    def calls(self, script_id: str = "") -> int:
        """Calls to one script, or to all."""
        return int(self._call("GET", f"calls/{script_id}")["calls"])

    def release(self, script_id: str) -> None:
        """Let the calls that hold at their ``hold_after`` go on."""
        self._call("POST", f"release/{script_id}")

    def _call(self, method: str, what: str, body: bytes = b"") -> dict[str, int]:
        import httpx2

        answer = httpx2.request(
            method, f"{self.url}/emulator/{what}", content=body, trust_env=False
        )
        answer.raise_for_status()
        value: dict[str, int] = answer.json()
        return value


@contextlib.contextmanager
def serve_process() -> Iterator[RemoteUpstream]:
    """Run an emulator in a process of its own; it is stopped by its pid on exit."""
    here = str(Path(__file__).parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the emulator did not start")
            yield RemoteUpstream(json.loads(line)["url"], process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def refused_url() -> Iterator[str]:
    """An address that refuses every connection, and that nobody else can get meanwhile."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        yield f"http://{LOOPBACK}:{bound.getsockname()[1]}"
