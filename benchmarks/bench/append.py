"""Durable appends: ours, beside a no-op on the same HTTP server and the npm server on files."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import ROOT, free_port, measured, program, python_module, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFORMANCE = ROOT / "tests" / "conformance"
NAMES = {
    "noop": "no-op POST, bare ASGI (floor)",
    "ours": "durable-streams, SQLite FULL",
    "npm": "npm server, data directory (peer)",
}


def run(folder: Path, *, rounds: int, seconds: float) -> Figures:
    """Measure the three in turns, so that a slow minute of the machine meets all of them."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for number in range(rounds):
        for name in NAMES:
            place = folder / f"append-{name}-{number}"
            place.mkdir()
            runs[name].append(_one(name, place, seconds))
    rate = {name: statistics.median(one["per_second"] for one in runs[name]) for name in NAMES}
    return Figures(
        title="Durable append: 256 bytes, 100 streams, 64 connections, one process",
        columns=(
            "per second",
            "rounds",
            "p50 ms",
            "p99 ms",
            "of no-op",
            "of npm",
            "CPU/append",
            "load CPU",
        ),
        rows=tuple(_row(name, runs[name], rate) for name in NAMES),
        targets=(
            Target("share of the no-op", rate["ours"] / rate["noop"], 0.45, at_least=True),
            Target("times the npm server", rate["ours"] / rate["npm"], 3.0, at_least=True),
        ),
        notes=(
            fsync_note(folder),
            "after each run every stream was read back: all acknowledged bytes were there",
        ),
        raw={"per_second": rate, "runs": runs},
    )


def _row(name: str, runs: list[dict[str, Any]], rate: dict[str, float]) -> Row:
    best = " ".join(f"{one['per_second']:,.0f}" for one in runs)
    latency = [one["latency_ms"] for one in runs]
    cells = (
        f"{rate[name]:,.0f}",
        best,
        f"{statistics.median(one['p50'] for one in latency):.1f}",
        f"{statistics.median(one['p99'] for one in latency):.1f}",
        f"{rate[name] / rate['noop']:.0%}",
        f"{rate[name] / rate['npm']:.1f} x",
        f"{statistics.median(one['server_us'] for one in runs):.0f} us",
        f"{statistics.median(one['load_cpu'] for one in runs):.0%}",
    )
    return Row(NAMES[name], cells)


def _one(name: str, place: Path, seconds: float) -> dict[str, Any]:
    port = free_port()
    commands: dict[str, Callable[[], list[str]]] = {
        "noop": lambda: python_module("noop", port),
        "ours": lambda: our_server(port, place),
        "npm": lambda: npm_server(port, place),
    }
    load = python_module("append_load", "--port", port, "--seconds", seconds)
    if name != "noop":
        load.append("--durable")
    with running(commands[name](), port, place) as server:
        before = server.cpu_seconds()
        figures = measured(load, seconds + 60)
        used = server.cpu_seconds() - before
    return {**figures, "server_us": 1e6 * used / figures["appends"]}


def our_server(port: int, place: Path) -> list[str]:
    """Return the command of our server on a new file."""
    return [
        program("durable-streams"),
        *("serve", "--host", "127.0.0.1", "--port", str(port)),
        *("--store", f"sqlite:///{place / 'bench.sqlite'}"),
    ]


def npm_server(port: int, place: Path) -> list[str]:
    """Return the command of the npm server on a new data directory."""
    script = CONFORMANCE / "reference_server.mjs"
    return [program("node"), str(script), str(port), "1000", str(place / "data")]
