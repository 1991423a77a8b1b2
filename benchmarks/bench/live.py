"""Live reads: from the moment an event is appended to the moment each reader has it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.servers import NAMES, serving

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = ("hub", "ours", "npm-memory", "npm-file")
CROWD = 2000
SPREADS = ("p50", "p99")


@dataclass(frozen=True)
class Shape:
    """How many streams with how many readers each, and events a second of each stream."""

    streams: int
    readers: int
    rate: float


FAN_OUT = Shape(streams=1, readers=300, rate=20)
RELAY = Shape(streams=40, readers=1, rate=50)
LARGE = Shape(streams=1, readers=CROWD, rate=2)


def run_fan_out(folder: Path, *, rounds: int, seconds: float) -> Figures:
    """One stream with many readers; then with very many, for the sake of losing nothing."""
    runs = _in_turns(folder, FAN_OUT, rounds, seconds)
    crowd = _one("ours", folder, LARGE, seconds)
    of_floor = _medians(runs)
    p50, p99, cpu = (of_floor["ours"][key] / of_floor["hub"][key] for key in (*SPREADS, "cpu"))
    return Figures(
        title=f"Fan-out: {FAN_OUT.readers} SSE readers of one stream, {FAN_OUT.rate} events/s",
        columns=COLUMNS,
        rows=(
            *(_row(NAMES[name], runs[name], of_floor["hub"]) for name in SERVERS),
            _row(f"durable-streams, {CROWD:,} readers, {LARGE.rate} a second", [crowd], None),
        ),
        targets=(
            Target("p50, times the floor", p50, 1.5, at_least=False),
            Target("p99, times the floor", p99, 1.5, at_least=False),
            Target("server CPU, times the floor", cpu, 1.5, at_least=False),
            Target(f"lost by {CROWD:,} readers", crowd["lost"], 0, at_least=False),
            _nothing_lost(runs),
        ),
        notes=_notes(folder),
        raw={"runs": runs, "crowd": crowd},
    )


def run_relay(folder: Path, *, rounds: int, seconds: float) -> Figures:
    """Many streams with one reader each: what a server of model answers does all day."""
    runs = _in_turns(folder, RELAY, rounds, seconds)
    of_floor = _medians(runs)
    p50, p99 = (of_floor["ours"][key] / of_floor["hub"][key] for key in SPREADS)
    return Figures(
        title=f"Streams: {RELAY.streams} with {RELAY.rate} events/s and one SSE reader each",
        columns=COLUMNS,
        rows=tuple(_row(NAMES[name], runs[name], of_floor["hub"]) for name in SERVERS),
        targets=(
            Target("p50, times the floor", p50, 2.0, at_least=False),
            Target("p99, times the floor", p99, 3.0, at_least=False),
            _nothing_lost(runs),
        ),
        notes=_notes(folder),
        raw={"runs": runs},
    )


COLUMNS = (
    "p50 ms",
    "of floor",
    "p99 ms",
    "of floor",
    "CPU s",
    "of floor",
    "CPU/event",
    "late s",
    "missing",
    "load CPU",
)


def _nothing_lost(runs: dict[str, list[dict[str, Any]]]) -> Target:
    return Target("events lost", sum(one["lost"] for one in runs["ours"]), 0, at_least=False)


def _notes(folder: Path) -> tuple[str, ...]:
    return (
        "from the append's send to the reader's receive; events came once and in order",
        "CPU/event: of the server, for one event to one reader, its share of the append included",
        "late s: how long after the last append was due the last event came; missing: not by then",
        fsync_note(folder),
    )


def _in_turns(folder: Path, shape: Shape, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the floor and ours in turns, and the peers once."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SERVERS}
    for turn in range(rounds):
        for name in SERVERS[: 2 if turn else None]:
            runs[name].append(_one(name, folder, shape, seconds))
    return runs


def _one(name: str, folder: Path, shape: Shape, seconds: float) -> dict[str, Any]:
    with serving(name, folder) as (port, server):
        load = python_module(
            "live_load",
            *("--port", port, "--server", server.pid, "--seconds", seconds),
            *("--streams", shape.streams, "--readers", shape.readers, "--rate", shape.rate),
        )
        return measured(load, seconds + 60)


def _medians(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            **{key: statistics.median(one["latency_ms"][key] for one in of_one) for key in SPREADS},
            "cpu": statistics.median(one["server_cpu"] for one in of_one),
        }
        for name, of_one in runs.items()
    }


def _row(name: str, runs: list[dict[str, Any]], floor: dict[str, float] | None) -> Row:
    (figures,) = _medians({name: runs}).values()
    delivered = statistics.median(one["delivered"] for one in runs)
    ratio = {key: f"{value / floor[key]:,.1f} x" if floor else "" for key, value in figures.items()}
    cells = (
        f"{figures['p50']:.1f}",
        ratio["p50"],
        f"{figures['p99']:.1f}",
        ratio["p99"],
        f"{figures['cpu']:.2f}",
        ratio["cpu"],
        f"{1e6 * figures['cpu'] / delivered:.0f} us",
        f"{max(one['late_seconds'] for one in runs):.1f}",
        f"{sum(one['lost'] for one in runs):,}",
        f"{statistics.median(one['load_cpu'] for one in runs):.0%}",
    )
    return Row(name, cells)
