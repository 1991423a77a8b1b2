"""A closed-loop load of appends: every connection sends its next request when it has an answer.

One thread, non-blocking sockets and requests built beforehand, so that on a machine of two cores
the load costs a small part of what the server costs.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.figures import spread
from bench.wire import PATH, append_head, connect, create, is_whole, stored_bytes

if TYPE_CHECKING:
    import socket


@dataclass
class Connection:
    """One keep-alive connection with at most one request under way."""

    socket: socket.socket
    received: bytes = b""
    sent_at: float = 0.0


@dataclass
class Load:
    """The state of a run."""

    requests: list[bytes]
    next_request: int = 0
    latencies: list[float] = field(default_factory=list)
    answered: int = 0

    def send(self, connection: Connection) -> None:
        """Send the next request."""
        request = self.requests[self.next_request]
        self.next_request = (self.next_request + 1) % len(self.requests)
        connection.sent_at = time.perf_counter()
        if connection.socket.send(request) != len(request):
            raise RuntimeError("the socket took only a part of a request")

    def receive(self, connection: Connection) -> bool:
        """Read what came and tell whether the answer is complete."""
        data = connection.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed a connection")
        connection.received += data
        if not is_whole(connection.received):
            return False
        connection.received = b""
        return True


def load_options() -> argparse.Namespace:
    """Read the command line and create the streams."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--durable", action="store_true", help="create the streams and count them")
    options = parser.parse_args()
    if options.durable:
        create(options.port, _paths(options))
    return options


def _paths(options: argparse.Namespace) -> list[str]:
    return [PATH.format(number) for number in range(options.streams)]


def requests(options: argparse.Namespace) -> list[bytes]:
    """Return one append for each stream."""
    size = options.size
    return [append_head(path, size) + os.urandom(size) for path in _paths(options)]


def report(
    options: argparse.Namespace, latencies: list[float], answered: int, used: float
) -> dict[str, object]:
    """Check that everything acknowledged is there, and return the figures of a run."""
    stored = stored_bytes(options.port, _paths(options)) if options.durable else None
    if stored is not None and stored != answered * options.size:
        raise RuntimeError(f"{answered} appends acknowledged but {stored} bytes stored")
    return {
        "per_second": len(latencies) / options.seconds,
        "latency_ms": spread([1000 * one for one in latencies]),
        "load_cpu": used / options.seconds,
        "appends": answered,
    }


def main() -> None:
    """Run the load and print its figures as JSON."""
    options = load_options()
    load = Load(requests(options))
    used = _run(load, options)
    print(json.dumps(report(options, load.latencies, load.answered, used)))


def _run(load: Load, options: argparse.Namespace) -> float:
    """Run the load; return the processor time that it took while it was measured."""
    selector = selectors.DefaultSelector()
    connections = []
    for _ in range(options.connections):
        sock = connect(options.port)
        sock.setblocking(False)
        connection = Connection(sock)
        connections.append(connection)
        selector.register(sock, selectors.EVENT_READ, connection)
        load.send(connection)
    started = time.perf_counter() + options.warm_up
    ends = started + options.seconds
    used = 0.0
    latencies = load.latencies
    under_way = len(connections)
    warm = False
    while under_way:
        events = selector.select(10)
        if not events:
            raise RuntimeError("the server answered nothing for ten seconds")
        now = time.perf_counter()
        if not warm and now >= started:
            warm, used = True, time.process_time()
        for key, _ in events:
            connection = key.data
            if not load.receive(connection):
                continue
            load.answered += 1
            if warm and now < ends:
                latencies.append(time.perf_counter() - connection.sent_at)
            if now < ends:
                load.send(connection)
            else:
                under_way -= 1
    used = time.process_time() - used
    selector.close()
    for connection in connections:
        connection.socket.close()
    return used


if __name__ == "__main__":
    main()
