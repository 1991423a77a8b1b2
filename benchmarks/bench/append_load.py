"""A closed-loop load of appends: every connection sends its next request when it has an answer.

One thread, non-blocking sockets and requests built beforehand, so that on a machine of two cores
the load costs a small part of what the server costs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import selectors
import socket
import time
from dataclasses import dataclass, field

from bench.figures import spread

PATH = "/v1/stream/bench/{}"


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
        data = connection.received + connection.socket.recv(65536)
        connection.received = data
        if (end := data.find(b"\r\n\r\n")) < 0:
            if not data:
                raise RuntimeError("the server closed a connection")
            return False
        if data[9:10] != b"2":
            raise RuntimeError(f"the server refused an append: {data[:500]!r}")
        if data[9:12] != b"204" and len(data) < end + 4 + _content_length(data[:end]):
            return False
        connection.received = b""
        return True


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise RuntimeError(f"an answer without a length: {head!r}")


def main() -> None:
    """Run the load and print its figures as JSON."""
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
        _create(options.port, options.streams)
    load = Load([_request(number, options.size) for number in range(options.streams)])
    measured, used = _run(load, options)
    stored = _stored(options.port, options.streams) if options.durable else None
    if stored is not None and stored != load.answered * options.size:
        raise RuntimeError(f"{load.answered} appends acknowledged but {stored} bytes stored")
    figures = {
        "per_second": len(load.latencies) / measured,
        "latency_ms": spread([1000 * one for one in load.latencies]),
        "load_cpu": used / measured,
        "appends": load.answered,
    }
    print(json.dumps(figures))


def _request(number: int, size: int) -> bytes:
    head = (
        f"POST {PATH.format(number)} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/octet-stream\r\ncontent-length: {size}\r\n\r\n"
    )
    return head.encode() + os.urandom(size)


def _run(load: Load, options: argparse.Namespace) -> tuple[float, float]:
    """Run the load; return the measured time and the processor time that the load took in it."""
    selector = selectors.DefaultSelector()
    connections = []
    for _ in range(options.connections):
        sock = socket.create_connection(("127.0.0.1", options.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
    return options.seconds, used


def _create(port: int, streams: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for number in range(streams):
        headers = {"content-type": "application/octet-stream"}
        client.request("PUT", PATH.format(number), headers=headers)
        answer = client.getresponse()
        answer.read()
        if answer.status != http.client.CREATED:
            raise RuntimeError(f"a stream could not be created: {answer.status}")
    client.close()


def _stored(port: int, streams: int) -> int:
    """Read every stream to its end and return the number of bytes in them."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    stored = 0
    for number in range(streams):
        offset, up_to_date = "-1", False
        while not up_to_date:
            client.request("GET", f"{PATH.format(number)}?offset={offset}")
            answer = client.getresponse()
            stored += len(answer.read())
            offset = answer.headers["Stream-Next-Offset"]
            up_to_date = answer.headers.get("Stream-Up-To-Date") == "true"
    client.close()
    return stored


if __name__ == "__main__":
    main()
