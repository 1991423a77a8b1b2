"""Very many streams: what an append to one of them costs, and what the idle ones and readers hold.

The parts are run one after the other on one server: create the streams, append to them in turns at
a steady rate, let readers follow streams to which nobody appends.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.figures import spread
from bench.processes import cpu_seconds, resident_bytes
from bench.wire import PATH, append_head, connect, is_whole, many_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

SILENCE = 20.0
SETTLE = 0.5


@dataclass
class Connection:
    """One keep-alive connection; `begun` is when the request under way was due."""

    socket: socket.socket
    received: bytes = b""
    begun: float = 0.0


class Connections:
    """Some connections that take request after request, each one at a time."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._all = {}
        for _ in range(count):
            connection = Connection(connect(port))
            self._all[connection.socket.fileno()] = connection
            self._poll.register(connection.socket, select.EPOLLIN)
        self._idle = deque(self._all.values())

    def run(self, requests: Iterable[bytes], rate: float | None = None) -> list[float]:
        """Send all requests, so many a second or as fast as they are answered.

        Returns:
            Milliseconds from the moment each was due to the end of its answer.
        """
        work, latencies = deque(requests), list[float]()
        at = time.monotonic()
        while work or len(self._idle) < len(self._all):
            now = time.monotonic()
            while work and self._idle and at <= now:
                connection = self._idle.popleft()
                connection.begun = at if rate else now
                connection.socket.sendall(work.popleft())
                at += 1 / rate if rate else 0.0
            wait = max(0.0, at - now) if work and self._idle else SILENCE
            ready = self._poll.poll(wait)
            if not ready and wait == SILENCE:
                raise RuntimeError("the server answered nothing for a long time")
            for fd, _ in ready:
                self._receive(self._all[fd], latencies)
        return latencies

    def _receive(self, connection: Connection, latencies: list[float]) -> None:
        data = connection.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed a connection")
        connection.received += data
        if is_whole(connection.received):
            connection.received = b""
            latencies.append(1000 * (time.monotonic() - connection.begun))
            self._idle.append(connection)


def create(connections: Connections, paths: list[str]) -> None:
    """Create streams."""
    head = "PUT {} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\n"
    end = "content-length: 0\r\n\r\n"
    connections.run([(head.format(path) + end).encode() for path in paths])


def idle_readers(port: int, paths: list[str]) -> list[socket.socket]:
    """Let one reader follow each stream, and return when all are known to the server."""
    sockets = []
    for path in paths:
        sock = connect(port)
        sock.sendall(f"GET {path}?offset=now&live=sse HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        sockets.append(sock)
    for sock in sockets:
        if not (answer := sock.recv(65536)).startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a reader was refused: {answer!r}")
    return sockets


def run(options: argparse.Namespace) -> dict[str, object]:
    """Run the parts and return their figures."""
    connections = Connections(options.port, options.connections)
    # What a server needs once, for its first streams and connections, is not counted.
    first = [PATH.format(f"first-{number}") for number in range(options.connections)]
    create(connections, first)
    paths = [PATH.format(number) for number in range(options.streams)]
    empty = _settled_bytes(options.server)
    create(connections, paths)
    created = _settled_bytes(options.server)
    requests = [append_head(path, options.size, "text/plain") for path in paths]
    body = os.urandom(options.size // 2).hex().encode()
    count = round(options.rate * options.seconds)
    before = cpu_seconds(options.server)
    appends = [requests[number % len(requests)] + body for number in range(count)]
    latencies = connections.run(appends, options.rate)
    used = cpu_seconds(options.server) - before
    idle = _settled_bytes(options.server)
    sockets = idle_readers(options.port, paths[: options.readers])
    followed = _settled_bytes(options.server)
    for sock in sockets:
        sock.close()
    return {
        "appends": count,
        "append_cpu": used / count,
        "latency_ms": spread(latencies),
        "stream_bytes": (created - empty) / len(paths),
        "used_stream_bytes": (idle - empty) / len(paths),
        "reader_bytes": (followed - idle) / len(sockets) if sockets else None,
    }


def _settled_bytes(server: int) -> float:
    time.sleep(SETTLE)
    return resident_bytes(server)


def main() -> None:
    """Run the load and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, help="its process")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="appends a second, to all")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--readers", type=int, default=0, help="idle ones, on so many streams")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    many_files(options.connections + options.readers)
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
