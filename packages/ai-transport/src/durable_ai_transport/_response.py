"""An answer's chunks on their way into a stream, and the response that tells where they are.

The request that asked for an answer does not wait for it: a task of its own takes chunk after chunk
from the source and appends it, and goes on when the client has left. An answer that does not come
to its end has an error chunk as its last one, so that nothing that ended badly looks like success:

    what happens                           what the stream gets
    the source ends                        closed
    the source raises, or gives no JSON    the chunks so far, an error chunk, closed
    the process shuts down (`drain`)       likewise
    the log refuses a chunk                an error chunk and closed, if it takes those
    somebody else closes the stream        nothing more; the source is left
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Literal
from uuid import uuid4

import httpx2
from starlette.responses import JSONResponse, Response

from durable_ai_transport._encode import encoded
from durable_ai_transport._errors import AnswerInterrupted, public_text
from durable_transport import (
    DurableStream,
    IdempotentProducer,
    StreamClosed,
    StreamError,
    StreamExists,
    Timing,
)

Headers = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
"""``headers=``: a mapping, or a (possibly async) function that is called for every request."""

Mode = Literal["immediate", "await"]
ErrorChunks = Callable[[str], Iterable[Any]]
"""The chunks that tell readers, in the SDK's own form, that an answer failed, and why."""
OnError = Callable[[Exception], str]
"""What readers are told about a failure, whose own text may be internal."""

JSON = "application/json"
BACKLOG = 256 << 10
"""Bytes that may wait to be stored before the source is asked for more."""
LAST_WORDS_SECONDS = 5.0
"""How long it may take to tell the readers of an answer that it failed."""

_log = logging.getLogger("durable_ai_transport")
_running: set["Writing"] = set()
"""Holds the tasks: the event loop itself does not, and they would be collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTarget:
    """A stream to write an answer into.

    Attributes:
        write_url: Its address, for us.
        read_url: Its address for clients, such as a route of your application that passes reads
            on; may be relative to the request's own. ``write_url`` when absent.
        headers: For our requests, such as credentials: a mapping, or a function (``async`` too)
            that is called for every request.
        create: Make the stream if it is not there.
        ttl: Seconds that a stream made here lives without being read or written.
        client: Sends our requests, and is yours to close. One is made for each answer when absent.
        timing: Time settings of our requests.
    """

    write_url: str
    read_url: str | None = None
    headers: Headers = None
    create: bool = True
    ttl: float | timedelta | None = None
    client: httpx2.AsyncClient | None = None
    timing: Timing | None = None

    @property
    def location(self) -> str:
        """Where clients read it."""
        return self.read_url or self.write_url

    def stream(self) -> DurableStream:
        """A handle of the stream; nothing is asked yet.

        Raises:
            InvalidStreamURL: ``write_url`` cannot be one.
        """
        return DurableStream(
            self.write_url,
            headers=self.headers,
            client=self.client,
            content_type=JSON,
            timing=self.timing,
        )


async def open_stream(target: StreamTarget) -> DurableStream:
    """The stream, made if need be, ready to be written to; the caller's to `aclose`.

    Raises:
        StreamExists: there is a stream of something else than JSON.
        StreamClosed: it is closed, so nothing can be appended.
        StreamError: the server refuses, or cannot be reached.
    """
    stream = target.stream()
    try:
        if target.create:
            await _create(stream, target)
        else:
            await _look(stream)
    except BaseException:
        await stream.aclose()
        raise
    # The log was there a moment ago: one that is away now, for a restart, is worth waiting for.
    timing = stream.requests.timing
    stream.requests.timing = replace(timing, start_patience=timing.give_up_after)
    return stream


async def _create(stream: DurableStream, target: StreamTarget) -> None:
    try:
        await stream.create(content_type=JSON, ttl=target.ttl)
    except StreamExists:
        # With another lifetime it will do as well.
        await _look(stream)


async def _look(stream: DurableStream) -> None:
    info = await stream.head()
    if (info.content_type or "").partition(";")[0].strip().lower() != JSON:
        detail = f"it holds {info.content_type}; chunks are written to a stream of {JSON}"
        raise StreamExists(stream.url, detail)
    if info.closed:
        raise StreamClosed(stream.url, "take a new stream for a new answer", offset=info.offset)


class Writing:
    """An answer that is being written into a stream, in a task of its own.

    Args:
        stream: Open, of JSON messages; it is closed (`DurableStream.aclose`) with the writing.
        source: The chunks: values of JSON. Left as soon as nothing can be written any more.
        error_chunks: Makes the last chunks of an answer that failed.
        on_error: Makes their text.
        close: Close the stream at the end; False for one that more answers follow in.
        during: Entered before the first chunk and left after the last one.
        after_failure: Called when the readers were told of a failure.
    """

    def __init__(
        self,
        stream: DurableStream,
        source: AsyncIterable[Any],
        *,
        error_chunks: ErrorChunks,
        on_error: OnError = public_text,
        close: bool = True,
        during: AbstractAsyncContextManager[object] | None = None,
        after_failure: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._stream = stream
        self._source = source
        self._error_chunks = error_chunks
        self._on_error = on_error
        self._close = close
        self._during = during or nullcontext()
        self._after_failure = after_failure
        self._interruption = AnswerInterrupted()
        self._started = self._interrupted = False
        self._offset: str | None = None
        self._failure: Exception | None = None
        _running.add(self)
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: _running.discard(self))

    @property
    def url(self) -> str:
        """The stream's address."""
        return self._stream.url

    async def wait(self) -> str | None:
        """Wait for the end; cancelling the wait does not end the writing.

        Returns:
            The end of the stream, None when the server does not say it.

        Raises:
            Exception: what the source raised.
            StreamError: the log did not take all of it.
            AnswerInterrupted: it was ended before its time.
        """
        await asyncio.wait({self._task})
        if self._failure is not None:
            raise self._failure
        return self._offset

    def on_end(self, call: Callable[[], object]) -> None:
        """Call this when it has ended, however."""
        self._task.add_done_callback(lambda _: call())

    def interrupt(self, why: str | None = None) -> None:
        """End it early: the source is left, and readers get an error chunk.

        Args:
            why: What readers are told.
        """
        if why is not None:
            self._interruption = AnswerInterrupted(why)
        self._interrupted = True
        if self._started:  # a task that is cancelled before its first step does nothing at all
            self._task.cancel()

    # ------------------------------------------------------------------ the task

    async def _run(self) -> None:
        self._started = True
        try:
            async with self._during:
                await self._write()
        except asyncio.CancelledError:  # before the first chunk, or for a second time
            self._failure = self._failure or self._interruption
        except Exception as error:  # noqa: BLE001  (whoever waits is told)
            self._failure = self._failure or error
        finally:
            await self._stream.aclose()
        self._report()

    async def _write(self) -> None:
        # An id of its own: nobody else has ever written under it, so each chunk is stored once.
        producer = IdempotentProducer(self._stream, f"writer-{uuid4().hex}")
        try:
            if self._interrupted:
                self._task.cancel()
            await self._pump(producer)
        except asyncio.CancelledError:
            _uncancelled()
            self._failure = self._interruption
        except Exception as error:  # noqa: BLE001  (goes to the readers, and to whoever waits)
            self._failure = error
        if self._failure is not None:
            await self._end_badly(producer, self._failure)
        self._offset = producer.offset or self._offset

    async def _pump(self, producer: IdempotentProducer) -> None:
        waiting = 0
        iterator = aiter(self._source)
        try:
            async for chunk in iterator:
                data = encoded(chunk)
                producer.append(data)
                waiting += len(data)
                if waiting >= BACKLOG:
                    await producer.flush()
                    waiting = 0
        finally:
            await _leave(iterator)
        if self._close:
            self._offset = (await producer.close()).offset
        else:
            await producer.aclose()

    async def _end_badly(self, producer: IdempotentProducer, failure: Exception) -> None:
        """Tell the readers, as the last thing in the stream."""
        if isinstance(failure, StreamClosed):
            return  # somebody has ended the answer, and told the readers how
        try:
            last = [encoded(chunk) for chunk in self._error_chunks(self._text(failure))]
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                if isinstance(failure, StreamError):
                    await self._end_past(last)
                else:
                    await self._end_with(producer, last)
        except StreamClosed:
            return  # likewise, meanwhile
        except (StreamError, TimeoutError) as error:
            _log.error("the readers of %r could not be told of it: %s", self._stream, error)
        if self._after_failure is not None:
            await self._after_failure()

    def _text(self, failure: Exception) -> str:
        try:
            return self._on_error(failure)
        except Exception:  # noqa: BLE001  (the readers have to be told in any case)
            _log.exception("on_error= failed, so readers get the usual text")
            return public_text(failure)

    async def _end_with(self, producer: IdempotentProducer, last: list[bytes]) -> None:
        for chunk in last:
            producer.append(chunk)
        await (producer.close() if self._close else producer.aclose())

    async def _end_past(self, last: list[bytes]) -> None:
        """Without the producer, which takes nothing more after a refusal."""
        if last:
            await self._stream.extend(last)
        if self._close:
            await self._stream.close()

    def _report(self) -> None:
        match self._failure:
            case None:
                pass
            case StreamClosed() | AnswerInterrupted():
                _log.warning("the answer in %r was ended: %s", self._stream, self._failure)
            case _:
                _log.error(
                    "the answer in %r failed: %s",
                    self._stream,
                    self._failure,
                    exc_info=self._failure,
                )


def _uncancelled() -> None:
    """What follows may wait again, although the task was cancelled."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _leave(iterator: object) -> None:
    """Close a generator that was not read to its end, now and not when it is collected."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()


async def drain(seconds: float = 10.0) -> None:
    """Wait for the answers that this event loop is writing, on shutdown.

    What is not complete after that is ended: its readers get an error chunk. Call it in the
    lifespan of your application, after ``yield``. Without it the same happens at once when the
    loop ends.

    Args:
        seconds: How long to wait.
    """
    loop = asyncio.get_running_loop()
    mine = [one for one in _running if one._task.get_loop() is loop]  # noqa: SLF001
    tasks = [one._task for one in mine]  # noqa: SLF001
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for one in mine:
        one.interrupt()
    if tasks:
        await asyncio.wait(tasks)


async def stream_response(
    source: AsyncIterable[Any],
    target: StreamTarget,
    *,
    error_chunks: ErrorChunks,
    on_error: OnError = public_text,
    mode: Mode = "immediate",
    expose_location: bool = True,
    during: AbstractAsyncContextManager[object] | None = None,
) -> Response:
    """Write a source into a stream, and tell the client where that is.

    Args:
        source: The chunks: values of JSON.
        target: The stream.
        error_chunks: Makes the last chunks of an answer that failed.
        on_error: Makes their text.
        mode: ``immediate``: 201 as soon as the stream is there. ``await``: 200 with
            ``finalOffset`` when it is complete.
        expose_location: Let pages of other origins read the header ``Location``.
        during: Entered before the first chunk and left after the last one.

    Raises:
        TypeError: the source is no asynchronous iterable.
        StreamError: the stream cannot be made; with ``await`` also, it could not be written.
    """
    check_source(source)
    stream = await open_stream(target)
    writing = Writing(stream, source, error_chunks=error_chunks, on_error=on_error, during=during)
    if mode == "await":
        return located(target.location, expose=expose_location, finalOffset=await writing.wait())
    return located(target.location, status=201, expose=expose_location)


def check_source(source: object) -> None:
    """Refuse what cannot be read chunk by chunk while the event loop goes on.

    Raises:
        TypeError: it is no asynchronous iterable.
    """
    if not isinstance(source, AsyncIterable):
        raise TypeError(
            f"the source is {type(source).__name__}, not an asynchronous iterable: give an async "
            f"generator of chunks, called (agent_stream(), not agent_stream)"
        )


async def evaluated(headers: Headers) -> dict[str, str]:
    """The headers to send now."""
    found = headers() if callable(headers) else headers
    if isawaitable(found):
        found = await found
    return dict(found or {})


def located(url: str, *, status: int = 200, expose: bool = True, **fields: Any) -> Response:
    """The answer that names a stream: ``Location``, and ``streamUrl`` in its body."""
    headers = {"Location": url, "Cache-Control": "no-store"}
    if expose:
        headers["Access-Control-Expose-Headers"] = "Location"
    return JSONResponse({"streamUrl": url, **fields}, status, headers)
