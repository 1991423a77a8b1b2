"""The proxy as chats use it: one answer, a pause, fifty at once, two hundred, and a broken one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import measured, python_module
from bench.relay import servers

if TYPE_CHECKING:
    from pathlib import Path

    from bench.processes import Server

FIFTY, TWO_HUNDRED, RATE = 50, 200, 50
ANSWER_BYTES = 200 * 60
BEGUN_OVER = 2.0
"""Seconds over which the two hundred begin: what counts is how many run, and not begin, at once."""
NAMES = {
    "answer": "200 chunks, 5 ms apart",
    "pause": "a chunk, 3 s, a chunk",
    "fifty": "50 at once, 200 chunks 5 ms apart",
    "two hundred": "200 at once, 50 chunks a second",
}
PEER_NOTE = (
    "@durable-streams/proxy 0.1.6 with the Node stream server, measured on another machine of this"
    " size: first byte 63 ms, added latency 28.9 / 56.9 ms; with the pause 3,030 ms; 50 at once:"
    " first byte 500 ms, chunks 180 / 800 ms, 1.5 s of processor time; a broken answer ends clean"
)


def run(folder: Path, *, rounds: int, seconds: float) -> Figures:
    """Measure every scenario on the same servers, direct and proxied in turns."""
    with servers(folder) as (source, proxy, server):
        ports = ("--source", source, "--proxy", proxy)
        before = server.written_bytes()
        results = {
            "answer": _measure("answer", ports, 2 * rounds),
            "pause": _measure("pause", ports, 2, "--at-once", 4),
            "fifty": _measure("answer", ports, 1, "--at-once", FIFTY, "--ways", "direct"),
        }
        # Of single answers; the few bytes of the pauses do not count.
        single = _written(server, before, 2 * rounds + 1)
        results["fifty"] |= _fifty(ports, server, rounds)
        results["two hundred"] = _two_hundred(ports, server, seconds)
        broken = measured(python_module("proxy_load", "broken", *ports), 60)
    return Figures(
        title="Proxy: from the upstream's write to a plain socket's hand",
        columns=(
            "first byte p50",
            "direct",
            "chunk p50 ms",
            "direct",
            "chunk p99 ms",
            "direct",
            "proxy CPU",
        ),
        rows=tuple(_row(name, results[name]) for name in NAMES),
        targets=_targets(results, broken),
        notes=(PEER_NOTE, _writing_note(single, results["fifty"]["written"]), fsync_note(folder)),
        raw={"scenarios": results, "broken": broken},
    )


def _measure(scenario: str, ports: tuple[Any, ...], rounds: int, *more: Any) -> dict[str, Any]:
    command = python_module("proxy_load", scenario, *ports, "--rounds", rounds, *more)
    return measured(command, 60 + 10 * rounds)


def _fifty(ports: tuple[Any, ...], server: Server, rounds: int) -> dict[str, Any]:
    cpu, written = server.cpu_seconds(), server.written_bytes()
    more = ("--at-once", FIFTY, "--ways", "proxied")
    result = _measure("answer", ports, rounds, *more)
    # The load warms up with one round more.
    return result | {
        "cpu": (server.cpu_seconds() - cpu) / (rounds + 1),
        "written": _written(server, written, FIFTY * (rounds + 1)),
    }


def _writing_note(single: float, fifty: float) -> str:
    return (
        f"sent to the disk for each byte of an answer: {single:.0f} bytes when it is alone,"
        f" {fifty:.0f} of {FIFTY} at once"
    )


def _written(server: Server, before: float, answers: int) -> float:
    """Return how many bytes went to the disk for each byte of so many answers."""
    return (server.written_bytes() - before) / (answers * ANSWER_BYTES)


def _two_hundred(ports: tuple[Any, ...], server: Server, seconds: float) -> dict[str, Any]:
    chunks = round(RATE * seconds)
    found: dict[str, Any] = {}
    for way in ("direct", "proxied"):
        command = python_module(
            "relay_load",
            *(f"socket_{way}", *ports, "--chunks", chunks),
            *("--generations", TWO_HUNDRED, "--rate", RATE, "--begun-over", BEGUN_OVER),
        )
        before = server.cpu_seconds()
        one = measured(command, seconds + BEGUN_OVER + 60)
        found[way] = {"chunks": one["latency_ms"], "lost": one["lost"]}
        found["cpu"] = (server.cpu_seconds() - before) / (seconds + BEGUN_OVER)
    return found


def _added(result: dict[str, Any], name: str, share: str) -> float:
    return float(result["proxied"][name][share] - result["direct"][name][share])


def _targets(results: dict[str, Any], broken: dict[str, Any]) -> tuple[Target, ...]:
    answer, pause, fifty, many = (results[name] for name in NAMES)
    proxied = fifty["proxied"]
    lost = sum(many[way]["lost"] for way in ("direct", "proxied"))
    code = broken["last"]["payload"].get("code", "none")

    def at_most(text: str, figure: float, limit: float, unit: str = "ms") -> Target:
        return Target(text, figure, limit, at_least=False, unit=unit)

    return (
        at_most("one answer: added to the first byte, p50", _added(answer, "first", "p50"), 3.0),
        at_most("one answer: added to a chunk, p50", _added(answer, "chunks", "p50"), 2.0),
        at_most("one answer: added to a chunk, p99", _added(answer, "chunks", "p99"), 8.0),
        at_most("a pause: added to the first byte, p50", _added(pause, "first", "p50"), 3.0),
        at_most("50 at once: first byte, p50", proxied["first"]["p50"], 100.0),
        at_most("50 at once: chunk, p50", proxied["chunks"]["p50"], 10.0),
        at_most("50 at once: chunk, p99", proxied["chunks"]["p99"], 100.0),
        at_most("50 at once: processor time of a round", fifty["cpu"], 0.7, "s"),
        at_most("200 at once: added to a chunk, p50", _added(many, "chunks", "p50"), 10.0),
        at_most("200 at once: added to a chunk, p99", _added(many, "chunks", "p99"), 50.0),
        at_most("200 at once: processor time", many["cpu"], 1.0, "cores"),
        at_most("200 at once: records lost", lost, 0, ""),
        at_most(f"broken off ({code}): ends that are not an error", float(code == "none"), 0, ""),
    )


def _row(name: str, result: dict[str, Any]) -> Row:
    ways = [result[way] for way in ("proxied", "direct")]
    first = [f"{way['first']['p50']:.2f}" if "first" in way else "" for way in ways]
    chunk = [f"{way['chunks'][share]:.2f}" for share in ("p50", "p99") for way in ways]
    if name == "pause":
        chunk = [""] * 4
    unit = " s" if name == "fifty" else " cores"
    cpu = f"{result['cpu']:.2f}{unit}" if "cpu" in result else ""
    return Row(NAMES[name], (*first, *chunk, cpu))
