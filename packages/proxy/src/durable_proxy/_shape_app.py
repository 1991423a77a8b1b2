"""The two shapes over HTTP, for clients of Electric: ``/stream/data`` and ``/stream/control``.

Answers are those of the Electric HTTP API, made from the log. Shared caches keep none of them: what
a model answers is somebody's own.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._guard import Right
from durable_proxy._guarding import Guard
from durable_proxy._refusing import UNTOUCHED, refuse
from durable_proxy._shape_reading import Batch, MustRefetchError, ShapeReading
from durable_proxy._shape_request import Live, ShapeRequest, parse_shape
from durable_proxy._shapes import (
    KEEP_ALIVE,
    MUST_REFETCH,
    event_stream,
    insert,
    json_body,
    next_cursor,
    offset_of,
    schema,
    up_to_date,
)
from durable_proxy._stalled import Stalled
from durable_proxy._stalled_reads import STALLED
from durable_streams_server import ClientGoneError, Exchange, Log, LogError
from durable_streams_server import Limits as StreamLimits
from durable_transport.protocol import ErrorCode

HANDLE, OFFSET, CURSOR = "electric-handle", "electric-offset", "electric-cursor"
SCHEMA, UP_TO_DATE, HAS_DATA = "electric-schema", "electric-up-to-date", "electric-has-data"
ELECTRIC_HEADERS = (HANDLE, OFFSET, CURSOR, SCHEMA, UP_TO_DATE, HAS_DATA)
"""What pages of other origins have to be able to read."""

ASK_EACH_TIME = {"Cache-Control": "private, no-cache, no-transform"}
KEEP_NOTHING = {"Cache-Control": "no-store, no-transform"}
JSON = "application/json"

logger = logging.getLogger("durable_proxy")


class Source(Protocol):
    """Where the rows come from."""

    async def answer(
        self, shape: ShapeRequest, request: Request, exchange: Exchange
    ) -> Response | None:
        """The answer, or None when it has been sent already.

        Raises:
            RefusedError: the request is not for this source, or has no answer at the moment.
            ClientGoneError: nobody is there any more.
        """


class ShapeApp:
    """Plain ASGI for ``/stream/{kind}``; ``path_params`` of the scope has the kind.

    Args:
        source: Where the rows come from.
        guard: Says who may read.
        limits: How long a live answer waits, and lives.
    """

    def __init__(self, source: Source, guard: Guard, limits: StreamLimits) -> None:
        self._source = source
        self._guard = guard
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(scope, receive, send, self._limits)
        try:
            response = await self._answer(Request(scope), exchange)
        except RefusedError as error:
            response = refuse(error.refusal)
        except ClientGoneError:
            return
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, request: Request, exchange: Exchange) -> Response | None:
        try:
            shape = parse_shape(request.path_params["kind"], exchange.query)
        except RefusedError:
            await self._guard.admit(request, Right.READ)  # nobody else is told anything
            raise
        principal = await self._guard.admit(request, Right.READ, shape.subject)
        give_back = self._guard.read_slot(principal)
        try:
            return await self._source.answer(shape, request, exchange)
        finally:
            give_back()


class LogShapes:
    """Answers from the log, as a real Electric would.

    Args:
        log: Gives the log, once it is open.
        stalled: Gives what this node cannot end.
    """

    def __init__(
        self,
        log: Callable[[], Log],
        stalled: Callable[[], Stalled],
        limits: StreamLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._stalled = stalled
        self._limits = limits
        self._clock = clock

    async def answer(
        self, shape: ShapeRequest, request: Request, exchange: Exchange
    ) -> Response | None:
        """See `Source.answer`."""
        if shape.subset:
            message = "a part of the rows is not served: read all of them, they come in order"
            raise RefusedError(Refusal(ErrorCode.BAD_REQUEST, message))
        try:
            if self._stalled():
                await self._check_stalled(shape)
            async with ShapeReading(self._log(), shape) as reading:
                match shape.live:
                    case None:
                        return await self._catch_up(shape, reading, request)
                    case Live.LONG_POLL:
                        return await self._long_poll(shape, reading, exchange)
                    case Live.SSE:
                        await self._send_events(shape, reading, exchange)
                        return None
        except MustRefetchError as error:
            headers = UNTOUCHED | KEEP_NOTHING | {HANDLE: error.handle}
            return Response(MUST_REFETCH, HTTPStatus.CONFLICT, headers, JSON)

    async def _check_stalled(self, shape: ShapeRequest) -> None:
        """Refuse what would come after the last row of a generation that stalls.

        The rows are asked for: the bytes that are left may be half a character, which is none.

        Raises:
            RefusedError: that is what is asked for. To a client of Electric it says: later.
        """
        async with ShapeReading(self._log(), shape) as reading:
            paths = reading.generation
            is_over = paths is not None and self._stalled().is_over(paths)
            if is_over and not (await reading.read()).rows:
                raise RefusedError(STALLED)

    async def _catch_up(
        self, shape: ShapeRequest, reading: ShapeReading, request: Request
    ) -> Response:
        began_at = reading.position
        batch = await reading.read()
        tag = f'"{reading.handle}:{began_at}:{reading.position}:{int(batch.up_to_date)}"'
        columns = schema(shape.kind, shape.columns)
        headers = _headers(reading, batch) | ASK_EACH_TIME | {"ETag": tag, SCHEMA: columns}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return _answer(shape, reading, batch, headers)

    async def _long_poll(
        self, shape: ShapeRequest, reading: ShapeReading, exchange: Exchange
    ) -> Response:
        async with exchange.watching(reading):
            batch = await reading.next(self._limits.long_poll)
        headers = _headers(reading, batch) | KEEP_NOTHING | {CURSOR: self._cursor(shape)}
        return _answer(shape, reading, batch, headers)

    async def _send_events(
        self, shape: ShapeRequest, reading: ShapeReading, exchange: Exchange
    ) -> None:
        headers = UNTOUCHED | KEEP_NOTHING | {"Content-Type": "text/event-stream"}
        headers |= {HANDLE: reading.handle, OFFSET: offset_of(reading.position)}
        headers[CURSOR] = self._cursor(shape)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await exchange.start(HTTPStatus.OK, raw)
        async with exchange.watching(reading):
            try:
                await self._send_all(shape, reading, exchange)
            except MustRefetchError:
                pass  # it is told so when it asks again
            except LogError as error:
                logger.warning("a shape of %s ended early: %s", shape.session, error)
        await exchange.finish()

    async def _send_all(
        self, shape: ShapeRequest, reading: ShapeReading, exchange: Exchange
    ) -> None:
        """Send until it is time to ask again, or the handle that was given does not reach."""
        reading.pinned, handle = True, reading.handle
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.rotate
        while not reading.stopped and reading.handle == handle:
            left = until - loop.time()
            if left <= 0:
                break
            batch = await reading.next(min(self._limits.heartbeat, left))
            if batch.rows:
                await exchange.send_part(event_stream(_messages(shape, reading, batch)))
            elif not reading.stopped:
                await exchange.send_part(KEEP_ALIVE)

    def _cursor(self, shape: ShapeRequest) -> str:
        return next_cursor(shape.cursor, self._clock(), random.random())  # noqa: S311 - spreads load


def _headers(reading: ShapeReading, batch: Batch) -> dict[str, str]:
    headers = UNTOUCHED | {HANDLE: reading.handle, OFFSET: offset_of(reading.position)}
    headers[HAS_DATA] = "true" if batch.rows else "false"
    return headers | ({UP_TO_DATE: "true"} if batch.up_to_date else {})


def _answer(
    shape: ShapeRequest, reading: ShapeReading, batch: Batch, headers: Mapping[str, str]
) -> Response:
    return Response(json_body(_messages(shape, reading, batch)), 200, headers, JSON)


def _messages(shape: ShapeRequest, reading: ShapeReading, batch: Batch) -> list[bytes]:
    messages = [insert(shape.kind, row, shape.columns) for row in batch.rows]
    return [*messages, up_to_date(reading.position)] if batch.up_to_date else messages
