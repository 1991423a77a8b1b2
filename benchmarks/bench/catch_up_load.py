"""Readers that fetch one long stream from its beginning to its end, all at once, again and again.

One thread on plain sockets. Every byte is summed up and compared with what was appended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import time
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools

from bench.processes import cpu_seconds, resident_bytes
from bench.wire import PATH, append_head, connect, create, is_whole

if TYPE_CHECKING:
    import socket

BLOCK = os.urandom(64 * 1024)
MIB = 1024 * 1024
SILENCE = 20.0


def write(port: int, path: str, size: int) -> int:
    """Create a stream of this many bytes and return their checksum."""
    create(port, [path])
    request, checksum = append_head(path, len(BLOCK)) + BLOCK, 0
    with contextlib.closing(connect(port)) as sock:
        for _ in range(size // len(BLOCK)):
            sock.sendall(request)
            answer = b""
            while not is_whole(answer):
                answer += sock.recv(65536)
            checksum = zlib.crc32(BLOCK, checksum)
    return checksum


class Reader:
    """One connection that reads answer after answer until it is told that it has everything."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        self.socket = sock
        self.size = self.checksum = self.answers = 0
        self.complete = False
        self._path = path
        self._parser = httptools.HttpResponseParser(self)
        self._next = b"-1"
        self._is_last = False

    def ask(self) -> None:
        """Ask for what comes next."""
        request = b"GET %b?offset=%b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        self.socket.sendall(request % (self._path.encode(), self._next))
        self.answers += 1

    def take(self, data: memoryview) -> None:
        """Take what came over the wire."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note where to go on, and whether that is necessary."""
        match name.lower():
            case b"stream-next-offset":
                self._next = value
            case b"stream-up-to-date":
                self._is_last = value == b"true"

    def on_body(self, body: bytes) -> None:
        """Count and sum up a piece of the stream."""
        self.size += len(body)
        self.checksum = zlib.crc32(body, self.checksum)

    def on_message_complete(self) -> None:
        """Go on, or be done."""
        if self._parser.get_status_code() != HTTPStatus.OK:
            raise RuntimeError(f"a read was refused: {self._parser.get_status_code()}")
        if self._is_last:
            self.complete = True
        else:
            self.ask()


def read(options: argparse.Namespace, path: str, checksum: int) -> dict[str, float]:
    """Read the stream once with every reader and return the figures of the pass."""
    readers = [Reader(connect(options.port), path) for _ in range(options.readers)]
    poll, by_fd = select.epoll(), {reader.socket.fileno(): reader for reader in readers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    buffer = memoryview(bytearray(MIB))
    before, used, started = cpu_seconds(options.server), time.process_time(), time.monotonic()
    peak, look_at = 0.0, 0.0
    for reader in readers:
        reader.ask()
    while not all(reader.complete for reader in readers):
        ready = poll.poll(SILENCE)
        if not ready:
            raise RuntimeError("the server sent nothing for a long time")
        for fd, _ in ready:
            reader = by_fd[fd]
            received = reader.socket.recv_into(buffer)
            if not received:
                raise RuntimeError("the server closed a connection")
            reader.take(buffer[:received])
        if (now := time.monotonic()) > look_at:
            look_at, peak = now + 0.02, max(peak, resident_bytes(options.server))
    seconds = time.monotonic() - started
    for reader in readers:
        reader.socket.close()
        if (reader.size, reader.checksum) != (options.size * MIB, checksum):
            raise RuntimeError(f"read {reader.size} bytes, which are not those appended")
    return {
        "seconds": seconds,
        "server_cpu": cpu_seconds(options.server) - before,
        "load_cpu": (time.process_time() - used) / seconds,
        "peak_bytes": max(peak, resident_bytes(options.server)),
        "answers": sum(reader.answers for reader in readers),
    }


def main() -> None:
    """Run the load and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, help="its process")
    parser.add_argument("--size", type=int, required=True, help="of the stream, in MiB")
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--passes", type=int, required=True)
    options = parser.parse_args()
    path = PATH.format("long")
    checksum = write(options.port, path, options.size * MIB)
    before = resident_bytes(options.server)
    passes = [read(options, path, checksum) for _ in range(options.passes)]
    after = resident_bytes(options.server)
    print(json.dumps({"passes": passes, "before_bytes": before, "after_bytes": after}))


if __name__ == "__main__":
    main()
