"""Reading a shape from the log: a `ShapeReading` is to a shape what a reader is to a stream.

There is no table and no state beside the log: which generations there are is asked for when a
reading begins and whenever a part of it has ended.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

from durable_proxy._shape_request import After, Beginning, ShapeRequest, Start, Tail
from durable_proxy._shapes import NotOursError, Pair, Part, Row, Shape, read_rows
from durable_proxy._status import by_generation, ids_of
from durable_streams_server import (
    Chunk,
    Log,
    OffsetGoneError,
    OffsetOutOfRangeError,
    Reader,
    StreamGoneError,
    StreamInfo,
    StreamNotFoundError,
)
from durable_transport.protocol import GenerationPaths, generation_paths, session_prefix

BATCH_BYTES = 1024 * 1024
"""About so much of the log is in one answer."""
POLL_SECONDS = 1.0
"""How soon a reader who has everything learns that a session has another request."""
PAGE = 500


class MustRefetchError(Exception):
    """What the client has is of another shape; ``handle`` is the one that is there now."""

    def __init__(self, handle: str) -> None:
        self.handle = handle
        super().__init__(handle)


@dataclass(slots=True)
class Batch:
    """What a reading has come to.

    Attributes:
        up_to_date: Nothing else was there.
    """

    rows: list[Row] = field(default_factory=list)
    up_to_date: bool = False


class ShapeReading:
    """A position in a shape. Use as an asynchronous context manager.

    Attributes:
        position: After the last row that was given.
        pinned: Stop where the handle that the client has does not reach any further.
    """

    def __init__(self, log: Log, request: ShapeRequest) -> None:
        self.position = 0
        self.pinned = False
        self._log = log
        self._request = request
        self._shape = Shape(request.kind, request.session, request.request, ())
        self._open = AsyncExitStack()
        self._reader: Reader | None = None
        self._held = b""  # read, and not given: the beginning of a character
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Find the shape, and the place in it.

        Raises:
            MustRefetchError: the place is in another shape.
        """
        self._shape = await self._load()
        self.position = self._place(self._request.start)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    @property
    def handle(self) -> str:
        """The shape's name."""
        return self._shape.handle

    @property
    def stopped(self) -> bool:
        """There is no point in waiting: `stop` was called, or readers of the stream were let go."""
        reader_stopped = self._reader is not None and self._reader.stopped
        return self._stop.is_set() or reader_stopped or self._log.leaving

    @property
    def begun(self) -> bool:
        """There is anything to be read, or will be."""
        return bool(self._shape.parts)

    @property
    def ended(self) -> bool:
        """Everything there is has been given, and all of it has ended."""
        return self.begun and self._shape.part_at(self.position) is None

    @property
    def generation(self) -> GenerationPaths | None:
        """Whose rows come next, if there may be any."""
        part = self._shape.part_at(self.position)
        return None if part is None else generation_paths(self._request.session, part.request)

    def stop(self) -> None:
        """End a `next` that waits, now and from here on."""
        self._stop.set()
        if self._reader is not None:
            self._reader.stop()

    async def read(self) -> Batch:
        """What is there, up to about `BATCH_BYTES`, without waiting.

        Raises:
            MustRefetchError: a stream of the shape was replaced.
        """
        batch, began_at = Batch(), self.position
        while not batch.up_to_date and self.position < began_at + BATCH_BYTES:
            part = self._part()
            if part is None:
                batch.up_to_date = True
            else:
                await self._take(part, batch, None)
        return batch

    async def next(self, seconds: float) -> Batch:
        """What follows; nothing after so many seconds, or when a generation ends meanwhile.

        Raises:
            MustRefetchError: a stream of the shape was replaced.
        """
        loop, batch, handle = asyncio.get_running_loop(), Batch(), self.handle
        deadline = loop.time() + seconds
        while True:
            part, left = self._part(), max(0.0, deadline - loop.time())
            if part is None:
                batch.up_to_date, over = True, self._request.until_end and self.ended
                if not over:
                    await self._pause(min(left, POLL_SECONDS))
                    await self._reload()
            else:
                over = await self._take(part, batch, left)
            if batch.rows or over or self.stopped or deadline <= loop.time():
                return batch
            if self.pinned and self.handle != handle:
                return batch

    # ------------------------------------------------------------------ the shape

    async def _load(self) -> Shape:
        kind, session, request = self._request.kind, self._request.session, self._request.request
        if request is not None:
            paths = generation_paths(session, request)
            data, control = await self._log.stat(paths.data), await self._log.stat(paths.control)
            streams = [stream for stream in (data, control) if stream is not None]
        else:
            streams = await self._streams_of(session)
        return Shape(kind, session, request, _pairs(streams))

    async def _streams_of(self, session: UUID) -> list[StreamInfo]:
        prefix, found = session_prefix(session), list[StreamInfo]()
        while True:
            after = found[-1].path if found else ""
            page = await self._log.list_streams(prefix, after, PAGE)
            found += page
            if len(page) < PAGE:
                return found

    async def _reload(self) -> None:
        known, self._shape = self._shape, await self._load()
        if not self._shape.is_named(known.handle):
            raise MustRefetchError(self.handle)

    def _place(self, start: Start) -> int:
        match start:
            case Beginning():
                return 0
            case Tail():
                return self._shape.end
            case After(handle, int(position)):
                if self._shape.is_named(handle) and position <= self._shape.end:
                    return position
        raise MustRefetchError(self.handle)

    def _part(self) -> Part | None:
        part = self._shape.part_at(self.position)
        if part is not None and self.position < part.base + part.stream.start:
            self.position = part.base + part.stream.start  # retention has let go of the rest
        return part

    # ------------------------------------------------------------------ the streams

    async def _take(self, part: Part, batch: Batch, wait: float | None) -> bool:
        """Add what comes next; whether the part has ended while its end was waited for."""
        try:
            chunk = await self._chunk(part, wait)
            self._add(part, chunk, batch)
        except (
            StreamNotFoundError,
            StreamGoneError,
            OffsetGoneError,
            OffsetOutOfRangeError,
            NotOursError,
        ) as error:
            self._shape = await self._load()
            raise MustRefetchError(self.handle) from error
        batch.up_to_date = chunk.up_to_date
        if not chunk.closed:
            return False
        await self._leave(part)
        batch.up_to_date = self._part() is None
        return not part.stream.closed and self._request.request is not None

    async def _chunk(self, part: Part, wait: float | None) -> Chunk:
        if self._reader is None:
            reader = self._log.reader(part.stream.path, self.position - part.base)
            reader.mode = self._request.live or "catch-up"
            self._reader = await self._open.enter_async_context(reader)
            if self._stop.is_set():
                reader.stop()
        if self._reader.stream.id != part.stream.id:
            raise StreamNotFoundError(part.stream.path)
        if wait is None:
            return await self._reader.read(BATCH_BYTES)
        return await self._reader.next(wait)

    def _add(self, part: Part, chunk: Chunk, batch: Batch) -> None:
        data = self._held + chunk.data
        start = part.base + chunk.end - len(data)
        rows, taken = read_rows(
            self._request.kind, self._request.session, part, data, start, final=chunk.closed
        )
        self._held = data[taken:]
        self.position = start + taken
        batch.rows += rows

    async def _leave(self, part: Part) -> None:
        """The part has ended."""
        self._reader = None
        await self._open.aclose()
        if not part.stream.closed:
            await self._reload()  # only now is known where the next one begins

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass


def _pairs(streams: list[StreamInfo]) -> list[Pair]:
    """Generations of which both streams are there: they are made, and removed, as one."""
    found = by_generation(stream for stream in streams if not stream.deleted)
    return [
        Pair(ids_of(paths)[1], both["data"], both["control"])
        for paths, both in found.items()
        if len(both) == 2  # noqa: PLR2004 - data and control
    ]
