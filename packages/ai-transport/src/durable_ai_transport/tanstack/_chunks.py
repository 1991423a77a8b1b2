"""Chunks: typed, as JSON, and as server-sent events. Pure.

A chunk is an AG-UI event, or one of the older chunks. On the wire it is a JSON object; `typed`
gives its model. Fields and types that a model does not know pass through.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final

from ag_ui.core import Event
from pydantic import BaseModel, Discriminator, TypeAdapter, ValidationError

from durable_ai_transport.tanstack._errors import ChunkError
from durable_ai_transport.tanstack._legacy import LEGACY, LegacyChunk
from durable_ai_transport.tanstack._messages import compact, mapping, text_of
from durable_transport.sse import EventDecoder

Chunk = dict[str, Any]
"""A chunk as it is on the wire."""
ChunkLike = BaseModel | Mapping[str, Any]
"""A chunk as it may be given: a model of ``ag_ui.core``, an older chunk's, or a JSON object."""

TERMINAL: Final = ("RUN_FINISHED", "RUN_ERROR")
"""With one of these a run (or one turn of it) ends."""
_DONE: Final = b"[DONE]"


def wire(chunk: ChunkLike) -> Chunk:
    """The chunk as JSON values, by the names it has on the wire.

    Raises:
        ChunkError: it is no JSON object with a ``type``.
    """
    if isinstance(chunk, BaseModel):
        return chunk.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not text_of(mapping(chunk).get("type")):
        raise ChunkError(f"not a chunk, which is an object with a type: {chunk!r:.200}")
    return dict(chunk)


def typed(chunk: ChunkLike) -> Event | LegacyChunk:
    """The chunk's model: a class of ``ag_ui.core``, or one of the older chunks.

    Raises:
        ChunkError: its type is unknown, or a field is not what the protocol says.
    """
    if isinstance(chunk, LegacyChunk):
        return chunk
    raw = wire(chunk)
    if isinstance(raw.get("usage"), Mapping) and raw["type"] in TERMINAL:
        raw["usage"] = [_usage(raw["usage"])]  # TanStack AI's own form of it
    try:
        found: Event | LegacyChunk = _adapter(raw["type"] in _LEGACY_TYPES).validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(one) for one in first["loc"]) or "type"
        raise ChunkError(f"chunk {raw['type']!r:.80}: {place}: {first['msg']}") from error
    return found


def encode(chunk: ChunkLike, *, id: str | None = None) -> bytes:  # noqa: A002  (the field's name)
    """The chunk as one server-sent event.

    Args:
        chunk: What to send.
        id: The event's id: where a reader that gives it back as ``Last-Event-ID`` goes on.

    Raises:
        ChunkError: it cannot be sent.
    """
    if id is not None and (id != id.strip() or not id.isprintable()):
        raise ChunkError(f"an id that no event can have: {id!r}")
    head = "" if id is None else f"id: {id}\n"
    try:
        return f"{head}data: {compact(wire(chunk))}\n\n".encode()
    except (TypeError, ValueError) as error:
        raise ChunkError(f"a chunk that JSON cannot hold: {error}") from error


@dataclass(frozen=True, slots=True)
class Received:
    """A chunk out of a body, and the byte position in the body behind its event."""

    chunk: Chunk
    position: int


class ChunkDecoder:
    """Turns the bytes of an answer into chunks, wherever they are cut.

    ``[DONE]``, with which some servers end, becomes a ``RUN_FINISHED``.

    Args:
        position: Where in the body the first byte is.
    """

    def __init__(self, position: int = 0) -> None:
        self._events = EventDecoder()
        self.position = position
        """Behind the last event that is complete."""
        self._fed = position
        self._ids = {"threadId": "", "runId": ""}

    @property
    def incomplete(self) -> bool:
        """The body was cut inside an event."""
        return self._fed > self.position

    def feed(self, data: bytes) -> list[Received]:
        """The chunks that these bytes complete.

        Raises:
            ChunkError: what was sent is no chunk.
        """
        received = []
        for line in data.splitlines(keepends=True):
            self._fed += len(line)
            found = self._events.feed(line)
            if found or not line.strip(b"\r\n"):
                self.position = self._fed
            received += [Received(self._read(event.data), self._fed) for event in found]
        return received

    def _read(self, data: bytes) -> Chunk:
        if data == _DONE:
            return {"type": "RUN_FINISHED", **self._ids, "finishReason": "stop"}
        try:
            chunk = wire(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise ChunkError(f"not a chunk, which is JSON: {data[:200]!r}") from error
        self._ids |= {key: chunk[key] for key in self._ids if isinstance(chunk.get(key), str)}
        return chunk


def decode(body: Iterable[bytes]) -> list[Chunk]:
    """All chunks of a whole body."""
    decoder = ChunkDecoder()
    return [one.chunk for data in body for one in decoder.feed(data)]


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    details = mapping(usage.get("promptTokensDetails"))
    counts = {
        "inputTokens": usage.get("promptTokens"),
        "outputTokens": usage.get("completionTokens"),
        "totalTokens": usage.get("totalTokens"),
        "cachedInputTokens": details.get("cachedTokens"),
    }
    return {key: value for key, value in counts.items() if value is not None}


_LEGACY_TYPES: Final = frozenset(kind.model_fields["type"].default for kind in LEGACY)


@cache
def _adapter(legacy: bool) -> TypeAdapter[Any]:  # noqa: FBT001  (the key of the cache)
    if not legacy:
        return TypeAdapter(Event)
    union: Any = LEGACY[0]
    for kind in LEGACY[1:]:
        union |= kind
    return TypeAdapter(Annotated[union, Discriminator("type")])
