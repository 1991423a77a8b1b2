"""The same closed loop as `append_load`, as an ordinary asyncio program writes it.

A task and a pair of asyncio streams for each connection, on asyncio's own event loop. That costs
the load more than a server needs, so both share what the machine has: on two busy cores this tells
what a client of that kind sees, and less about the server.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from bench.append_load import load_options, report, requests
from bench.wire import content_length

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


async def run(options: argparse.Namespace) -> dict[str, object]:
    """Run the load and return its figures."""
    work = iter_for_ever(requests(options))
    begins = time.perf_counter() + options.warm_up
    latencies: list[float] = []
    async with asyncio.TaskGroup() as group:
        connections = [
            group.create_task(_connection(options.port, work, begins, options.seconds, latencies))
            for _ in range(options.connections)
        ]
        await asyncio.sleep(options.warm_up)
        used = time.process_time()
    used = time.process_time() - used
    answered = sum(task.result() for task in connections)
    return report(options, latencies, answered, used)


def iter_for_ever(prepared: list[bytes]) -> Iterator[bytes]:
    """Return the requests again and again."""
    while True:
        yield from prepared


async def _connection(
    port: int, work: Iterator[bytes], begins: float, seconds: float, latencies: list[float]
) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    while (sent := time.perf_counter()) < begins + seconds:
        writer.write(next(work))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if head[9:10] != b"2":
            raise RuntimeError(f"the server refused an append: {head!r}")
        if head[9:12] != b"204":
            await reader.readexactly(content_length(head))
        answered += 1
        if sent >= begins:
            latencies.append(time.perf_counter() - sent)
    writer.close()
    await writer.wait_closed()
    return answered


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(load_options()))))
