"""A TCP relay between client and proxy that cuts connections: the network at its worst, seeded."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
START_SECONDS = 10.0
PIECE = 4096
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST instead of FIN
MOST_CUTS = 400
"""Then the relay lets everything through, so that a test ends whatever happens."""


@dataclass(frozen=True, slots=True)
class Fate:
    """When one connection is cut, and how."""

    answer_bytes: int
    request_bytes: int | None = None
    reset: bool = False


@dataclass(slots=True, eq=False)
class _Connection:
    fate: Fate | None
    client: asyncio.StreamWriter
    proxy: asyncio.StreamWriter
    seen: dict[str, int] = field(default_factory=lambda: {"request": 0, "answer": 0})

    def allowed(self, direction: str) -> int | None:
        """How many more bytes may pass in this direction; None is any number."""
        if self.fate is None:
            return None
        limit = self.fate.answer_bytes if direction == "answer" else self.fate.request_bytes
        return None if limit is None else limit - self.seen[direction]

    def cut(self) -> None:
        """End both sides at once."""
        for writer in (self.client, self.proxy):
            if writer.is_closing():
                continue
            if self.fate is not None and self.fate.reset:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            else:
                writer.close()


class Relay:
    """Forwards to one port; `fate` decides for every connection when it ends."""

    def __init__(self, target_port: int, fate: Callable[[int], Fate | None]) -> None:
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self._target_port = target_port
        self._fate = fate
        self._open: set[_Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def cut_all(self) -> None:
        """Cut whatever is open now (from any thread)."""
        assert self._loop is not None
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._cut_all, done)
        done.wait(START_SECONDS)

    def _cut_all(self, done: threading.Event) -> None:
        for connection in list(self._open):
            self.cuts += 1
            connection.cut()
        done.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._stopping.wait()
        server.close()
        for connection in list(self._open):
            connection.cut()
        # The tasks end by themselves once their connections are closed.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            from_proxy, proxy = await asyncio.open_connection(LOOPBACK, self._target_port)
        except OSError:
            client.close()
            return
        fate = self._fate(number) if self.cuts < MOST_CUTS else None
        connection = _Connection(fate, client, proxy)
        self._open.add(connection)
        pumps = [
            asyncio.ensure_future(self._pump(reader, proxy, connection, "request")),
            asyncio.ensure_future(self._pump(from_proxy, client, connection, "answer")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._open.discard(connection)
            connection.cut()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        connection: _Connection,
        direction: str,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(PIECE):
                allowed = connection.allowed(direction)
                is_last = allowed is not None and len(data) >= allowed
                sink.write(data[:allowed] if is_last else data)
                await sink.drain()
                connection.seen[direction] += len(data)
                if is_last:
                    self.cuts += 1
                    return

    def run(self) -> None:
        asyncio.run(self._main())

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    def wait_until_up(self) -> None:
        if not self._up.wait(START_SECONDS):
            raise RuntimeError("the relay did not start")


def chaos(seed: int) -> Callable[[int], Fate]:
    """Every connection is cut: in the request, the answer's head, or anywhere in its body."""
    source = random.Random(seed)

    def fate(_: int) -> Fate:
        kind = source.random()
        reset = source.random() < 0.5
        if kind < 0.1:
            return Fate(answer_bytes=PIECE, request_bytes=source.randint(0, 300), reset=reset)
        if kind < 0.3:
            return Fate(answer_bytes=source.randint(0, 300), reset=reset)
        return Fate(answer_bytes=source.randint(300, 2500), reset=reset)

    return fate


def calm(_: int) -> None:
    """No connection is cut by itself."""


@contextlib.contextmanager
def relaying(target_port: int, fate: Callable[[int], Fate | None] = calm) -> Iterator[Relay]:
    """Run a relay in a thread for as long as the block lasts."""
    relay = Relay(target_port, fate)
    thread = threading.Thread(target=relay.run, name="relay")
    thread.start()
    try:
        relay.wait_until_up()
        yield relay
    finally:
        relay.stop()
        thread.join(START_SECONDS)
