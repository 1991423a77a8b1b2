"""The servers that are measured, and the floors and peers beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.processes import ROOT, free_port, program, python_module, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.processes import Server

import contextlib

REFERENCE = ROOT / "tests" / "conformance" / "reference_server.mjs"
NAMES = {
    "noop": "no-op POST, bare ASGI (floor)",
    "hub": "fan-out without a store, bare ASGI (floor)",
    "ours": "durable-streams, SQLite FULL",
    "npm-memory": "npm server, in memory (peer)",
    "npm-file": "npm server, data directory (peer)",
    "rakaia": "rakaia-streams, in memory (peer)",
}


def command(name: str, port: int, place: Path) -> list[str]:
    """Return the command of a server that keeps what it stores in a new folder."""
    npm = [program("node"), str(REFERENCE), str(port), "1000"]
    match name:
        case "noop" | "hub" | "rakaia":
            return python_module(name, port)
        case "ours":
            return [
                program("durable-streams"),
                *("serve", "--host", "127.0.0.1", "--port", str(port)),
                *("--store", f"sqlite:///{place / 'bench.sqlite'}"),
            ]
        case "npm-memory":
            return npm
        case "npm-file":
            return [*npm, str(place / "data")]
        case _:
            raise ValueError(name)


@contextlib.contextmanager
def serving(name: str, folder: Path) -> Iterator[tuple[int, Server]]:
    """Run a server on a new folder while the block runs; gives its port."""
    port = free_port()
    place = folder / f"{name}-{port}"
    place.mkdir()
    with running(command(name, port, place), port, place) as server:
        yield port, server
