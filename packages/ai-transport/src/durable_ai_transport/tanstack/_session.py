"""A chat session as one stream: the other side of ``@durable-streams/tanstack-ai-transport``.

Clients post their message to a route and read the session's stream through another one:

    POST /api/chat?id=c1           to_durable_chat_session_response    202, the stream goes on
    GET  /api/chat-stream?id=c1    read_proxy                          the stream, as it grows

The stream holds the events of all messages, the user's too, so every client that reads it shows the
same session.
"""

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from durable_ai_transport._encode import encoded
from durable_ai_transport._errors import public_text
from durable_ai_transport._response import (
    Mode,
    OnError,
    StreamTarget,
    Writing,
    check_source,
    open_stream,
)
from durable_ai_transport._response import stream_response as _stream_response
from durable_ai_transport.tanstack._chunks import Chunk, ChunkLike, wire
from durable_ai_transport.tanstack._messages import UIMessage, mapping, text_of
from durable_ai_transport.tanstack._processor import StreamProcessor
from durable_transport import DurableStream
from durable_transport.protocol import BEGINNING

_ROLES = ("assistant", "system", "tool")
_NO_STORE = {"Cache-Control": "no-store"}


def sanitize_chunk(chunk: ChunkLike) -> Chunk:
    """The chunk as it is stored: without the text so far, which is in the chunks before it.

    Raises:
        ChunkError: it is no chunk.
    """
    raw = wire(chunk)
    if raw["type"] == "TEXT_MESSAGE_CONTENT":
        raw.pop("content", None)
    return raw


def message_echo(message: Mapping[str, Any], *, now: float | None = None) -> list[Chunk]:
    """The events that show a client's message to everybody who reads the session.

    Args:
        message: With ``id``, ``role`` and ``parts``, of which the text is taken; or AG-UI's form,
            with ``content``.
        now: Epoch seconds; the present when absent.
    """
    role = message.get("role")
    common = {
        "messageId": text_of(message.get("id")) or str(uuid4()),
        "model": "client",
        "timestamp": int((time.time() if now is None else now) * 1000),
    }
    text = _text(message)
    start = {"type": "TEXT_MESSAGE_START", "role": role if role in _ROLES else "user", **common}
    content = {"type": "TEXT_MESSAGE_CONTENT", "delta": text, **common}
    return [start, *([content] if text else []), {"type": "TEXT_MESSAGE_END", **common}]


async def ensure_stream(target: StreamTarget) -> None:
    """Make the session's stream, if it is not there.

    Raises:
        StreamExists: there is a stream of something else than JSON.
        StreamError: the server refuses, or cannot be reached.
    """
    stream = await open_stream(target)
    await stream.aclose()


async def to_durable_chat_session_response(
    response_stream: AsyncIterable[ChunkLike],
    target: StreamTarget,
    *,
    new_messages: Iterable[Mapping[str, Any]],
    mode: Mode = "immediate",
    on_error: OnError = public_text,
) -> Response:
    """Put the client's messages into the session's stream, and the answer behind them.

    The answer is written in the background and goes on when the client has left. One that fails
    ends in a ``RUN_ERROR``. The stream stays open for what comes next.

    Args:
        response_stream: The answer's chunks, or events of ``ag_ui.core``.
        target: The session's stream.
        new_messages: What the client has said: usually the last message of its request.
        mode: ``immediate``: 202 once the messages are stored. ``await``: 200 once the answer is.
        on_error: Makes the text that readers get when the answer fails.

    Raises:
        TypeError: ``response_stream`` is no asynchronous iterable.
        StreamError: the messages cannot be stored; with ``await`` also, the answer could not be.
    """
    check_source(response_stream)
    echo = [encoded(chunk) for message in new_messages for chunk in message_echo(message)]
    stream = await open_stream(target)
    try:
        if echo:
            await stream.extend(echo)
    except BaseException:
        await stream.aclose()
        raise
    writing = Writing(
        stream, _sanitized(response_stream), error_chunks=run_error, on_error=on_error, close=False
    )
    if mode == "await":
        await writing.wait()
        return Response(status_code=200, headers=_NO_STORE)
    return Response(status_code=202, headers=_NO_STORE)


async def to_durable_stream_response(
    source: AsyncIterable[ChunkLike],
    target: StreamTarget,
    *,
    mode: Mode = "immediate",
    on_error: OnError = public_text,
    expose_location: bool = True,
) -> Response:
    """Write one answer into a stream of its own, and tell the client where that is.

    Args:
        source: The chunks, or events of ``ag_ui.core``.
        target: The stream; it is closed behind the answer.
        mode: ``immediate``: 201 as soon as the stream is there. ``await``: 200 with
            ``finalOffset`` when it is complete.
        on_error: Makes the text that readers get when the answer fails.
        expose_location: Let pages of other origins read the header ``Location``.

    Raises:
        TypeError: the source is no asynchronous iterable.
        StreamError: the stream cannot be made; with ``await`` also, it could not be written.
    """
    check_source(source)
    return await _stream_response(
        _wired(source),
        target,
        error_chunks=run_error,
        on_error=on_error,
        mode=mode,
        expose_location=expose_location,
    )


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A session as a page shows it first.

    Attributes:
        messages: The messages up to ``offset``.
        offset: Where a reader goes on (``initialOffset`` of ``durableStreamConnection``).
    """

    messages: list[UIMessage]
    offset: str


async def materialize_snapshot(target: StreamTarget, *, offset: str = BEGINNING) -> SessionSnapshot:
    """Read a session's stream up to its present end, and make messages of it.

    Args:
        target: The session's stream.
        offset: Where to begin.

    Raises:
        StreamNotFound: there is no such stream.
        StreamError: it cannot be read.
    """
    async with DurableStream(
        target.write_url, headers=target.headers, client=target.client, timing=target.timing
    ) as stream:
        snapshot = await stream.read_json(offset)
    moment = [0.0]
    # Times come out of the stream, so that every reader shows the same.
    processor = StreamProcessor(clock=lambda: moment[0])
    for chunk in snapshot.data:
        said = mapping(chunk).get("timestamp")
        if isinstance(said, int | float):
            moment[0] = said / 1000
        processor.process(mapping(chunk))
    return SessionSnapshot(processor.messages, snapshot.offset)


def run_error(text: str) -> list[Chunk]:
    """The end of an answer that failed."""
    return [{"type": "RUN_ERROR", "message": text, "timestamp": int(time.time() * 1000)}]


def _text(message: Mapping[str, Any]) -> str:
    parts, content = message.get("parts"), message.get("content")
    if not isinstance(parts, list):
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [mapping(part) for part in parts if mapping(part).get("type") == "text"]
    return "".join(text_of(part.get("content")) or text_of(part.get("text")) for part in texts)


async def _sanitized(source: AsyncIterable[ChunkLike]) -> AsyncIterator[Chunk]:
    async for chunk in source:
        yield sanitize_chunk(chunk)


async def _wired(source: AsyncIterable[ChunkLike]) -> AsyncIterator[Chunk]:
    async for chunk in source:
        yield wire(chunk)
