"""Runs the npm conformance suite of the Durable Streams protocol against our server.

The result has to be exactly what `known_gaps.txt` says: a test that fails and is not listed is a
defect, and one that passes although it is listed belongs off the list.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.path.insert(0, str(Path(__file__).parents[1]))
from streams.postgres import database

HERE = Path(__file__).parent
KNOWN_GAPS = HERE / "known_gaps.txt"
LONG_POLL_MS = 500
START_SECONDS = 20.0
SUITE_SECONDS = 300.0


@dataclass(frozen=True)
class Result:
    """One test of the suite."""

    name: str
    passed: bool
    message: str


def main() -> int:
    """Run the suite and compare its result with the known gaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", action="store_true", help="try the npm server instead")
    parser.add_argument("--only", metavar="TEXT", help="run the tests whose name contains TEXT")
    parser.add_argument("--write-gaps", action="store_true", help="list what fails now as gaps")
    parser.add_argument("--store", choices=STORES, help="one kind of store instead of each")
    options = parser.parse_args()
    if options.reference:
        return try_server("the npm server", reference_command, options)
    failed = 0
    for store in [options.store] if options.store else STORES:
        with STORES[store]() as url:
            failed += try_server(store, partial(our_command, url), options)
    return min(failed, 1)


def try_server(name: str, command: Callable[[int], list[str]], options: argparse.Namespace) -> int:
    """Run the suite against one server and return the exit code."""
    print(f"conformance: {name}")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        port = free_port()
        with running(command(port), port, Path(folder) / "server.log"):
            results = run_suite(port, Path(folder), options.only)
    if options.write_gaps:
        write_gaps(results)
    gaps = set() if options.reference else read_gaps()
    return report(results, gaps, partial=options.only is not None)


@contextlib.contextmanager
def new_file() -> Iterator[str]:
    """Give the URL of a new store file."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        yield f"sqlite:///{folder}/conformance.sqlite"


@contextlib.contextmanager
def new_database() -> Iterator[str]:
    """Give the URL of a store in a Postgres database that is there for this run only."""
    try:
        with database() as made:
            yield made.url
    except pytest.skip.Exception as error:
        sys.exit(f"error: {error}; try one kind of store with --store sqlite")


STORES: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "sqlite": new_file,
    "postgres": new_database,
}


def our_command(store: str, port: int) -> list[str]:
    """Return the command of our server on a new store."""
    return [
        str(Path(sys.executable).with_name("durable-streams")),
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--store", store),
        *("--long-poll-timeout", str(LONG_POLL_MS / 1000)),
        *("--webhook-allow", "http://127.0.0.1:*"),
    ]


def reference_command(port: int) -> list[str]:
    """Return the command of the npm server, which keeps its streams in memory."""
    return [_which("node"), str(HERE / "reference_server.mjs"), str(port), str(LONG_POLL_MS)]


def _which(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        sys.exit(f"error: {program} is needed and was not found")
    return found


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server while the block runs, and show its output when it does not start or dies."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"error: the server did not start\n{log.read_text()}")
            time.sleep(0.05)
        yield
        if server.poll() is not None:
            sys.exit(f"error: the server ended with {server.returncode}\n{log.read_text()}")
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def run_suite(port: int, folder: Path, only: str | None) -> list[Result]:
    """Run vitest on the suite and return what became of each test."""
    outcome = folder / "result.json"
    command = [
        _which("node"),
        str(HERE / "node_modules" / "vitest" / "vitest.mjs"),
        *("run", "--root", str(HERE), "--reporter=json", f"--outputFile={outcome}"),
        *(("--testNamePattern", only) if only else ()),
        "suite.test.js",
    ]
    environment = {
        **os.environ,
        "CONFORMANCE_URL": f"http://127.0.0.1:{port}",
        "CONFORMANCE_LONG_POLL_MS": str(LONG_POLL_MS),
    }
    done = subprocess.run(
        command,
        cwd=HERE,
        env=environment,
        timeout=SUITE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if not outcome.exists():
        sys.exit(f"error: vitest wrote no result\n{done.stdout}\n{done.stderr}")
    return list(_results(json.loads(outcome.read_text())))


def _results(outcome: dict[str, Any]) -> Iterator[Result]:
    for file in outcome["testResults"]:
        for test in file["assertionResults"]:
            if test["status"] in {"passed", "failed"}:
                message = "\n".join(test["failureMessages"])
                yield Result(test["fullName"], test["status"] == "passed", message)


def read_gaps() -> set[str]:
    """Return the names of the tests that are known to fail."""
    lines = KNOWN_GAPS.read_text().splitlines() if KNOWN_GAPS.exists() else []
    return {line for line in lines if line and not line.startswith("#")}


def write_gaps(results: list[Result]) -> None:
    """Replace the list by what fails now, keeping the comment on its top."""
    lines = KNOWN_GAPS.read_text().splitlines() if KNOWN_GAPS.exists() else []
    comment = [line for line in lines if line.startswith("#")]
    failed = sorted(result.name for result in results if not result.passed)
    KNOWN_GAPS.write_text("\n".join([*comment, *failed, ""]))


def report(results: list[Result], gaps: set[str], *, partial: bool) -> int:
    """Print the comparison and return the exit code."""
    names = {result.name for result in results}
    defects = [result for result in results if not result.passed and result.name not in gaps]
    closed = [result for result in results if result.passed and result.name in gaps]
    unknown = [] if partial else sorted(gaps - names)
    for result in defects:
        print(f"FAILED  {result.name}\n        {result.message.splitlines()[0]}")
    for result in closed:
        print(f"PASSES but is listed in {KNOWN_GAPS.name}: {result.name}")
    for name in unknown:
        print(f"LISTED in {KNOWN_GAPS.name} but not in the suite: {name}")
    passing = sum(result.passed for result in results)
    print(f"conformance: {passing} of {len(results)} tests pass, {len(gaps & names)} known gaps")
    if not results:
        print("error: the suite ran no test")
    return 1 if defects or closed or unknown or not results else 0


if __name__ == "__main__":
    raise SystemExit(main())
