"""Sessions: what a chunk costs a client, and how soon others see what somebody sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import free_port, measured, program, python_module, running

if TYPE_CHECKING:
    from pathlib import Path

ORIGINAL = {
    "message": "95,800 ms",
    "one more": "250 ms",
    "at once": "1,183 ms",
}
"""The TypeScript original, measured once on a machine like this; it is on no registry."""


def run(folder: Path, *, sends: int) -> Figures:
    """Measure a client alone, and two of them at one service."""
    port = free_port()
    store = f"sqlite:///{folder / 'sessions.sqlite'}"
    command = [program("durable-sessions"), "serve", "--port", str(port), "--store", store]
    with running(command, port, folder):
        load = python_module("sessions_load", "--url", f"http://127.0.0.1:{port}", "--sends", sends)
        found = measured(load, 180)
    growth, more = found["message_growth"], found["one_more_ms"]
    few, visible = found["one_more_of_few_ms"], found["visible_ms"]
    return Figures(
        title="Sessions: all collections live, each followed, two derived ones beside them",
        columns=("ours", "from scratch, each time", "TypeScript original"),
        rows=(
            _row("a message of 2,000 chunks, one by one", found["message_ms"], ORIGINAL["message"]),
            _row(
                "one more chunk in 200 messages of 50",
                *(more, ORIGINAL["one more"], f"{found['recomputed_ms']:,.1f} ms"),
            ),
            _row("one more chunk in 10 messages of 50", few),
            _row("200 messages of 50 chunks at once", found["at_once_ms"], ORIGINAL["at once"]),
            _row("20,000 chunks from the log's text", found["cold_ms"]),
            _row("sent to seen by another client, p50", visible["0.5"]),
            _row("sent to seen by another client, p99", visible["0.99"]),
            _row("sent to confirmed, p50", found["confirmed_ms"]),
            _row(f"a session of {found['sends']} messages loaded by HTTP", found["load_ms"]),
        ),
        targets=(
            Target("2,000 chunks", found["message_ms"], 200, at_least=False, unit="ms"),
            Target("the last 50 of them, times the first 50", growth, 1.3, at_least=False),
            Target("one more chunk", more, 0.1, at_least=False, unit="ms"),
            Target("the same, times that in a small session", more / few, 1.3, at_least=False),
            Target("200 messages at once", found["at_once_ms"], 300, at_least=False, unit="ms"),
            Target("20,000 chunks", found["cold_ms"], 1000, at_least=False, unit="ms"),
            Target("seen by another client, p50", visible["0.5"], 15, at_least=False, unit="ms"),
        ),
        notes=(
            "the first five rows are a client alone, in processor time where that is told",
            fsync_note(folder),
        ),
        raw={"runs": found},
    )


def _row(name: str, milliseconds: float, original: str = "", scratch: str = "") -> Row:
    return Row(name, (f"{milliseconds:,.3f} ms", scratch, original))
