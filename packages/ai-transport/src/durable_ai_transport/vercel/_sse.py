"""A UI message stream as server-sent events. Pure.

Each chunk is one event of data; the end is ``data: [DONE]``.
"""

from collections.abc import Mapping
from typing import Any, Final

from durable_ai_transport._encode import encoded
from durable_ai_transport.vercel._chunks import Chunk, parse_chunk
from durable_ai_transport.vercel._errors import InvalidChunk
from durable_ai_transport.vercel._json import UNDEFINED, parse
from durable_transport.sse import EventDecoder

UI_MESSAGE_STREAM_HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-vercel-ai-ui-message-stream": "v1",
    "x-accel-buffering": "no",
}
DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"


def encode_event(chunk: Chunk | Mapping[str, Any]) -> bytes:
    """One chunk as an event.

    Raises:
        TypeError: it holds what is no JSON.
        ValueError: likewise, such as NaN.
    """
    fields = chunk.to_json() if isinstance(chunk, Chunk) else chunk
    return b"data: " + encoded(fields) + b"\n\n"


class UIMessageStreamDecoder:
    """Turns the bytes of a UI message stream into chunks, wherever they are cut.

    Attributes:
        done: There was ``[DONE]``.
    """

    def __init__(self) -> None:
        self._events = EventDecoder()
        self.done = False

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that these bytes complete.

        Raises:
            InvalidChunk: what comes is no UI message stream.
        """
        try:
            events = self._events.feed(data)
        except ValueError as error:
            raise InvalidChunk(str(error)) from error
        return [chunk for event in events for chunk in self._chunks(event.data)]

    def _chunks(self, data: bytes) -> list[Chunk]:
        if data == b"[DONE]":
            self.done = True
            return []
        text = data.decode("utf-8", "replace")
        value = parse(text)
        if value is UNDEFINED:
            raise InvalidChunk("no JSON", text)
        return [parse_chunk(value)]
