"""HTTP/1.1 as far as a load needs it: streams are created and read back, answers have an end."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH = "/v1/stream/bench/{}"
SPARE_FILES = 100


def many_files(count: int) -> None:
    """Allow this process, and those that it starts, to hold so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + SPARE_FILES, hard), hard))


def connect(port: int) -> socket.socket:
    """Return a connection to a server on loopback that sends at once."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def append_head(path: str, size: int, content_type: str = "application/octet-stream") -> bytes:
    """Return everything of an append but its body."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: {content_type}\r\ncontent-length: {size}\r\n\r\n"
    )
    return head.encode()


def is_whole(answer: bytes) -> bool:
    """Tell whether the answer to an append has come to its end (it must be one of success)."""
    if (end := answer.find(b"\r\n\r\n")) < 0:
        return False
    if answer[9:10] != b"2":
        raise RuntimeError(f"the server refused an append: {answer[:500]!r}")
    head = answer[:end].lower()
    if head[9:12] == b"204":
        return True
    if b"\r\ntransfer-encoding: chunked" in head:
        return answer.endswith(b"0\r\n\r\n")
    return len(answer) >= end + 4 + content_length(head)


def content_length(head: bytes) -> int:
    """Return the declared length of an answer's body."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise RuntimeError(f"an answer without a length: {head!r}")


def create(port: int, paths: Iterable[str], content_type: str = "application/octet-stream") -> None:
    """Create streams."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for path in paths:
            client.request("PUT", path, headers={"content-type": content_type})
            answer = client.getresponse()
            answer.read()
            if answer.status != http.client.CREATED:
                raise RuntimeError(f"a stream could not be created: {answer.status}")


def stored_bytes(port: int, paths: Iterable[str]) -> int:
    """Read every stream to its end and return the number of bytes in them."""
    stored = 0
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        for path in paths:
            offset, up_to_date = "-1", False
            while not up_to_date:
                client.request("GET", f"{path}?offset={offset}")
                answer = client.getresponse()
                stored += len(answer.read())
                offset = answer.headers["Stream-Next-Offset"]
                up_to_date = answer.headers.get("Stream-Up-To-Date") == "true"
    return stored
