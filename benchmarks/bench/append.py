"""Durable appends: ours, beside a no-op on the same HTTP server and beside other servers."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench import rakaia
from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.servers import NAMES, serving

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = ("noop", "ours", "npm-memory", "npm-file", "rakaia")
LOADS = {"append_load": "plain sockets", "append_client": "asyncio streams"}

Runs = dict[tuple[str, str], list[dict[str, Any]]]
"""By load and server."""


def run(folder: Path, *, rounds: int, seconds: float) -> Figures:
    """Measure all in turns, so that a slow minute of the machine meets all of them.

    The second load, which is heavier than a server, is run once.
    """
    absent = rakaia.install()
    servers = [name for name in SERVERS if name != "rakaia" or absent is None]
    runs: Runs = {(load, name): [] for load in LOADS for name in servers}
    for turn in range(rounds):
        for load, name in runs:
            if turn == 0 or load == "append_load":
                runs[load, name].append(_one(load, name, folder, seconds))
    rate = {key: statistics.median(one["per_second"] for one in runs[key]) for key in runs}
    return Figures(
        title="Durable append: 256 bytes, 100 streams, 64 connections, one process",
        columns=("per second", "of no-op", "rounds", "p50 ms", "p99 ms", "CPU/append", "load CPU"),
        rows=tuple(_row(key, runs[key], rate) for key in runs),
        targets=_targets(rate),
        notes=(
            fsync_note(folder),
            "after each run every stream was read back: all acknowledged bytes were there",
            *([f"rakaia-streams could not be installed: {absent}"] if absent else []),
        ),
        raw={
            "per_second": {" ".join(key): value for key, value in rate.items()},
            "runs": {" ".join(key): value for key, value in runs.items()},
        },
    )


def _targets(rate: dict[tuple[str, str], float]) -> tuple[Target, ...]:
    targets = []
    for load, text in LOADS.items():
        ours = rate[load, "ours"]
        targets += [
            Target(f"{text}: share of the no-op", ours / rate[load, "noop"], 0.7, at_least=True),
            Target(f"{text}: times npm, files", ours / rate[load, "npm-file"], 5.0, at_least=True),
            Target(
                f"{text}: times npm, memory", ours / rate[load, "npm-memory"], 1.5, at_least=True
            ),
        ]
    return tuple(targets)


def _row(
    key: tuple[str, str], runs: list[dict[str, Any]], rate: dict[tuple[str, str], float]
) -> Row:
    load, name = key
    latency = [one["latency_ms"] for one in runs]
    cells = (
        f"{rate[key]:,.0f}",
        f"{rate[key] / rate[load, 'noop']:.0%}",
        " ".join(f"{one['per_second']:,.0f}" for one in runs),
        f"{statistics.median(one['p50'] for one in latency):.1f}",
        f"{statistics.median(one['p99'] for one in latency):.1f}",
        f"{statistics.median(one['server_us'] for one in runs):.0f} us",
        f"{statistics.median(one['load_cpu'] for one in runs):.0%}",
    )
    return Row(f"{NAMES[name]}, {LOADS[load]}", cells)


def _one(load: str, name: str, folder: Path, seconds: float) -> dict[str, Any]:
    with serving(name, folder) as (port, server):
        command = python_module(load, "--port", port, "--seconds", seconds)
        if name != "noop":
            command.append("--durable")
        before = server.cpu_seconds()
        figures = measured(command, seconds + 60)
        used = server.cpu_seconds() - before
    return {**figures, "server_us": 1e6 * used / figures["appends"]}
