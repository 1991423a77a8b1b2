"""What a chunk format has to be, and how a message's chunks find theirs. Pure.

A format is a name, a test of a chunk, and a reader. The reader belongs to one message: the first
chunk that a format recognizes decides for the message, and its reader gets that chunk and all
that follow, in the order of their ``seq``, and writes what they say to the message's `Draft`.
The session's own chunks never get to it.

    class Shout:
        def read(self, chunk, draft):
            draft.text(text(chunk, "shout").upper())

    SHOUT = ChunkFormat("shout", lambda chunk: "shout" in chunk, Shout)
    Materializer((*DEFAULT_FORMATS, SHOUT))
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from durable_ai_db.materialize._draft import Draft

Chunk: TypeAlias = Mapping[str, Any]


class ChunkError(ValueError):
    """A chunk lacks something, or has it in another type."""


class UnknownChunkError(ChunkError):
    """A chunk is of a type that its format does not know."""


class ChunkReader(Protocol):
    """Reads the chunks of one message."""

    def read(self, chunk: Chunk, draft: Draft) -> None:
        """Write to `draft` what `chunk` says.

        Raises:
            ChunkError: The chunk cannot be used; it is skipped, and the message tells of it.
        """


class ChunkFormat(NamedTuple):
    """A chunk format.

    Attributes:
        name: Shown as the message's `format`.
        recognizes: Whether a chunk, a JSON object, is one of the format's.
        reader: Makes the reader of a message.
    """

    name: str
    recognizes: Callable[[Chunk], bool]
    reader: Callable[[], ChunkReader]


Handler: TypeAlias = Callable[[Any, Chunk, Draft], None]


def by_type(handlers: Mapping[str, Handler], reader: object, chunk: Chunk, draft: Draft) -> None:
    """Call the handler of the chunk's ``type``, a method of `reader`."""
    handler = handlers.get(str(chunk.get("type")))
    if handler is None:
        raise UnknownChunkError(f"type {chunk.get('type')!r}")
    handler(reader, chunk, draft)


def ignore(_reader: object, _chunk: Chunk, _draft: Draft) -> None:
    """Handle a chunk that says nothing about the message."""


def recognized(formats: Iterable[ChunkFormat], chunk: Chunk) -> ChunkFormat | None:
    """The first format that knows the chunk."""
    return next((one for one in formats if one.recognizes(chunk)), None)


def text(chunk: Chunk, name: str) -> str:
    """The text `name` of a chunk.

    Raises:
        ChunkError: There is none.
    """
    found = chunk.get(name)
    if not isinstance(found, str):
        raise ChunkError(f"{name}: not a text")
    return found


def text_or_none(chunk: Chunk, name: str) -> str | None:
    """The text `name` of a chunk, None when it is something else or not there."""
    found = chunk.get(name)
    return found if isinstance(found, str) else None


def mapping(chunk: Chunk, name: str) -> Chunk:
    """The object `name` of a chunk.

    Raises:
        ChunkError: There is none.
    """
    found = chunk.get(name)
    if not isinstance(found, Mapping):
        raise ChunkError(f"{name}: not an object")
    return found


def mapping_or_empty(chunk: Chunk, name: str) -> Chunk:
    """The object `name` of a chunk, an empty one when it is something else or not there."""
    found = chunk.get(name)
    return found if isinstance(found, Mapping) else {}
