"""Measures what the project promises about speed, each figure beside its floor or peer."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench import append, catch_up, live, many, memory, proxy, relay, sessions
from bench.processes import ROOT, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Figures

OUTPUT = ROOT / ".cache" / "bench"
PARTS = (
    *("append", "fan-out", "streams", "catch-up", "many"),
    *("relay", "first-byte", "proxy", "memory", "sessions"),
)


def main() -> int:
    """Run the benchmarks and print and store their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher figures")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--output", type=Path, default=OUTPUT / "results.json")
    parser.add_argument("--folder", type=Path, default=OUTPUT, help="where the stores lie")
    options = parser.parse_args()
    rounds, seconds, live_seconds = (1, 2.0, 3.0) if options.quick else (3, 3.0, 3.0)
    parts: dict[str, Callable[[Path], Figures]] = {
        "append": lambda folder: append.run(folder, rounds=rounds, seconds=seconds),
        "fan-out": lambda folder: live.run_fan_out(folder, rounds=rounds, seconds=live_seconds),
        "streams": lambda folder: live.run_relay(folder, rounds=rounds, seconds=live_seconds),
        "catch-up": lambda folder: catch_up.run(folder, passes=rounds + 2),
        "many": lambda folder: many.run(folder, seconds=10.0),
        "relay": lambda folder: relay.run(folder, seconds=2 * seconds),
        "first-byte": lambda folder: relay.run_first_byte(folder, requests=40 * round(seconds)),
        "proxy": lambda folder: proxy.run(folder, rounds=rounds, seconds=3 * seconds),
        "memory": lambda folder: memory.run(folder, finished=2000 if options.quick else 10_000),
        "sessions": lambda folder: sessions.run(folder, sends=100 * round(seconds)),
    }
    OUTPUT.mkdir(parents=True, exist_ok=True)
    console = Console(width=max(Console().width, 150))
    figures = []
    # Not in the system's temporary folder, which may be memory: a commit must reach a disk.
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.only or parts:
            try:
                figures.append(parts[name](Path(folder)))
            except BenchmarkError as error:
                console.print(f"error: {name}: {error}", markup=False, highlight=False)
                return 2
            show(console, figures[-1])
    store(options.output, figures)
    console.print(f"written to {options.output}", highlight=False)
    missed = [target for one in figures for target in one.targets if not target.met]
    return 1 if options.check and missed else 0


def show(console: Console, figures: Figures) -> None:
    """Print one benchmark's table and what became of its targets."""
    table = Table(title=figures.title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for column in figures.columns:
        table.add_column(column, justify="right")
    for row in figures.rows:
        table.add_row(row.name, *row.cells)
    console.print(table)
    for target in figures.targets:
        verdict = "[green]met[/]" if target.met else "[red]missed[/]"
        side = "at least" if target.at_least else "at most"
        figure = f"{target.figure:.2f} {target.unit}".strip()
        console.print(f"  {verdict}: {target.text} {figure} (target: {side} {target.limit:g})")
    for note in figures.notes:
        console.print(f"  {note}", style="dim", highlight=False)
    console.print()


def store(file: Path, figures: list[Figures]) -> None:
    """Write everything that was measured."""
    value = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}",
        "benchmarks": [one.as_json() for one in figures],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
