"""A demo as a process of its own: killed, started again, asked what it has done."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2

from browser import UNIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 100 * UNIT
"""The pages are there already, but the machine may do other things too."""
STOP_SECONDS = 20 * UNIT
POLL_SECONDS = 0.02


class DemoServer:
    """A demo, on a port and with data that stay the same when it is started again."""

    def __init__(self, name: str, folder: Path, pace: float) -> None:
        self.url = ""
        self._name = name
        self._folder = folder
        self._pace = pace
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, pace: float | None = None) -> None:
        """Start it, and return when it listens; from now on with another pace, if one is given."""
        self._pace = self._pace if pace is None else pace
        port = self.url.rpartition(":")[2] or "0"
        options = ["--port", port, "--data", str(self._folder / "data"), "--pace", str(self._pace)]
        log = self._folder / "demo.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "durable_demos._cli", self._name, *options, "--no-open"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.url = self._listening(log)

    def _listening(self, log: Path) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            found = re.search(r"(http://\S+:\d+).*Ctrl-C ends it", log.read_text(), re.DOTALL)
            if found:
                return found[1]
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the demo does not start: {log.read_text()}")

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Kill it and start it again, on the same port with the same data."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it politely; fail when it does not go."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def calls(self) -> int:
        """How often the model was called since this process started."""
        answer = httpx2.get(f"{self.url}/api/calls").raise_for_status()
        calls: int = answer.json()["calls"]
        return calls


@contextmanager
def running_demo(name: str, folder: Path, *, pace: float = 0.01) -> Iterator[DemoServer]:
    """A demo for as long as the block lasts.

    Args:
        name: As in ``demo NAME``.
        folder: An empty one, for its data and its log.
        pace: Seconds between two words of its scripted model.
    """
    server = DemoServer(name, folder, pace)
    try:
        server.start()
        yield server
    finally:
        server.stop()
