"""The Durable Streams HTTP surface as a plain ASGI application.

A request is parsed (`_request`), carried out (`_log`), rendered (`_answer`) and sent here. Plain
ASGI because a framework's route would cost several times what an append does.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from durable_streams_server import _answer as render
from durable_streams_server._answer import Answer, refusal
from durable_streams_server._control import answer_control
from durable_streams_server._cursor import next_cursor
from durable_streams_server._errors import (
    LogError,
    StorageError,
    StreamGoneError,
    StreamNotFoundError,
)
from durable_streams_server._exchange import (
    ClientGoneError,
    Exchange,
    Limits,
    Receive,
    Scope,
    Send,
)
from durable_streams_server._fork import resolve_fork
from durable_streams_server._live import send_events, send_raw
from durable_streams_server._log import Log
from durable_streams_server._model import EARLIEST, Chunk, Create, Delete, Fork, Outcome
from durable_streams_server._path import (
    RESERVED,
    InvalidPathError,
    ReservedPathError,
    stream_path,
)
from durable_streams_server._reader import Reader
from durable_streams_server._request import (
    Headers,
    Live,
    ReadRequest,
    RequestError,
    parse_append,
    parse_create,
    parse_fork,
    parse_read,
)
from durable_streams_server._subscriptions import Subscriptions
from durable_transport.protocol import ErrorCode

logger = logging.getLogger("durable_streams_server")


class StreamsApp:
    """Streams of a log under a URL prefix.

    Args:
        log: Where the streams are; or a function that gives it, for a log opened later.
        prefix: Path before the stream's own path, relative to where the application is mounted.
        read_only: Refuse everything but GET, HEAD and OPTIONS.
        replaceable: Streams may be deleted and created again under their URL, so caches are told
            to ask each time instead of trusting an answer for a minute.
        cors: Let pages of any origin read (and, unless ``read_only``, write) the streams.
        limits: Bounds of one request.
        clock: Epoch seconds, for cursors.
        subscriptions: Gives those of the log, to be served under ``__ds/``.

    Attributes:
        responses: How many answers have ended, by the first digit of their status.
    """

    def __init__(
        self,
        log: Log | Callable[[], Log],
        *,
        prefix: str = "/v1/stream",
        read_only: bool = False,
        replaceable: bool = False,
        cors: bool = True,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        subscriptions: Callable[[], Subscriptions] | None = None,
    ) -> None:
        self._log = log
        self._subscriptions = subscriptions
        self._prefix = prefix.rstrip("/") + "/"
        self._replaceable = replaceable
        self.every_answer = render.CORS_HEADERS if cors else ()
        self._methods = render.READ_METHODS if read_only else render.METHODS
        self.limits = limits or Limits()
        self._clock = clock
        self.responses = [0] * 6
        self.append_path = lru_cache(maxsize=4096)(self._append_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            raise RuntimeError(f"streams are served over HTTP, not {scope['type']}")
        exchange = Exchange(scope, receive, send, self.limits, extra_headers=self.every_answer)
        try:
            answer = await self._answer(exchange)
            if answer is not None:
                await exchange.send_answer(answer)
        except ClientGoneError:
            return
        finally:
            self.responses[exchange.status // 100] += 1

    async def _answer(self, exchange: Exchange) -> Answer | None:
        """The answer to a request, or None when it has been sent already."""
        try:
            try:
                return await self._dispatch(exchange)
            except ReservedPathError:
                # Looked for when it has been found to be no stream: appends pay nothing for it.
                return await self._control(exchange)
        except (RequestError, InvalidPathError, LogError) as error:
            return _of_error(error, exchange.method, exchange.raw_path)

    async def _dispatch(self, exchange: Exchange) -> Answer | None:
        method = exchange.method
        if method == "OPTIONS":
            return render.preflight(self._methods) if self.every_answer else Answer(204)
        if method not in self._methods:
            answer = refusal(ErrorCode.METHOD_NOT_ALLOWED, f"{method[:20]} is not supported here")
            answer.add("Allow", ", ".join(self._methods))
            return answer
        headers = exchange.headers
        path = self._path(exchange.raw_path, exchange.root_path)
        log = self._open_log()
        match method:
            case "POST":
                append = parse_append(path, headers, await exchange.body())
                (outcome,) = await log.transact(append)
            case "PUT":
                (outcome,) = await log.transact(await self._creation(log, path, exchange))
            case "DELETE":
                (outcome,) = await log.transact(Delete(path))
            case "HEAD":
                return await self._stat(log, path)
            case _:
                return await self._read(log, path, exchange)
        return render.of_outcome(outcome, exchange.url if method == "PUT" else "")

    def _open_log(self) -> Log:
        return self._log() if callable(self._log) else self._log

    async def _control(self, exchange: Exchange) -> Answer:
        root, reserved, raw = exchange.local_path.partition(f"{self._prefix}{RESERVED}/")
        if root or not reserved:
            raise InvalidPathError(f"{RESERVED}/ is reserved for subscriptions")
        if self._subscriptions is None:
            raise RequestError(ErrorCode.NOT_FOUND, "this server has no subscriptions")
        root_url = exchange.origin + exchange.root_path + self._prefix.rstrip("/")
        return await answer_control(self._subscriptions(), exchange, raw, root_url)

    def _path(self, raw_path: str, root_path: str) -> str:
        local = raw_path.removeprefix(root_path) if root_path else raw_path
        if not local.startswith(self._prefix):
            raise RequestError(ErrorCode.NOT_FOUND, f"streams are at {self._prefix}<path>")
        return stream_path(local[len(self._prefix) :])

    async def _creation(self, log: Log, path: str, exchange: Exchange) -> Create:
        body, request = await exchange.body(), parse_fork(exchange.headers)
        if request is None:
            return parse_create(path, exchange.headers, body)
        source_path = self._path(request.source, exchange.root_path)
        source = await log.stat(source_path)
        if source is None:
            raise StreamNotFoundError(source_path)
        create = parse_create(path, exchange.headers, body, source.content_type)
        if source.deleted:  # refused by the log, unless it is the same request again
            return replace(create, fork=Fork(source_path, request.position))
        return replace(create, fork=await resolve_fork(log, source, request))

    async def _stat(self, log: Log, path: str) -> Answer:
        stream = await log.stat(path)
        if stream is None:
            raise StreamNotFoundError(path)
        if stream.deleted:
            raise StreamGoneError(path)
        return render.of_stat(stream)

    # ------------------------------------------------------------------ appends the short way

    def _append_path(self, target: bytes) -> str | None:
        """See `AppendSurface.append_path`."""
        if "POST" not in self._methods or b"?" in target:
            return None
        try:
            return self._path(target.decode("latin-1"), "")
        except (RequestError, InvalidPathError):
            return None

    def append(
        self, path: str, headers: Headers, body: bytes, reply: Callable[[Answer], None]
    ) -> None:
        """See `AppendSurface.append`."""

        def settle(result: tuple[Outcome, ...] | LogError | RequestError) -> None:
            if isinstance(result, tuple):
                answer = render.of_outcome(result[0], "")
            else:
                answer = _of_error(result, "POST", path)
            self.responses[answer.status // 100] += 1
            reply(answer)

        try:
            operation = parse_append(path, headers, body)
            self._open_log().submit((operation,), settle)
        except (RequestError, LogError) as error:
            settle(error)

    # ------------------------------------------------------------------ reading

    async def _read(self, log: Log, path: str, exchange: Exchange) -> Answer | None:
        request = parse_read(exchange.query, exchange.headers)
        start = EARLIEST if request.position is None else request.position
        async with log.reader(path, start) as reader:
            if request.position is None:
                reader.position = reader.stream.tail
            reader.mode = request.live or "catch-up"
            log.touch(reader.stream)
            match request.live:
                case None if request.position is None:
                    return render.of_now(await reader.read())
                case None:
                    chunk = await reader.read()
                    return self._chunk(chunk, request, cursor=None)
                case Live.LONG_POLL:
                    return await self._long_poll(reader, request, exchange)
                case Live.SSE:
                    await send_events(reader, exchange, request.cursor, self._clock)
                case Live.RAW:
                    head = render.of_raw(reader.stream, reader.position)
                    await exchange.start(head.status, head.all_headers(length=False))
                    await send_raw(reader, exchange)
        return None

    async def _long_poll(
        self, reader: Reader, request: ReadRequest, exchange: Exchange
    ) -> Answer | None:
        async with exchange.watching(reader):
            chunk = await reader.next(self.limits.long_poll)
        cursor = next_cursor(request.cursor, self._clock(), random.random())  # noqa: S311 - spreads load
        if not chunk.data:
            return render.of_quiet_poll(chunk, cursor)
        return self._chunk(chunk, request, cursor)

    def _chunk(self, chunk: Chunk, request: ReadRequest, cursor: str | None) -> Answer:
        return render.of_chunk(
            chunk,
            if_none_match=request.if_none_match,
            cursor=cursor,
            replaceable=self._replaceable,
        )


def _of_error(error: RequestError | InvalidPathError | LogError, method: str, path: str) -> Answer:
    if isinstance(error, RequestError):
        return refusal(error.code, error.message)
    if isinstance(error, InvalidPathError):
        return refusal(ErrorCode.BAD_REQUEST, str(error))
    if isinstance(error, StorageError):
        # One line and no traceback: a full disk would fill the log as well.
        logger.error("%s %s: %s", method, path, error)
    return render.of_error(error)
