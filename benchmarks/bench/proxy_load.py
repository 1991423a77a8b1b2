"""Follows generations as a chat does, direct and through the proxy, and tells when bytes came."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import uvloop

from bench.figures import spread
from bench.plain_reader import read, request_bytes
from bench.records import Records
from bench.relay_load import Followers
from durable_transport.protocol import generation_paths

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PADDING = 8
"""Makes a chunk one of 60 bytes."""
ANSWER = f"/200/5000/0/{PADDING}"
"""200 chunks, 5 ms apart."""
PAUSE = f"/2/3000000/0/{PADDING}"
"""A chunk, a pause of 3 s, a chunk."""
BREAKS_AFTER = 20
BROKEN = f"/200/5000/0/{PADDING}/{BREAKS_AFTER}"
APART_SECONDS = 0.1

if TYPE_CHECKING:
    Follow = Callable[[str, Records], Awaitable[int]]


async def _timed(follow: Follow, target: str, count: int) -> tuple[float, list[float]]:
    """Follow one generation: the time to its first byte, and the age of its chunks, in ms."""
    records = Records(count)
    started = time.monotonic()
    await follow(target, records)
    records.finish()
    assert records.first_at is not None
    return 1000 * (records.first_at - started), records.latencies_ms


async def _several(follow: Follow, target: str, count: int, at_once: int) -> dict[str, Any]:
    async def one(number: int) -> tuple[float, list[float]]:
        if target == PAUSE:  # for the sake of time there are several, one after the other
            await asyncio.sleep(APART_SECONDS * number)
        return await _timed(follow, target, count)

    timed = await asyncio.gather(*(one(number) for number in range(at_once)))
    return {
        "first": [first for first, _ in timed],
        "chunks": [age for _, ages in timed for age in ages],
    }


async def follow(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of the scenario, by way, the ways in turns."""
    followers = Followers(options.source, options.proxy)
    ways = {"direct": followers.socket_direct, "proxied": followers.socket_proxied}
    target, count = (PAUSE, 2) if options.scenario == "pause" else (ANSWER, 200)
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(options.rounds + 1):
        for way in options.ways.split(","):
            one = await _several(ways[way], target, count, options.at_once)
            if number:  # the first round warms up
                kept = found.setdefault(way, {"first": [], "chunks": []})
                for name, values in one.items():
                    kept[name] += values
    await followers.close()
    return {way: {name: spread(kept[name]) for name in kept} for way, kept in found.items()}


async def broken(options: argparse.Namespace) -> dict[str, Any]:
    """Return how an answer ended whose upstream broke off, and how many chunks of it there are."""
    session, request = uuid.uuid4(), uuid.uuid4()
    headers = {"x-proxy-url": f"http://127.0.0.1:{options.source}{BROKEN}", "x-proxy-live": "raw"}
    records = Records(200)
    start = request_bytes("POST", f"/api/{session}/{request}", headers)
    await read(options.proxy, start, records)
    path = f"/v1/stream/{generation_paths(session, request).control}?offset=-1"
    return {"chunks": len(records.latencies_ms), "last": _json(options.proxy, path)[-1]}


def _json(port: int, path: str) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request("GET", path)
        return json.loads(client.getresponse().read())


def main() -> None:
    """Run one scenario and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=("answer", "pause", "broken"))
    parser.add_argument("--source", type=int, required=True)
    parser.add_argument("--proxy", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--ways", default="direct,proxied")
    options = parser.parse_args()
    work = broken if options.scenario == "broken" else follow
    print(json.dumps(uvloop.run(work(options))))


if __name__ == "__main__":
    main()
