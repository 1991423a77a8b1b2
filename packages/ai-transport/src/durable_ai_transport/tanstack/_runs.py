"""A run that can be joined: server-sent events out of a stream, with ``id:`` = offset.

The other side of ``fetchServerSentEvents`` of ``@tanstack/ai-client``. What it sends, and what it
is answered:

    POST, X-Run-Id: r1                       the agent runs once, into the stream of r1; its events
    POST, X-Run-Id: r1, Last-Event-ID: o     the connection broke: exactly the rest
    GET ?runId=r1&offset=-1  (``joinRun``)   another tab, or a reload: from the beginning, and on

It reconnects until it has seen ``RUN_FINISHED`` or ``RUN_ERROR`` and the end of the answer, and
takes an end without one for a run that broke: so no answer here ends without one.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Final

from ag_ui.core import RunAgentInput
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from durable_ai_transport._errors import public_text
from durable_ai_transport._response import OnError, StreamTarget, Writing, check_source
from durable_ai_transport.tanstack._chunks import TERMINAL, Chunk, ChunkLike, encode
from durable_ai_transport.tanstack._errors import ChunkError
from durable_ai_transport.tanstack._messages import mapping
from durable_ai_transport.tanstack._session import run_error, sanitize_chunk
from durable_transport import (
    Batch,
    DurableStream,
    InvalidOffset,
    StreamError,
    StreamGone,
    StreamNotFound,
    StreamReader,
)
from durable_transport.protocol import BEGINNING

Answer = Callable[[RunAgentInput], AsyncIterable[ChunkLike]]
"""Runs the agent: the chunks of its answer."""

KEEP_ALIVE: Final = 15.0
"""Seconds of silence after which a comment is sent, for proxies that end silent connections."""
IDLE: Final = 300.0
"""Seconds of silence after which whoever writes the run is taken for dead."""
_RUN_ID: Final = re.compile(r"[\w:~-][\w.:~-]{0,199}", re.ASCII)
_HEADERS: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
_log = logging.getLogger("durable_ai_transport")


async def to_resumable_run_response(
    request: Request,
    answer: Answer,
    target: Callable[[str], StreamTarget],
    *,
    on_error: OnError = public_text,
    idle: float = IDLE,
    keep_alive: float = KEEP_ALIVE,
) -> Response:
    """Answer a request of ``fetchServerSentEvents``: start its run, resume it, or join it.

    Mount it for GET and POST under one path. Whoever knows the id of a run can read it: let
    ``target`` put what belongs to a user into a place of that user's.

    Args:
        request: The request as it came.
        answer: Runs the agent. Called once for a run, however often the client asks; a run goes
            on when the client has left.
        target: The stream of a run, given its id, which can be part of a path.
        on_error: Makes the text that the reader gets when the run fails.
        idle: Seconds of silence after which a reader is told that the run is lost.
        keep_alive: Seconds of silence after which a comment is sent.

    Returns:
        200 with server-sent events; 400 or 404 with ``{"error": ...}``.

    Raises:
        TypeError: what ``answer`` gives is no asynchronous iterable.
        StreamError: the stream cannot be made or read.
    """
    try:
        run_id, after, run = await _read_request(request)
    except _RequestError as error:
        return _refused(HTTPStatus.BAD_REQUEST, str(error))
    place = target(run_id)
    if run is not None:
        await _start(run, answer, place, on_error)
    return await _follow(place, after, idle=idle, keep_alive=keep_alive)


async def join_run_response(
    target: StreamTarget,
    *,
    after: str = BEGINNING,
    idle: float = IDLE,
    keep_alive: float = KEEP_ALIVE,
) -> Response:
    """Answer with a run's events behind an offset (``Last-Event-ID``), and as they come.

    Args:
        target: The run's stream.
        after: The offset; the beginning when absent.
        idle: Seconds of silence after which the reader is told that the run is lost.
        keep_alive: Seconds of silence after which a comment is sent.

    Returns:
        200 with server-sent events; 400 or 404 with ``{"error": ...}``.

    Raises:
        StreamError: the stream cannot be read.
    """
    return await _follow(target, after, idle=idle, keep_alive=keep_alive)


# ---------------------------------------------------------------------- the request


class _RequestError(ValueError):
    """Not what a chat client sends; the text says what is missing."""


async def _read_request(request: Request) -> tuple[str, str, RunAgentInput | None]:
    """The run's id, where to read it from, and what the agent is asked if it is to start."""
    after = request.headers.get("last-event-id") or request.query_params.get("offset")
    run_id = request.headers.get("x-run-id") or request.query_params.get("runId")
    run = None
    if request.method == "POST" and not after:
        run = _parse(await request.body())
        run_id = run_id or run.run_id
    if not after and run is None:
        raise _RequestError("say where to read from: a Last-Event-ID header, or ?offset=-1")
    if not run_id:
        raise _RequestError("say which run: an X-Run-Id header, or ?runId=")
    if not _RUN_ID.fullmatch(run_id):
        raise _RequestError("a run id is up to 200 letters, digits and . _ : ~ - (no . in front)")
    return run_id, after or BEGINNING, run


def _parse(body: bytes) -> RunAgentInput:
    try:
        return RunAgentInput.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(one) for one in first["loc"])
        said = f"{place}: {first['msg']}" if place else first["msg"]
        raise _RequestError(f"not the body of a chat client (RunAgentInput): {said}") from error


def _refused(status: HTTPStatus, said: str) -> Response:
    return JSONResponse({"error": said}, status, {"Cache-Control": "no-store"})


# ---------------------------------------------------------------------- the run


async def _start(
    run: RunAgentInput, answer: Answer, target: StreamTarget, on_error: OnError
) -> None:
    """Run the agent, unless this run has been started before."""
    stream = target.stream()
    try:
        made = await stream.create(ttl=target.ttl)
        if not made.created:
            await stream.aclose()
            return
        source = answer(run)
        check_source(source)
    except BaseException:
        await stream.aclose()
        raise
    Writing(stream, _ended(source, run), error_chunks=run_error, on_error=on_error)


async def _ended(source: AsyncIterable[ChunkLike], run: RunAgentInput) -> AsyncIterator[Chunk]:
    """The run's chunks; the last one says that it has ended."""
    last = None
    async for chunk in source:
        stored = sanitize_chunk(chunk)
        last = stored["type"]
        yield stored
    if last not in TERMINAL:
        yield {"type": "RUN_FINISHED", "threadId": run.thread_id, "runId": run.run_id}


# ---------------------------------------------------------------------- reading it


async def _follow(target: StreamTarget, after: str, *, idle: float, keep_alive: float) -> Response:
    stream = target.stream()
    reader = stream.follow_json(after)
    try:
        # The first batch before the answer's head: then it can still be a refusal.
        first = await _next_batch(reader)
    except (StreamNotFound, StreamGone):
        await stream.aclose()
        return _refused(HTTPStatus.NOT_FOUND, "there is no such run, or it is too long ago")
    except InvalidOffset:
        await stream.aclose()
        return _refused(HTTPStatus.BAD_REQUEST, f"not a place in this run: {after[:100]!r}")
    except BaseException:
        await stream.aclose()
        raise
    body = _Body(stream, reader, idle, keep_alive).events(first)
    return StreamingResponse(body, HTTPStatus.OK, _HEADERS, "text/event-stream")


async def _next_batch(reader: StreamReader[Any]) -> Batch[Any] | None:
    try:
        return await reader.next_batch()
    except StopAsyncIteration:
        return None


class _Body:
    """The body of one answer: events, comments while there are none, and an end that says so."""

    def __init__(
        self, stream: DurableStream, reader: StreamReader[Any], idle: float, keep_alive: float
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._idle = idle
        self._keep_alive = min(keep_alive, idle)
        self._last: str | None = None

    async def events(self, first: Batch[Any] | None) -> AsyncIterator[bytes]:
        try:
            batch = first
            while batch is not None:
                for chunk, offset in zip(batch.items, batch.offsets, strict=True):
                    self._last = mapping(chunk).get("type")
                    yield encode(chunk, id=offset)
                if batch.closed:
                    break
                silence = 0.0
                while (batch := await self._wait()) is _SILENT:
                    silence += self._keep_alive
                    if silence >= self._idle:
                        yield _told("The run is lost: nothing has come of it for too long.")
                        return
                    yield b": keep-alive\n\n"
            for chunk in await self._end():
                yield encode(chunk)
        except (StreamError, ChunkError) as error:
            _log.warning("a run cannot be read: %s", error)
            yield _told("The run cannot be read. Try again in a moment.")
        finally:
            await self._stream.aclose()

    async def _wait(self) -> Batch[Any] | None:
        # A reader that is interrupted loses nothing: it goes on at its offset.
        try:
            async with asyncio.timeout(self._keep_alive):
                return await _next_batch(self._reader)
        except TimeoutError:
            return _SILENT

    async def _end(self) -> list[Chunk]:
        """What is missing for the client to know that this is the end.

        A client that lost its connection behind the last event asks for what comes after it. It
        is told the end again, without an id, or it would take the silence for a failure.
        """
        if self._last in TERMINAL:
            return []
        if self._last is None:
            whole = (await self._stream.read_json()).data
            if whole and mapping(whole[-1]).get("type") in TERMINAL:
                return [whole[-1]]
        return run_error("The run was ended before it was complete.")


def _told(text: str) -> bytes:
    return b"".join(encode(chunk) for chunk in run_error(text))


_SILENT: Final[Batch[Any]] = Batch((), (), BEGINNING, up_to_date=True, closed=False)
"""Stands for: nothing came in time."""
