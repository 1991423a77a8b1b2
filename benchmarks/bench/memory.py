"""What a generation and a reader cost in memory, and that those which are over cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.relay import servers
from bench.wire import many_files

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = 500
PARTS = 5
KIB = 1024


def run(folder: Path, *, finished: int) -> Figures:
    """Measure the growth of the proxy's resident memory."""
    many_files(4 * RUNNING)
    with servers(folder) as (source, proxy, server):
        ports = ("--source", source, "--proxy", proxy)
        load = python_module("memory_load", *ports, "--running", RUNNING, "--pid", server.pid)
        held = measured(load, 120)
    with servers(folder) as (source, proxy, server):
        ports = ("--source", source, "--proxy", proxy)
        # The store's page cache has a bound, and is full from here on.
        measured(python_module("memory_load", *ports, "--fill"), 60)
        sizes = []
        for _ in range(PARTS):
            measured(python_module("memory_load", *ports, "--finish", finished // PARTS), 300)
            sizes.append(server.resident_bytes())
    growth = (sizes[-1] - sizes[0]) / KIB / (finished - finished // PARTS)
    generation, reader = held["generation"] / KIB, held["reader"] / KIB
    return Figures(
        title=f"Memory of the proxy: {RUNNING} running generations, a reader each",
        columns=("KiB",),
        rows=(
            Row("a running generation", (f"{generation:.1f}",)),
            Row("an idle reader", (f"{reader:.1f}",)),
            Row(f"a finished generation, of {finished:,}", (f"{growth:.2f}",)),
        ),
        targets=(
            Target("a running generation", generation, 60, at_least=False, unit="KiB"),
            Target("an idle reader", reader, 30, at_least=False, unit="KiB"),
            Target("a finished generation", growth, 1, at_least=False, unit="KiB"),
        ),
        notes=(
            "resident memory after each fifth: "
            + ", ".join(f"{one / KIB**2:.1f} MiB" for one in sizes),
        ),
        raw={"held": held, "resident": sizes},
    )
