"""Appends on a schedule and many readers that follow live, in one thread on plain sockets.

Every event carries its number and the moment at which it was due and its append was sent; one that
could not be sent because the server had not acknowledged the one before is that much older. The
readers look for events in what comes over the wire and check that each comes once and in order.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import select
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.figures import spread
from bench.processes import cpu_seconds, resident_bytes
from bench.records import LossError
from bench.wire import PATH, append_head, connect, create, is_whole, many_files

if TYPE_CHECKING:
    import socket

EVENT = re.compile(rb"#(\d{8}):(\d{18}):x*;")
FRAME = len(b"#00000000:000000000000000000:;")
PATIENCE = 8.0
"""How long after the last append was due the last event may come."""


@dataclass
class Reader:
    """One connection that follows a stream."""

    socket: socket.socket
    rest: bytes = b""
    received: int = 0

    def take(self, latencies: list[float], skip: int) -> int:
        """Read what came, note how old the events are from number ``skip`` on; return how many."""
        data = self.socket.recv(262144)
        now = time.monotonic_ns()
        if not data:
            raise LossError(f"a reader was cut off after {self.received} events")
        if self.rest:
            data = self.rest + data
        found, end = 0, 0
        for event in EVENT.finditer(data):
            number, sent = event.groups()
            if int(number) != self.received:
                raise LossError(f"event {int(number)} instead of {self.received}")
            self.received += 1
            found += 1
            end = event.end()
            if self.received > skip:
                latencies.append((now - int(sent)) / 1e6)
        begun = data.find(b"#", end)
        self.rest = data[begun:] if begun >= 0 else b""
        return found


@dataclass
class Writer:
    """One connection that appends to one stream, an event at a time."""

    socket: socket.socket
    head: bytes
    padding: bytes
    sent: int = 0
    waiting: list[bytes] = field(default_factory=list)
    answer: bytes = b""
    busy: bool = False

    def due(self) -> None:
        """Send the next event, at once or as soon as the last one is acknowledged."""
        event = b"#%08d:%018d:%b;" % (self.sent, time.monotonic_ns(), self.padding)
        self.sent += 1
        if self.busy:
            self.waiting.append(event)
        else:
            self._send(event)

    def acknowledged(self) -> bool:
        """Read what came of an answer; tell whether it was the last one that is awaited."""
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed a connection")
        self.answer += data
        if not is_whole(self.answer):
            return False
        self.answer, self.busy = b"", False
        if self.waiting:
            self._send(self.waiting.pop(0))
        return not self.busy

    def _send(self, event: bytes) -> None:
        self.busy = True
        self.socket.sendall(self.head + event)


class Load:
    """A run: readers that are in place, writers, and the clock that drives them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.paths = [PATH.format(number) for number in range(options.streams)]
        create(options.port, self.paths, "text/plain")
        self.poll = select.epoll()
        self.readers = {}
        for path in self.paths:
            for _ in range(options.readers):
                reader = Reader(connect(options.port))
                request = f"GET {path}?offset=-1&live=sse HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
                reader.socket.sendall(request.encode())
                self.readers[reader.socket.fileno()] = reader
        for reader in self.readers.values():
            _await_start(reader)
            self.poll.register(reader.socket, select.EPOLLIN)
        self.writers = {}
        for path in self.paths:
            head = append_head(path, options.size, "text/plain")
            writer = Writer(connect(options.port), head, b"x" * (options.size - FRAME))
            self.writers[writer.socket.fileno()] = writer
            self.poll.register(writer.socket, select.EPOLLIN)

    def run(self) -> dict[str, object]:
        """Append until the time is over, and read until everything has come."""
        options = self.options
        warm = round(options.rate * options.warm_up)
        events = warm + round(options.rate * options.seconds)
        expected = events * len(self.readers)
        latencies: list[float] = []
        interval, started = 1 / options.rate, time.monotonic() + 0.1
        # Real answers do not tick together: their phases are spread over one interval.
        schedule = [
            (started + number * interval / len(self.writers), fd)
            for number, fd in enumerate(self.writers)
        ]
        heapq.heapify(schedule)
        received = 0
        begins, before, mine = started + options.warm_up, None, 0.0
        busy: set[int] = set()
        ends = started + options.warm_up + options.seconds
        while received < expected or busy or schedule:
            now = time.monotonic()
            if now > ends + PATIENCE:
                break
            if before is None and now >= begins:
                before, mine = cpu_seconds(options.server), time.process_time()
            while schedule and schedule[0][0] <= now:
                at, fd = heapq.heappop(schedule)
                self.writers[fd].due()
                busy.add(fd)
                if self.writers[fd].sent < events:
                    heapq.heappush(schedule, (at + interval, fd))
            wait = schedule[0][0] - time.monotonic() if schedule else PATIENCE
            for fd, _ in self.poll.poll(max(0.0, wait), 4096):
                if (reader := self.readers.get(fd)) is not None:
                    received += reader.take(latencies, warm)
                elif self.writers[fd].acknowledged():
                    busy.discard(fd)
        taken = time.monotonic() - begins
        return {
            "readers": len(self.readers),
            "appends": events * len(self.writers),
            "delivered": len(latencies),
            "lost": expected - received,
            "late_seconds": max(0.0, taken - options.seconds),
            "latency_ms": spread(latencies),
            "server_cpu": cpu_seconds(options.server) - (before or 0.0),
            "server_bytes": resident_bytes(options.server),
            "load_cpu": (time.process_time() - mine) / taken,
        }


def _await_start(reader: Reader) -> None:
    """Read until the head of the answer is there, so that the reader is known to the server."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = reader.socket.recv(65536)
        data += piece
        if not piece or (len(data) > 12 and data[9:12] != b"200"):
            raise RuntimeError(f"a reader was refused: {data[:300]!r}")
    reader.rest = data[end:] if b"#" in data[end:] else b""
    reader.socket.setblocking(False)


def main() -> None:
    """Run the load and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, help="its process")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--readers", type=int, required=True, help="of each stream")
    parser.add_argument("--rate", type=float, required=True, help="events a second and stream")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    many_files(options.streams * (options.readers + 1))
    print(json.dumps(Load(options).run()))


if __name__ == "__main__":
    main()
