"""The answering half: an answer as a durable stream, or as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from durable_ai_transport._errors import public_text
from durable_ai_transport._response import (
    Mode,
    OnError,
    StreamTarget,
    check_source,
    stream_response,
)
from durable_ai_transport.vercel._source import chunks_of, error_chunks
from durable_ai_transport.vercel._sse import (
    DONE,
    KEEP_ALIVE,
    UI_MESSAGE_STREAM_HEADERS,
    encode_event,
)

SILENCE: Final = 15.0
"""Seconds of silence after which a comment is sent, for proxies that end silent connections."""

_log = logging.getLogger("durable_ai_transport")


async def to_durable_stream_response(
    source: AsyncIterable[Any],
    *,
    stream: StreamTarget | str,
    mode: Mode = "immediate",
    on_error: OnError = public_text,
    expose_location: bool = True,
) -> Response:
    """Write an answer into a durable stream, and tell the client where that is.

    The answer is written by a task of its own, whatever becomes of the request; see `drain` for
    what happens when the process ends. An answer that fails ends with an error chunk. To have
    answers found again by chat, and ended when their process dies, use `DurableChats`.

    Args:
        source: Chunks, in any form that `chunks_of` takes.
        stream: Where to write it, and where clients read it; a URL alone serves for both.
        mode: ``immediate``: 201 with ``Location`` and ``{"streamUrl"}`` as soon as the stream is
            there. ``await``: 200 with ``finalOffset`` as well, when the answer is complete.
        on_error: What readers are told when the source fails. Its exception may hold internal
            text, so by default that is only "An error occurred."
        expose_location: Let pages of other origins read the header ``Location``.

    Raises:
        TypeError: the source is no asynchronous iterable.
        StreamError: the stream cannot be made; with ``await`` also, it could not be written.
    """
    check_source(source)
    return await stream_response(
        chunks_of(source),
        StreamTarget(write_url=stream) if isinstance(stream, str) else stream,
        error_chunks=error_chunks,
        on_error=on_error,
        mode=mode,
        expose_location=expose_location,
    )


def to_ui_message_stream_response(
    source: AsyncIterable[Any],
    *,
    on_error: OnError = public_text,
    headers: Mapping[str, str] | None = None,
    keep_alive: float = SILENCE,
) -> Response:
    """Answer with the UI message stream itself, for clients that come through a durable proxy.

    Args:
        source: As for `to_durable_stream_response`.
        on_error: Likewise.
        headers: More headers of the answer.
        keep_alive: Seconds of silence after which a comment is sent, which clients skip.

    Raises:
        TypeError: the source is no asynchronous iterable.
        ValueError: ``keep_alive`` is not positive.
    """
    check_source(source)
    if not keep_alive > 0:
        raise ValueError(f"keep_alive={keep_alive!r}: give a number of seconds above 0")
    answer = _EventStream(_events(chunks_of(source), on_error), keep_alive)
    answer.headers.update({**UI_MESSAGE_STREAM_HEADERS, **(headers or {})})
    return answer


class _EventStream(StreamingResponse):
    """Events as they come, and comments while there are none.

    The comments are sent by a task of their own, and the source is neither interrupted for them
    nor read by different tasks: the cancel scopes of agents do not survive that.
    """

    def __init__(self, events: AsyncGenerator[bytes], keep_alive: float) -> None:
        super().__init__(events)
        self._events = events
        self._keep_alive = keep_alive

    async def stream_response(self, send: Send) -> None:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        said = asyncio.Event()
        comments = asyncio.create_task(self._comment(said, send))
        try:
            async with aclosing(self._events):
                async for event in self._events:
                    said.set()
                    await _send_part(send, event)
        finally:
            comments.cancel()
            await asyncio.wait({comments})
        await _send_part(send, b"", more=False)

    async def _comment(self, said: asyncio.Event, send: Send) -> None:
        with suppress(OSError):  # the client has left; the next event finds that out as well
            while True:
                said.clear()
                try:
                    async with asyncio.timeout(self._keep_alive):
                        await said.wait()
                except TimeoutError:
                    await _send_part(send, KEEP_ALIVE)


async def _send_part(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def _events(chunks: AsyncIterator[Any], on_error: OnError) -> AsyncGenerator[bytes]:
    try:
        async for chunk in chunks:
            yield encode_event(chunk)
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as failure:  # noqa: BLE001  (whoever reads is told)
        _log.error("an answer failed: %s", failure, exc_info=failure)
        for chunk in error_chunks(_text(failure, on_error)):
            yield encode_event(chunk)
    yield DONE


def _text(failure: Exception, on_error: OnError) -> str:
    try:
        return on_error(failure)
    except Exception:  # noqa: BLE001  (whoever reads has to be told in any case)
        _log.exception("on_error= failed, so readers get the usual text")
        return public_text(failure)
