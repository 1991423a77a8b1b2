"""A session log on a server of the Durable Streams protocol, ours or another's.

What the embedded log does with owners and leases is done with what the protocol has: each node has
a stream that ends when nobody writes to it for a lease, and its name in a register.
"""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx2

from durable_ai_db_proxy._ids import NODES
from durable_ai_db_proxy._log import (
    FencedError,
    LogUnavailableError,
    Lost,
    MissingError,
    Outpaced,
    Rows,
    Stored,
    number_text,
)
from durable_transport import (
    AppendUncertain,
    DurableStream,
    DurableTransportError,
    IdempotentProducer,
    InvalidOffset,
    ProducerFenced,
    SequenceConflict,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    StreamRefused,
    Timing,
)
from durable_transport.protocol import BEGINNING, HOP_BY_HOP_HEADERS

JSON = "application/json"
STREAMS = "/v1/stream"
REGISTER = f"{NODES}register"
ALIVE = f"{NODES}alive/"
_PASSED_ON = ("accept", "if-none-match", "last-event-id")
_KEPT = HOP_BY_HOP_HEADERS | {"server", "date"}

logger = logging.getLogger("durable_ai_db_proxy")


class RemoteLog:
    """A `SessionLog` on a server; use as ``async with RemoteLog(url)``.

    Args:
        url: The server's; streams are under ``/v1/stream`` there, unless it ends in that.
        headers: For every request, such as credentials.
        lease_seconds: How long after its end a node is taken for gone, at least a second.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, lease_seconds: float = 10.0
    ) -> None:
        self.node = uuid4().hex
        self.lease_seconds = lease_seconds
        base = url.rstrip("/")
        self._base = base if base.endswith(STREAMS) else base + STREAMS
        self._client = httpx2.AsyncClient(
            headers=headers, timeout=httpx2.Timeout(30.0, pool=None), limits=httpx2.Limits()
        )
        self._timing = Timing(give_up_after=lease_seconds, start_patience=lease_seconds)
        self._noted: set[str] = set()
        self._failure: str | None = None
        self._leaving = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Say that this node is there.

        Raises:
            LogUnavailableError: the server cannot be reached.
        """
        try:
            await self._join()
        except BaseException:
            await self._client.aclose()
            raise
        self._beating = asyncio.create_task(self._beat_forever(), name="session node alive")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        # The others need not wait for the lease to run out.
        with suppress(LogUnavailableError):
            await self.delete(ALIVE + self.node)
        await self._client.aclose()

    def _stream(self, path: str) -> DurableStream:
        return DurableStream(
            f"{self._base}/{path}", client=self._client, content_type=JSON, timing=self._timing
        )

    # ------------------------------------------------------------------ streams

    async def create(self, path: str) -> bool:
        """See `SessionLog.create`."""
        try:
            with self._driver(path):
                return (await self._stream(path).create(content_type=JSON)).created
        except _ConflictError as error:
            raise MissingError(path, gone=True) from error

    async def fork(self, path: str, source: str, count: int) -> bool:
        """See `SessionLog.fork`."""
        with suppress(MissingError), self._driver(path):
            await self._stream(path).head()
            return False
        try:
            with self._driver(source):
                target = f"{self._base}/{path}"
                await self._stream(source).fork(target, offset=BEGINNING, sub_offset=count)
        except _ConflictError:
            return False
        return True

    async def delete(self, path: str) -> bool:
        """See `SessionLog.delete`."""
        try:
            with self._driver(path):
                await self._stream(path).delete()
        except MissingError:
            return False
        return True

    async def append(self, path: str, records: Sequence[bytes], number: int) -> Stored | Outpaced:
        """See `SessionLog.append`."""
        try:
            with self._driver(path):
                await self._stream(path).extend(records, seq=number_text(number))
        except _ConflictError:
            return Outpaced()
        return Stored()

    async def add(self, path: str, records: Sequence[bytes]) -> None:
        """See `SessionLog.add`."""
        with self._driver(path):
            await self._stream(path).extend(records)

    @asynccontextmanager
    async def writer(self, path: str, name: str, epoch: int) -> AsyncIterator["RemoteWriter"]:
        """See `SessionLog.writer`."""
        producer = IdempotentProducer(self._stream(path), name, epoch=epoch)
        try:
            yield RemoteWriter(self, path, producer)
        finally:
            with suppress(DurableTransportError):
                await producer.aclose()

    async def read(self, path: str, offset: str) -> Rows:
        """See `SessionLog.read`."""
        with self._driver(path):
            found = await self._stream(path).read_json(offset)
        return Rows(found.data, found.offset)

    async def wait(self, path: str, offset: str, seconds: float) -> None:
        """See `SessionLog.wait`."""
        leaving = asyncio.create_task(self._leaving.wait())
        news = asyncio.create_task(self._news(path, offset))
        try:
            await asyncio.wait(
                [leaving, news], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if news.done():
                news.result()
        finally:
            leaving.cancel()
            news.cancel()
            await asyncio.gather(leaving, news, return_exceptions=True)

    async def _news(self, path: str, offset: str) -> None:
        with self._driver(path):
            async with self._stream(path).follow_json(offset) as reader:
                async for batch in reader.batches():
                    if batch.items:
                        return

    # ------------------------------------------------------------------ nodes

    async def _join(self) -> None:
        await self.create(REGISTER)
        with self._driver(REGISTER):
            ttl = max(1, math.ceil(self.lease_seconds))
            await self._stream(ALIVE + self.node).create(content_type=JSON, ttl=ttl)
        await self.add(REGISTER, [_json({"here": self.node})])

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            try:
                await self._beat()
            except LogUnavailableError as error:
                logger.warning("saying that this node is alive failed: %s", error)
            except Exception:
                logger.exception("saying that this node is alive failed")

    async def _beat(self) -> None:
        try:
            await self.add(ALIVE + self.node, [b"1"])
        except MissingError:
            # Too late: the others may have taken over what was going on here. Begin again.
            self._noted.clear()
            await self._join()

    async def note(self, session: str) -> None:
        """See `SessionLog.note`."""
        if session in self._noted:
            return
        path, records = NODES + self.node, [_json(session)]
        try:
            await self.add(path, records)
        except MissingError:
            self._noted.clear()
            await self.create(path)
            await self.add(path, records)
        self._noted.add(session)

    async def lost(self) -> list[Lost]:
        """See `SessionLog.lost`."""
        here: dict[str, None] = {}
        for item in (await self.read(REGISTER, BEGINNING)).items:
            if "here" in item:
                here[item["here"]] = None
            here.pop(item.get("left"), None)
        return [
            Lost(node, await self._sessions_of(node))
            for node in here
            if node != self.node and not await self._is_alive(node)
        ]

    async def _is_alive(self, node: str) -> bool:
        try:
            with self._driver(node):
                await self._stream(ALIVE + node).head()
        except MissingError:
            return False
        return True

    async def _sessions_of(self, node: str) -> list[str]:
        try:
            return list(dict.fromkeys((await self.read(NODES + node, BEGINNING)).items))
        except MissingError:
            return []

    async def bury(self, node: str) -> None:
        """See `SessionLog.bury`."""
        await self.delete(NODES + node)
        await self.add(REGISTER, [_json({"left": node})])

    # ------------------------------------------------------------------ serving

    async def serve_stream(self, scope: Any, receive: Any, send: Any) -> None:
        """See `SessionLog.serve_stream`."""
        query = scope["query_string"].decode("latin-1")
        url = self._base + scope["path"] + (f"?{query}" if query else "")
        headers = [(name, value) for name, value in scope["headers"] if name.decode() in _PASSED_ON]
        passing = asyncio.create_task(self._pass_on(scope["method"], url, headers, send))
        gone = asyncio.create_task(_disconnected(receive))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait([passing, gone, leaving], return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
        finally:
            for task in (passing, gone, leaving):
                task.cancel()
            await asyncio.gather(passing, gone, leaving, return_exceptions=True)

    async def _pass_on(
        self, method: str, url: str, headers: list[tuple[bytes, bytes]], send: Any
    ) -> None:
        patient = httpx2.Timeout(30.0, read=120.0, pool=None)
        request = self._client.build_request(method, url, headers=headers, timeout=patient)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise LogUnavailableError("the stream server cannot be reached") from error
        try:
            kept = [
                (name.lower(), value)
                for name, value in answer.headers.raw
                if name.decode("latin-1").lower() not in _KEPT
            ]
            start = {"type": "http.response.start", "status": answer.status_code, "headers": kept}
            await send(start)
            with suppress(httpx2.HTTPError):
                async for piece in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()

    def check(self) -> None:
        """See `SessionLog.check`."""
        if self._failure is not None:
            raise LogUnavailableError(self._failure)

    async def leave(self) -> None:
        """See `SessionLog.leave`."""
        self._leaving.set()

    @contextmanager
    def _driver(self, path: str) -> Iterator[None]:
        """The one place where errors of the client become ours."""
        try:
            yield
        except StreamGone as error:
            raise MissingError(path, gone=True) from error
        except (StreamNotFound, InvalidOffset) as error:
            raise MissingError(path) from error
        except ProducerFenced as error:
            raise FencedError(path) from error
        except (SequenceConflict, AppendUncertain, StreamConflict) as error:
            # For an append whose answer was lost as well: whoever asked looks what is there.
            raise _ConflictError from error
        except DurableTransportError as error:
            self._failure = str(error) if not isinstance(error, StreamRefused) else None
            raise LogUnavailableError(str(error)) from error
        self._failure = None


class _ConflictError(Exception):
    """Something else is there, or might be."""


class RemoteWriter:
    """A `Writer` on a server."""

    def __init__(self, log: RemoteLog, path: str, producer: IdempotentProducer) -> None:
        self._log = log
        self._path = path
        self._producer = producer

    async def write(self, records: Sequence[bytes]) -> None:
        """See `Writer.write`."""
        with self._log._driver(self._path):  # noqa: SLF001 - one of its own
            for one in records:
                self._producer.append(one)
            await self._producer.flush()


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
