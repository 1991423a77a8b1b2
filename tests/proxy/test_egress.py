"""Upstream calls through a proxy of the network: what it is asked, and what its answers mean."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trustme

from durable_proxy._answers import Accepted
from durable_proxy._egress import Egress, EgressError
from durable_proxy._errors import Refusal
from durable_transport.protocol import ErrorCode
from proxy.harness import data, generations, start_request
from proxy.wire import LOOPBACK, upstream, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_streams_server import Log

HELLO = whole(200, b"hello")


@dataclass
class Tunnels:
    """A network's proxy: it leads every name to this machine, or answers as it is told."""

    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    asked: list[list[str]] = field(default_factory=list)
    port: int = 0

    @property
    def egress(self) -> Egress:
        return Egress.parse(f"http://us%20er:p%40ss@{LOOPBACK}:{self.port}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.strip().split("\r\n"))
        writer.write(self.answer)
        if b" 200 " in self.answer:
            await _join(reader, writer, int(head.split(" ")[1].rpartition(":")[2]))
        writer.close()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    inner, outer = await asyncio.open_connection(LOOPBACK, port)
    try:
        await asyncio.gather(_copy(reader, outer), _copy(inner, writer))
    finally:
        outer.close()
        writer.close()
        await asyncio.sleep(0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
    writer.close()


@asynccontextmanager
async def tunnels(answer: bytes = Tunnels.answer) -> AsyncIterator[Tunnels]:
    running = Tunnels(answer)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await running.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_call_goes_through_a_tunnel_that_is_kept(log: Log, scheme: str) -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("a.example").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    tls = theirs if scheme == "https" else None
    async with (
        upstream(HELLO, tls) as up,
        tunnels() as through,
        generations(log, egress=through.egress, tls=ours) as running,
    ):
        for _ in range(2):
            url = f"{scheme}://a.example:{up.port}/x"
            request = start_request(url, allow=f"{scheme}://*.example:*/**")
            assert isinstance(await running.start(request), Accepted)
            assert await data(log, request.paths) == b"hello"
        # The proxy resolves the name: here, nothing knows it.
        assert through.asked == [
            [
                f"CONNECT a.example:{up.port} HTTP/1.1",
                f"Host: a.example:{up.port}",
                "Proxy-Authorization: Basic dXMgZXI6cEBzcw==",
            ]
        ]
        assert (len(up.calls), up.connections) == (2, 1)
        assert up.calls[0].values("proxy-authorization") == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "answered 407"),
        (b"HTTP/1.1 302 There\r\nLocation: http://evil.example/\r\n\r\n", "answered 302"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
async def test_a_tunnel_that_is_refused(log: Log, answer: bytes, says: str) -> None:
    async with tunnels(answer) as through, generations(log, egress=through.egress) as running:
        refused = await running.start(start_request("http://127.0.0.1:1/"))
        assert isinstance(refused, Refusal)
        assert refused.code is ErrorCode.UPSTREAM_UNREACHABLE
        assert says in refused.message
        assert "p@ss" not in refused.message


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://proxy.example:3128", "proxy.example", 3128),
        ("http://10.0.0.1:8080/", "10.0.0.1", 8080),
        ("http://[fd00::1]:8080", "fd00::1", 8080),
    ],
)
def test_an_address_of_a_proxy(text: str, host: str, port: int) -> None:
    assert Egress.parse(text) == Egress(host, port, None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "proxy:3128", "https://proxy:3128", "socks5://proxy:1080", "http://proxy"),
        *("http://:3128", "http://s3cret:pw@:3128", "http://proxy:port", "http://proxy:3128/path"),
        *("http://[::1:3128", "http://pro xy:3128"),
    ],
)
def test_what_is_no_address_of_a_proxy(text: str) -> None:
    with pytest.raises(EgressError, match=r"http://\[user:password@\]host:port") as refused:
        Egress.parse(text)
    assert "s3cret" not in str(refused.value)
