"""Real processes: stopped by their own pid, their last words kept for the error message."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx2

ROOT = Path(__file__).resolve().parents[4]
LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
SHOWN_LINES = 12


class DemoError(Exception):
    """The demo cannot go on; the text is for the user."""


class Child:
    """One process of the demo."""

    def __init__(self, name: str, arguments: list[str], directory: Path) -> None:
        self.name = name
        self._log = directory / f"{name.replace(' ', '-')}.log"
        paths = [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops them in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def messages(self) -> Iterator[dict[str, Any]]:
        """The JSON lines it writes, until it ends."""
        for line in self.stdout:
            if line.endswith(b"\n"):  # a killed writer may leave half a line
                yield json.loads(line)

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it politely, then not."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self.stdout.close()

    def failure(self) -> DemoError:
        """What went wrong, with the end of what it wrote."""
        code = self._process.poll()
        how = "does not answer" if code is None else f"ended with exit code {code}"
        lines = self._log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        return DemoError("\n".join([f"the {self.name} {how}", *lines]))


def free_port() -> int:
    """A loopback port that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def child(name: str, arguments: list[str], directory: Path) -> Iterator[Child]:
    """Run a child for as long as the block lasts."""
    process = Child(name, arguments, directory)
    try:
        yield process
    finally:
        with _uninterrupted():
            process.stop()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning up."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until_healthy(process: Child, url: str, client: httpx2.Client) -> None:
    """Return when the child answers its health check; raise what it said when it cannot."""
    deadline = time.monotonic() + START_SECONDS
    while process.running and time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if client.get(url).is_success:
                return
        time.sleep(POLL_SECONDS)
    raise process.failure()
