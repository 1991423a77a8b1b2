"""The Durable Streams HTTP surface as a plain ASGI application.

A request is parsed (`_request`), carried out (`_log`), rendered (`_answer`) and sent here. Plain
ASGI because a framework's route would cost several times what an append does.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

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
from durable_streams_server._log import Log
from durable_streams_server._model import Chunk, Create, Delete, Fork, Outcome
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
from durable_streams_server._sse import (
    HEARTBEAT,
    control_event,
    data_event,
    hold_back_partial_text,
    is_text,
)
from durable_streams_server._subscriptions import Subscriptions
from durable_transport.protocol import ErrorCode, format_offset

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
        self._raw_prefix = self._prefix.encode()
        self._raw_reserved = self._raw_prefix + f"{RESERVED}/".encode()
        self._replaceable = replaceable
        self.every_answer = render.CORS_HEADERS if cors else ()
        self._methods = render.READ_METHODS if read_only else render.METHODS
        self.limits = limits or Limits()
        self._clock = clock
        self.responses = [0] * 6

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
        if source.deleted:
            return Create(path, fork=Fork(source_path))  # refused by the log, which knows how
        create = parse_create(path, exchange.headers, body, source.content_type)
        return replace(create, fork=await resolve_fork(log, source, request))

    async def _stat(self, log: Log, path: str) -> Answer:
        stream = await log.stat(path)
        if stream is None:
            raise StreamNotFoundError(path)
        if stream.deleted:
            raise StreamGoneError(path)
        return render.of_stat(stream)

    # ------------------------------------------------------------------ appends the short way

    def has_append(self, target: bytes) -> bool:
        """See `AppendSurface.has_append`."""
        return (
            "POST" in self._methods
            and target.startswith(self._raw_prefix)
            and not target.startswith(self._raw_reserved)
            and b"?" not in target
        )

    def append(
        self, target: bytes, headers: Headers, body: bytes, reply: Callable[[Answer], None]
    ) -> None:
        """See `AppendSurface.append`."""

        def answer(it: Answer) -> None:
            self.responses[it.status // 100] += 1
            reply(it)

        def settle(result: tuple[Outcome, ...] | LogError) -> None:
            if isinstance(result, LogError):
                answer(_of_error(result, "POST", path))
            else:
                answer(render.of_outcome(result[0], ""))

        path = target.decode("latin-1")
        try:
            operation = parse_append(self._path(path, ""), headers, body)
            self._open_log().submit((operation,), settle)
        except (RequestError, InvalidPathError, LogError) as error:
            answer(_of_error(error, "POST", path))

    # ------------------------------------------------------------------ reading

    async def _read(self, log: Log, path: str, exchange: Exchange) -> Answer | None:
        request = parse_read(exchange.query, exchange.headers)
        async with log.reader(path, request.position or 0) as reader:
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
                    await self._send_events(reader, request, exchange)
                case Live.RAW:
                    await _start(exchange, render.of_raw(reader.stream, reader.position))
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

    async def _send_events(self, reader: Reader, request: ReadRequest, exchange: Exchange) -> None:
        """Server-sent events until the stream is closed or it is time to reconnect."""
        content_type = reader.stream.content_type
        await _start(exchange, render.of_event_stream(base64=not is_text(content_type)))
        cursor = next_cursor(request.cursor, self._clock(), random.random())  # noqa: S311
        deadline = time.monotonic() + self.limits.rotate
        held = b""
        async with exchange.watching(reader):
            # Whoever is up to date is told so at once; after that, silence is only kept alive.
            chunk = await reader.read()
            told = False
            while True:
                chunk, held = hold_back_partial_text(held, chunk)
                if chunk.data or chunk.closed or not told:
                    await exchange.send_part(_event(reader, chunk, cursor))
                    told = True
                else:
                    await exchange.send_part(HEARTBEAT)
                wait = min(self.limits.heartbeat, deadline - time.monotonic())
                if chunk.closed or reader.stopped or wait <= 0:
                    break
                chunk = await reader.next(wait)
                cursor = max(cursor, next_cursor(None, self._clock(), 0.0), key=int)
        await exchange.finish()


def _of_error(error: RequestError | InvalidPathError | LogError, method: str, path: str) -> Answer:
    if isinstance(error, RequestError):
        return refusal(error.code, error.message)
    if isinstance(error, InvalidPathError):
        return refusal(ErrorCode.BAD_REQUEST, str(error))
    if isinstance(error, StorageError):
        # One line and no traceback: a full disk would fill the log as well.
        logger.error("%s %s: %s", method, path, error)
    return render.of_error(error)


def _event(reader: Reader, chunk: Chunk, cursor: str) -> bytes:
    """Data (if there is any) and control event, encoded once for all readers at this position."""

    def encode() -> bytes:
        data = data_event(chunk.data, chunk.stream.content_type) if chunk.data else b""
        return data + control_event(
            next_offset=format_offset(chunk.end),
            cursor=cursor,
            up_to_date=chunk.up_to_date,
            closed=chunk.closed,
        )

    key = (chunk.start, chunk.end, chunk.up_to_date, chunk.closed, cursor)
    return reader.shared_frame(key, encode)


async def _start(exchange: Exchange, head: Answer) -> None:
    await exchange.start(head.status, head.all_headers(length=False))


async def send_raw(reader: Reader, exchange: Exchange) -> None:
    """Send a stream's wire bytes, live and without framing, as the body of a started answer.

    The body ends when the stream is closed, after `Limits.raw_idle` seconds without a byte, when
    the answer has lived for `Limits.rotate` seconds, or when the log shuts down; the client finds
    out which by asking again. Bytes are on disk before they are sent.

    Args:
        reader: Entered, at the position of the first byte to send.
        exchange: Started: status and headers are the caller's.

    Raises:
        ClientGoneError: the client has left, or took nothing for `Limits.send` seconds.
        LogError: the stream cannot be read any further; the answer has not been ended.
    """
    limits, reader.mode = exchange.limits, Live.RAW
    deadline = time.monotonic() + limits.rotate
    async with exchange.watching(reader):
        while not reader.stopped:
            wait = min(limits.raw_idle, deadline - time.monotonic())
            chunk = await reader.next(max(wait, 0.0))
            if chunk.data:
                await exchange.send_part(chunk.data)
            if chunk.closed or not chunk.data:
                break
    await exchange.finish()
