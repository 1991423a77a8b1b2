"""The relay: how much later a byte arrives that goes through the proxy and its log."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from bench.disk import fsync_note
from bench.figures import Figures, Row, Target
from bench.processes import free_port, measured, program, python_module, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.processes import Server

GENERATIONS = 40
RATE = 50
WAYS = {
    "socket_direct": "plain socket, direct (floor)",
    "socket_proxied": "plain socket, through the proxy",
    "sdk_direct": "httpx2, direct (floor)",
    "sdk_proxied": "durable transport, through the proxy",
}


def run(folder: Path, *, seconds: float) -> Figures:
    """Measure every way of following, one after the other on the same servers."""
    chunks = round(RATE * seconds)
    results = {}
    with servers(folder) as (source, proxy, server):
        for way in WAYS:
            command = python_module(
                "relay_load",
                *(way, "--source", source, "--proxy", proxy, "--chunks", chunks),
                *("--generations", GENERATIONS, "--rate", RATE),
            )
            before = server.cpu_seconds()
            results[way] = measured(command, seconds + 60)
            spent = server.cpu_seconds() - before
            results[way]["proxy_cpu"] = spent / seconds
            results[way]["proxy_cpu_per_chunk_us"] = 1e6 * spent / (chunks * GENERATIONS)
    targets = []
    for way, floor in (("socket_proxied", "socket_direct"), ("sdk_proxied", "sdk_direct")):
        reader = WAYS[way].partition(",")[0]
        for share, limit in (("p50", 5.0), ("p99", 20.0)):
            added = results[way]["latency_ms"][share] - results[floor]["latency_ms"][share]
            targets.append(Target(f"{reader}: added {share}", added, limit, False, "ms"))
    lost = sum(result["lost"] for result in results.values())
    targets.append(Target("records lost", lost, 0, at_least=False))
    return Figures(
        title=f"Relay: {GENERATIONS} generations at {RATE} chunks a second, one live reader each",
        columns=(
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "max ms",
            "records",
            "connections",
            "reader CPU",
            "proxy CPU",
            "CPU/chunk",
        ),
        rows=tuple(_row(way, results[way]) for way in WAYS),
        targets=tuple(targets),
        notes=("from the upstream's write to the reader's hand, on one clock", fsync_note(folder)),
        raw={"ways": results},
    )


def run_first_byte(folder: Path, *, requests: int) -> Figures:
    """Measure the time to the first byte, direct and proxied in turns."""
    with servers(folder) as (source, proxy, server):
        before = server.cpu_seconds()
        command = python_module(
            "relay_load",
            *("first_byte", "--source", source, "--proxy", proxy, "--requests", requests),
        )
        times = measured(command, 120)
        spent = 1000 * (server.cpu_seconds() - before) / times["generations"]
    added = times["proxied"]["p50"] - times["direct"]["p50"]
    names = {"direct": WAYS["sdk_direct"], "proxied": WAYS["sdk_proxied"]}
    return Figures(
        title=f"Time to first byte: {requests} requests each, one after the other",
        columns=("p50 ms", "p90 ms", "p99 ms", "max ms"),
        rows=tuple(Row(name, _milliseconds(times[way])) for way, name in names.items()),
        targets=(Target("added p50", added, 5.0, at_least=False, unit="ms"),),
        notes=(f"processor time of the proxy: {spent:.2f} ms a generation of three chunks",),
        raw={"first_byte_ms": times, "proxy_cpu_ms": spent},
    )


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[int, int, Server]]:
    """Run the upstream and the proxy on a new store while the block runs."""
    source, proxy = free_port(), free_port()
    command = [
        program("durable-proxy"),
        *("serve", "--host", "127.0.0.1", "--port", str(proxy)),
        *("--store", f"sqlite:///{folder / f'relay-{proxy}.sqlite'}"),
        *("--allow", f"http://127.0.0.1:{source}/**"),
    ]
    with (
        running(python_module("source", source), source, folder),
        running(command, proxy, folder) as server,
    ):
        yield source, proxy, server


def _row(way: str, result: dict[str, Any]) -> Row:
    cells = (
        *_milliseconds(result["latency_ms"]),
        f"{result['records']:,}",
        str(result["connections"]),
        f"{result['reader_cpu']:.0%}",
        f"{result['proxy_cpu']:.0%}",
        f"{result['proxy_cpu_per_chunk_us']:.0f} µs",
    )
    return Row(WAYS[way], cells)


def _milliseconds(values: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{values[share]:.2f}" for share in ("p50", "p90", "p99", "max"))
