"""A small real upstream in HTTP/2 on a real socket, whose every frame is the test's own."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from proxy.wire import LOOPBACK, Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

AUTHORITY = trustme.CA()


Fields = list[tuple[str, str]]


def client_tls(*protocols: str) -> ssl.SSLContext:
    """Trusts the upstreams here, and offers these protocols."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.set_alpn_protocols(list(protocols or ("h2", "http/1.1")))
    return context


def server_tls(*protocols: str) -> ssl.SSLContext:
    """What an upstream shows, and the protocols that it speaks."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(LOOPBACK, "localhost").configure_cert(context)
    context.set_alpn_protocols(list(protocols or ("h2",)))
    return context


class Wire2:
    """The answering side of one request.

    Attributes:
        reset: The client has broken the request off.
    """

    def __init__(self, connection: Connection2, stream: int, call: Call) -> None:
        self.connection = connection
        self.stream = stream
        self.call = call
        self.reset = asyncio.Event()

    def head(self, status: int = 200, *headers: tuple[str, str], end: bool = False) -> None:
        fields = [(":status", str(status)), *headers]
        self.connection.h2.send_headers(self.stream, fields, end_stream=end)
        self.connection.flush()

    def sent_at_once(self, data: bytes, *, end: bool = False) -> int:
        """Send what the window allows; how much that was."""
        h2 = self.connection.h2
        if self.reset.is_set():
            return len(data)
        size = min(h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size, len(data))
        if size or end:
            h2.send_data(self.stream, data[:size], end_stream=end)
            self.connection.flush()
        return size

    async def data(self, data: bytes) -> None:
        """Send all of it, as the windows allow, while the client wants it."""
        while data and not self.reset.is_set():
            self.connection.room.clear()
            sent = self.sent_at_once(data)
            data = data[sent:]
            if not sent:
                await self.connection.room.wait()
            else:
                await asyncio.sleep(0)

    def end(self) -> None:
        self.sent_at_once(b"", end=True)

    def trailers(self, *headers: tuple[str, str]) -> None:
        self.connection.h2.send_headers(self.stream, headers, end_stream=True)
        self.connection.flush()

    def break_off(self, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Say that no stream after this one is looked at; the others go on."""
        frame = GoAwayFrame(0, last_stream_id=last, error_code=code)
        self.connection.raw(frame.serialize())


class Connection2(asyncio.Protocol):
    """One connection of the upstream."""

    def __init__(self, upstream: Upstream2) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.room = asyncio.Event()
        self.wires: dict[int, Wire2] = {}
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def raw(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def flush(self) -> None:
        self.raw(self.h2.data_to_send())

    def lose(self) -> None:
        """Close the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._upstream.connections.append(self)
        self.h2.initiate_connection()
        code: SettingCodes | int
        if self._upstream.most_streams is not None:
            code = SettingCodes.MAX_CONCURRENT_STREAMS
            self.h2.update_settings({code: self._upstream.most_streams})
        if self._upstream.window is not None:
            code = SettingCodes.INITIAL_WINDOW_SIZE
            self.h2.update_settings({code: self._upstream.window})
            self.h2.increment_flow_control_window(self._upstream.window)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._upstream.lost += 1
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except H2Error as error:
            self._upstream.errors.append(error)
            self.lose()
            return
        for event in events:
            match event:
                case RequestReceived():
                    fields = cast("Fields", event.headers)
                    named = dict(fields)
                    call = Call(named[":method"], named[":path"], fields, b"")
                    self.wires[event.stream_id] = Wire2(self, event.stream_id, call)
                case DataReceived():
                    self.wires[event.stream_id].call.body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    self._answer(self.wires[event.stream_id])
                case StreamReset():
                    self.wires[event.stream_id].reset.set()
                    self.room.set()
                case WindowUpdated() | RemoteSettingsChanged():
                    self.room.set()
                case _:
                    pass
        self.flush()

    def _answer(self, wire: Wire2) -> None:
        self._upstream.calls.append(wire.call)
        task = asyncio.ensure_future(self._upstream.script(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass
class Upstream2:
    """A listening upstream; it counts its calls and connections."""

    script: Callable[[Wire2], Awaitable[None]]
    most_streams: int | None = None
    window: int | None = None
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    connections: list[Connection2] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    lost: int = 0


@asynccontextmanager
async def upstream2(
    script: Callable[[Wire2], Awaitable[None]],
    *,
    most_streams: int | None = None,
    window: int | None = None,
) -> AsyncIterator[Upstream2]:
    """Listen for as long as the block lasts; the client has broken no rule."""
    up = Upstream2(script, most_streams, window)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection2(up), LOOPBACK, 0, ssl=server_tls())
    up.url = f"https://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield up
        assert up.errors == []
    finally:
        server.close()
        tasks = [task for connection in up.connections for task in connection._tasks]
        for connection in up.connections:
            connection.lose()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0)
