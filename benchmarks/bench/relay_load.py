"""Follows many generations at once and reports how old every record was when it arrived."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING

import httpx2
import uvloop

from bench.figures import spread
from bench.plain_reader import read, request_bytes
from bench.records import Records
from durable_transport import AsyncDurableTransport
from durable_transport.protocol import generation_paths

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BODY = {"stream": True, "messages": [{"role": "user", "content": "Tell me a story."}]}


class Followers:
    """The ways to follow a generation, each a method that feeds one reader's records."""

    def __init__(self, source: int, proxy: int) -> None:
        self._source = source
        self._proxy = proxy
        self._client = httpx2.AsyncClient(
            transport=AsyncDurableTransport(f"http://127.0.0.1:{proxy}"), timeout=30
        )
        self._plain_client = httpx2.AsyncClient(timeout=30)

    async def close(self) -> None:
        """Close both clients."""
        await self._client.aclose()
        await self._plain_client.aclose()

    async def socket_direct(self, target: str, records: Records) -> int:
        """Read from the source itself with a plain socket."""
        await read(self._source, request_bytes("POST", target), records)
        return 1

    async def socket_proxied(self, target: str, records: Records) -> int:
        """Read through the proxy with a plain socket, reconnecting when the body is cut."""
        session, request = uuid.uuid4(), uuid.uuid4()
        headers = {
            "x-proxy-url": f"http://127.0.0.1:{self._source}{target}",
            "x-proxy-method": "POST",
            "x-proxy-live": "raw",
            "content-type": "application/json",
        }
        start = request_bytes("POST", f"/api/{session}/{request}", headers)
        await read(self._proxy, start, records)
        connections = 1
        data = generation_paths(session, request).data
        while not records.complete:
            place = f"/v1/stream/{data}?live=raw&offset={records.size:020}"
            await read(self._proxy, request_bytes("GET", place), records)
            connections += 1
        return connections

    async def sdk_direct(self, target: str, records: Records) -> int:
        """Read from the source itself with an HTTP client as SDKs use it."""
        return await self._stream(self._plain_client, target, records)

    async def sdk_proxied(self, target: str, records: Records) -> int:
        """Read through the proxy with the same client on the durable transport."""
        return await self._stream(self._client, target, records)

    async def _stream(self, client: httpx2.AsyncClient, target: str, records: Records) -> int:
        url = f"http://127.0.0.1:{self._source}{target}"
        async with client.stream("POST", url, json=BODY) as response:
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                records.feed(piece)
        return 1


async def relay(options: argparse.Namespace) -> dict[str, object]:
    """Follow all generations and return the figures of the whole."""
    followers = Followers(options.source, options.proxy)
    follow: Callable[[str, Records], Awaitable[int]] = getattr(followers, options.way)
    count, interval = options.chunks, 1_000_000 // options.rate
    readers = [Records(count) for _ in range(options.generations)]
    cpu = time.process_time()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_follow_one(follow, number, readers[number], interval, options))
            for number in range(options.generations)
        ]
    taken = time.perf_counter() - started
    cpu = time.process_time() - cpu
    await followers.close()
    latencies = [one for records in readers for one in records.latencies_ms]
    return {
        "records": len(latencies),
        "lost": count * options.generations - len(latencies),
        "connections": sum(task.result() for task in tasks),
        "latency_ms": spread(latencies),
        "reader_cpu": cpu / taken,
    }


async def _follow_one(
    follow: Callable[[str, Records], Awaitable[int]],
    number: int,
    records: Records,
    interval: int,
    options: argparse.Namespace,
) -> int:
    await asyncio.sleep(options.begun_over * number / options.generations)
    # Real answers do not tick together: their phases are spread over one interval.
    phase = 200_000 + number * interval // options.generations
    connections = await follow(f"/{options.chunks}/{interval}/{phase}", records)
    records.finish()
    return connections


async def first_byte(options: argparse.Namespace) -> dict[str, object]:
    """Return the times to the first byte, direct and through the proxy in turns."""
    followers = Followers(options.source, options.proxy)
    ways = {"direct": followers.sdk_direct, "proxied": followers.sdk_proxied}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.warm_up + options.requests):
        for way, follow in ways.items():
            first = _FirstByte()
            started = time.perf_counter()
            await follow("/3/1000/0", first)
            if number >= options.warm_up:
                times[way].append(1000 * (first.at - started))
    await followers.close()
    count = options.warm_up + options.requests
    return {way: spread(values) for way, values in times.items()} | {"generations": count}


class _FirstByte(Records):
    """Only notes when the first bytes came."""

    def __init__(self) -> None:
        super().__init__(3)
        self.at = 0.0

    def feed(self, data: bytes) -> None:
        if not self.size:
            self.at = time.perf_counter()
        super().feed(data)


def main() -> None:
    """Run one way of following and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way")
    parser.add_argument("--source", type=int, required=True)
    parser.add_argument("--proxy", type=int, required=True)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--rate", type=int, default=50, help="chunks a second of one generation")
    parser.add_argument("--chunks", type=int, default=400)
    parser.add_argument("--begun-over", type=float, default=0.0, help="seconds for all starts")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    options = parser.parse_args()
    work = first_byte if options.way == "first_byte" else relay
    print(json.dumps(uvloop.run(work(options))))


if __name__ == "__main__":
    main()
