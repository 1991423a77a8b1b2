"""Keeps generations and readers open and tells what they cost, or runs many to their end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import uuid
from typing import Any

import uvloop

from bench.plain_reader import read, request_bytes
from bench.processes import resident_bytes
from bench.records import Records
from durable_transport.protocol import generation_paths

AT_ONCE = 32
SETTLE_SECONDS = 2.0
LONG = "/2/3600000000/0"
"""One chunk, and another in an hour."""
SHORT = "/3/1000/0"
LARGE = "/640/0/0/65536"
"""More than the page cache of the store holds."""


class _Anything(Records):
    """Takes whatever comes."""

    def feed(self, data: bytes) -> None:
        self.size += len(data)


async def _start(options: argparse.Namespace, target: str) -> str:
    """Start a generation; where its data is."""
    session, request = uuid.uuid4(), uuid.uuid4()
    headers = {"x-proxy-url": f"http://127.0.0.1:{options.source}{target}"}
    path = f"/api/{session}/{request}"
    await read(options.proxy, request_bytes("POST", path, headers), _Anything(0))
    return generation_paths(session, request).data


async def _follow(options: argparse.Namespace, data: str) -> None:
    path = f"/v1/stream/{data}?live=raw&offset=-1"
    with contextlib.suppress(ConnectionError):
        await read(options.proxy, request_bytes("GET", path), _Anything(0))


async def hold(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a running generation and an idle reader of it cost."""
    for _ in range(20):  # what everything needs once
        await _follow(options, await _start(options, SHORT))
    before = resident_bytes(options.pid)
    held = [await _start(options, LONG) for _ in range(options.running)]
    await asyncio.sleep(SETTLE_SECONDS)
    with_generations = resident_bytes(options.pid)
    readers = [asyncio.create_task(_follow(options, data)) for data in held]
    await asyncio.sleep(SETTLE_SECONDS)
    with_readers = resident_bytes(options.pid)
    alive = sum(not reader.done() for reader in readers)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return {
        "generation": (with_generations - before) / options.running,
        "reader": (with_readers - with_generations) / alive,
        "readers": alive,
    }


async def finish(options: argparse.Namespace) -> dict[str, Any]:
    """Run short generations to their end, a reader each."""
    left = iter(range(options.finish))

    async def run() -> None:
        for _ in left:
            await _follow(options, await _start(options, SHORT))

    await asyncio.gather(*(run() for _ in range(AT_ONCE)))
    return {"finished": options.finish}


async def fill(options: argparse.Namespace) -> dict[str, Any]:
    """Run a large generation to its end."""
    await _follow(options, await _start(options, LARGE))
    return {}


def main() -> None:
    """Do one of the two and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=int, required=True)
    parser.add_argument("--proxy", type=int, required=True)
    parser.add_argument("--running", type=int, default=0)
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--finish", type=int, default=0)
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    work = fill if options.fill else finish if options.finish else hold
    print(json.dumps(uvloop.run(work(options))))


if __name__ == "__main__":
    main()
