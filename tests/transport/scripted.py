"""A durable proxy of a few lines on a real socket, which misbehaves as it is told.

One generation (``body`` and ``terminal``) is served on every path of the wire. Each connection
that carries the body takes the next act of ``data_acts``, each control read one of
``control_acts``; without one it behaves well. What was received is in ``requests``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from durable_transport.protocol import format_offset, parse_offset


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def kind(self) -> str:
        """``start`` (whatever is asked of the API), ``data``, ``control`` or ``other``."""
        if self.path.startswith("/api/"):
            return "start"
        return self.path.rpartition("/")[2] if self.path.startswith("/v1/stream/") else "other"

    def query(self, name: str) -> str | None:
        return next(iter(parse_qs(urlsplit(self.target).query).get(name, [])), None)


class Wire:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        if data:
            self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        await self.head(status, {**headers, "Content-Length": str(len(body))})
        self.writer.write(body)
        await self.writer.drain()

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        """Say nothing until the client goes away."""
        while await self.reader.read(65536):
            pass


Act = Callable[["ScriptedProxy", Received, Wire], Awaitable[None]]


@dataclass
class ScriptedProxy:
    """The server; start it with `serving`."""

    body: bytes = b""
    terminal: dict[str, Any] | None = field(
        default_factory=lambda: {"event": "done", "payload": {}}
    )
    """None: still running. ``dataOffset`` defaults to the length of the body."""
    status: int = 200
    content_type: str | None = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    piece: int = 7
    start_acts: deque[Act] = field(default_factory=deque)
    data_acts: deque[Act] = field(default_factory=deque)
    control_acts: deque[Act] = field(default_factory=deque)
    requests: list[Received] = field(default_factory=list)
    port: int = 0
    peers: set[tuple[str, int]] = field(default_factory=set)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kinds(self) -> list[str]:
        return [request.kind for request in self.requests]

    def open_connections(self) -> int:
        return len(self.connections)

    # ------------------------------------------------------------------ connections

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(reader, writer))
        self.connections[task] = writer
        self.peers.add(writer.get_extra_info("peername"))
        task.add_done_callback(self.connections.pop)

    async def stop(self, server: asyncio.Server) -> None:
        # A connection accepted at this moment must come as far as being closed, too. They are
        # accepted in order, so all are here once one of our own is.
        _, own = await asyncio.open_connection("127.0.0.1", self.port)
        while own.get_extra_info("sockname") not in self.peers:  # noqa: ASYNC110  (a few turns)
            await asyncio.sleep(0)
        own.close()
        server.close()
        for task, writer in list(self.connections.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket one turn later
        await own.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _receive(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, Wire(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Received, wire: Wire) -> None:
        acts = {"start": self.start_acts, "data": self.data_acts, "control": self.control_acts}
        queue = acts.get(request.kind)
        if request.kind == "start" and not self.start_acts:
            queue = self.data_acts
        act = queue.popleft() if queue else well
        await act(self, request, wire)

    # ------------------------------------------------------------------ good behaviour

    async def open_body(self, request: Received, wire: Wire) -> int:
        """Send the head of a body's answer; return where the body begins."""
        head = {"Transfer-Encoding": "chunked"}
        if request.kind == "start":
            if self.content_type is not None:
                head["Content-Type"] = self.content_type
            head |= {"X-Proxy-Source": "upstream", **self.headers}
            await wire.head(self.status, head)
            return 0
        start = parse_offset(request.query("offset") or "")
        head |= {"Content-Type": "application/octet-stream"}
        head |= {"Stream-Next-Offset": format_offset(start)}
        if self.terminal is not None and start == len(self.body):
            head["Stream-Closed"] = "true"
        await wire.head(200, head)
        return start

    async def send_body(self, wire: Wire, start: int, end: int | None = None) -> None:
        end = len(self.body) if end is None else end
        for at in range(start, end, self.piece):
            await wire.chunk(self.body[at : min(at + self.piece, end)])

    def control_messages(self) -> list[dict[str, Any]]:
        payload = {"status": self.status, "headers": list(self.headers.items())}
        if self.content_type is not None:
            payload["contentType"] = self.content_type
        messages = [{"event": "start", "dataOffset": format_offset(0), "payload": payload}]
        if self.terminal is not None:
            messages.append({"dataOffset": format_offset(len(self.body)), **self.terminal})
        return messages


async def well(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
    """Behave."""
    if request.kind == "control":
        messages = proxy.control_messages()
        have = request.query("offset") or "-1"
        known = 0 if have == "-1" else parse_offset(have)
        headers = {
            "Content-Type": "application/json",
            "Stream-Next-Offset": format_offset(len(messages)),
        }
        await wire.whole(200, headers, json.dumps(messages[known:]).encode())
        return
    start = await proxy.open_body(request, wire)
    await proxy.send_body(wire, start)
    await wire.end()


def cut_after(count: int) -> Act:
    """Send ``count`` bytes of the body, then break off."""

    async def act(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        start = await proxy.open_body(request, wire)
        await proxy.send_body(wire, start, min(start + count, len(proxy.body)))
        await wire.writer.drain()
        wire.writer.close()  # without the last chunk: a body that is cut short

    return act


def end_after(count: int) -> Act:
    """Send ``count`` bytes of the body, then end the answer in good order."""

    async def act(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        start = await proxy.open_body(request, wire)
        await proxy.send_body(wire, start, min(start + count, len(proxy.body)))
        await wire.end()

    return act


def hang_after(count: int) -> Act:
    """Send ``count`` bytes of the body, then nothing, for ever."""

    async def act(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        start = await proxy.open_body(request, wire)
        await proxy.send_body(wire, start, min(start + count, len(proxy.body)))
        await wire.until_gone()

    return act


async def reset(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
    """Break off without a byte."""
    del proxy, request
    wire.cut()


async def hang(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
    """Never answer."""
    del proxy, request
    await wire.until_gone()


def answer(status: int, body: bytes = b"", **headers: str) -> Act:
    """Answer with anything."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def act(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        del proxy, request
        await wire.whole(status, named, body)

    return act


def refuse(status: int, code: str, message: str = "no", **headers: str) -> Act:
    """Refuse as the proxy does."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return answer(
        status,
        body,
        Content_Type="application/json",
        X_Proxy_Source="proxy",
        X_Proxy_Error=code,
        **headers,
    )


def rejection(status: int, body: bytes, **headers: str) -> dict[str, Any]:
    """The terminal message of a generation the upstream rejected."""
    response = {
        "status": status,
        "headers": [[name.replace("_", "-"), value] for name, value in headers.items()],
        "body": base64.b64encode(body).decode(),
    }
    return {"event": "error", "payload": {"code": "upstream_rejected", "response": response}}


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := (await reader.readline()).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body)


@contextmanager
def serving(proxy: ScriptedProxy) -> Iterator[ScriptedProxy]:
    """Run the server in a thread of its own, so that sync and async tests can both use it."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        await proxy.stop(server)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="scripted-proxy")
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
