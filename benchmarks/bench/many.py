"""Ten thousand streams that are hardly used: what one more of them costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.servers import NAMES, serving

if TYPE_CHECKING:
    from pathlib import Path

MANY, FEW = 10_000, 100
RATE = 1000
READERS = 2000
KIB = 1024
SAME = 1.1
"""Two runs of the same work differ by so much on a machine that does other things too."""


def run(folder: Path, *, seconds: float) -> Figures:
    """Measure few and many streams of ours, and the floor and a peer with many."""
    runs = {
        f"{NAMES['ours']}, {FEW} streams": _one("ours", folder, FEW, seconds, 0),
        f"{NAMES['ours']}, {MANY:,} streams": _one("ours", folder, MANY, seconds, READERS),
        **{
            f"{NAMES[name]}, {MANY:,}": _one(name, folder, MANY, seconds / 2, READERS)
            for name in ("hub", "npm-memory")
        },
    }
    few, many, *_ = runs.values()
    return Figures(
        title=f"Many streams: {RATE:,} appends/s to all in turns, then {READERS:,} idle readers",
        columns=(
            "p50 ms",
            "p99 ms",
            "CPU/append",
            "B/idle stream",
            "appended to",
            "KiB/idle reader",
        ),
        rows=tuple(_row(name, figures) for name, figures in runs.items()),
        targets=(
            Target(
                f"CPU per append, times that with {FEW} streams",
                *(many["append_cpu"] / few["append_cpu"], SAME),
                at_least=False,
            ),
            Target("idle stream", many["stream_bytes"] / KIB, 2.0, at_least=False, unit="KiB"),
            Target("idle SSE reader", many["reader_bytes"] / KIB, 30.0, at_least=False, unit="KiB"),
        ),
        notes=(
            "memory: growth of the server's resident memory by their number",
            "every idle reader follows a stream of its own",
            fsync_note(folder),
        ),
        raw={"runs": runs},
    )


def _one(name: str, folder: Path, streams: int, seconds: float, readers: int) -> dict[str, Any]:
    with serving(name, folder) as (port, server):
        load = python_module(
            "many_load",
            *("--port", port, "--server", server.pid, "--streams", streams),
            *("--rate", RATE, "--seconds", seconds, "--readers", readers),
        )
        return measured(load, 10 * seconds + 60)


def _row(name: str, figures: dict[str, Any]) -> Row:
    many = figures["reader_bytes"] is not None
    cells = (
        f"{figures['latency_ms']['p50']:.1f}",
        f"{figures['latency_ms']['p99']:.1f}",
        f"{1e6 * figures['append_cpu']:.0f} us",
        f"{figures['stream_bytes']:,.0f}" if many else "",
        f"{figures['used_stream_bytes']:,.0f}" if many else "",
        f"{figures['reader_bytes'] / KIB:.1f}" if many else "",
    )
    return Row(name, cells)
