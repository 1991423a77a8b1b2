"""Servers and loads as processes of their own, on loopback and bounded in time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
START_SECONDS = 20.0


class BenchmarkError(Exception):
    """A part of a measurement did not work; the text says which and shows its last words."""


def program(name: str) -> str:
    """Return the path of a command of our own packages, or of one on PATH."""
    ours = Path(sys.executable).with_name(name)
    found = str(ours) if ours.exists() else shutil.which(name)
    if found is None:
        raise BenchmarkError(f"{name} is needed and was not found")
    return found


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python_module(name: str, *arguments: object) -> list[str]:
    """Return the command that runs one of the modules here."""
    return [sys.executable, "-m", f"bench.{name}", *map(str, arguments)]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process: a figure that a busy machine spoils less."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return float("nan")
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> float:
    """Return how much memory of a process is in use."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.exists():
        return float("nan")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def written_bytes(pid: int) -> float:
    """Return how much a process has sent to disks."""
    io = Path(f"/proc/{pid}/io")
    if not io.exists():
        return float("nan")
    counts = dict(line.split(": ") for line in io.read_text().splitlines())
    return int(counts["write_bytes"])


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> float:
        """Return how much memory it uses."""
        return resident_bytes(self.pid)

    def written_bytes(self) -> float:
        """Return how much it has sent to disks."""
        return written_bytes(self.pid)


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[Server]:
    """Run a server while the block runs."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=BENCHMARKS, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until_it_answers(server, port, log)
        yield Server(server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise BenchmarkError(f"{' '.join(server.args)} did not start\n{log.read_text()}")  # type: ignore[arg-type]


def measured(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Run a load to its end and return the JSON object that it prints."""
    try:
        done = subprocess.run(
            command,
            cwd=BENCHMARKS,
            env={**os.environ, "PYTHONPATH": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{' '.join(command)} took longer than {seconds:g} s") from error
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed\n{done.stdout}{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
