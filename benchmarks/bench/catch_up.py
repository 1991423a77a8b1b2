"""Catch-up: one long stream from its beginning to its end, by several readers at once."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.servers import NAMES, serving

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = ("ours", "npm-memory", "npm-file")
SIZE = 64
READERS = 4
MIB = 1024 * 1024
FLAT = 32.0
"""MiB: some pieces of a MiB for each reader, far from the stream times the readers."""


def run(folder: Path, *, passes: int) -> Figures:
    """Measure one server after the other, each with several passes over its stream."""
    runs = {name: _one(name, folder, passes) for name in SERVERS}
    rate = {name: _rate(runs[name]) for name in SERVERS}
    return Figures(
        title=f"Catch-up: a stream of {SIZE} MiB (appends of 64 KiB), {READERS} readers at once",
        columns=(
            "MB/s",
            "passes",
            "CPU/MB",
            "MiB before",
            "at most",
            "after",
            "answers",
            "load CPU",
        ),
        rows=tuple(_row(name, runs[name], rate[name]) for name in SERVERS),
        targets=(
            *(
                Target(f"times {NAMES[name]}", rate["ours"] / rate[name], 2.0, at_least=True)
                for name in SERVERS[1:]
            ),
            Target("more memory at most", _growth(runs["ours"]), FLAT, at_least=False, unit="MiB"),
        ),
        notes=("MB/s of all readers together; each got every byte, in order",),
        raw={"runs": runs},
    )


def _one(name: str, folder: Path, passes: int) -> dict[str, Any]:
    with serving(name, folder) as (port, server):
        load = python_module(
            "catch_up_load",
            *("--port", port, "--server", server.pid),
            *("--size", SIZE, "--readers", READERS, "--passes", passes),
        )
        return measured(load, 120)


def _megabytes() -> float:
    return READERS * SIZE * MIB / 1e6


def _rate(run: dict[str, Any]) -> float:
    return _megabytes() / float(statistics.median(one["seconds"] for one in run["passes"]))


def _growth(run: dict[str, Any]) -> float:
    """MiB that were in use at most, beyond what was in use when the stream had been written."""
    most: float = max(one["peak_bytes"] for one in run["passes"])
    return (most - float(run["before_bytes"])) / MIB


def _row(name: str, run: dict[str, Any], rate: float) -> Row:
    passes = run["passes"]
    cpu = statistics.median(one["server_cpu"] for one in passes) / _megabytes()
    cells = (
        f"{rate:,.0f}",
        " ".join(f"{_megabytes() / one['seconds']:,.0f}" for one in passes),
        f"{1e6 * cpu:,.0f} us",
        f"{run['before_bytes'] / MIB:,.0f}",
        f"{max(one['peak_bytes'] for one in passes) / MIB:,.0f}",
        f"{run['after_bytes'] / MIB:,.0f}",
        f"{passes[0]['answers']:,}",
        f"{statistics.median(one['load_cpu'] for one in passes):.0%}",
    )
    return Row(NAMES[name], cells)
