"""Where an answer's chunks come from."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

from pydantic import BaseModel

from durable_ai_transport.vercel._chunks import Chunk, parse_chunk
from durable_ai_transport.vercel._errors import InvalidChunk
from durable_ai_transport.vercel._sse import UIMessageStreamDecoder

DONE = "done"
"""The type of pydantic-ai's chunk that stands for ``[DONE]``."""


def error_chunks(text: str) -> list[dict[str, Any]]:
    """What readers are told when an answer fails, as the SDK says it."""
    return [{"type": "error", "errorText": text}]


async def chunks_of(source: AsyncIterable[Any]) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a source as JSON.

    Args:
        source: Chunks: `Chunk`, dictionaries, or pydantic-ai's (``VercelAIAdapter.run_stream``);
            or an encoded UI message stream as str or bytes (``encode_stream``, or the body of
            another server's answer).

    Raises:
        InvalidChunk: one is no chunk, or there was text with no event in it, such as bare words.
        TypeError: one is something else altogether.
    """
    decoder = UIMessageStreamDecoder()
    text = b""
    decoded = False
    async for item in source:
        match item:
            case Chunk():
                yield item.to_json()
            case BaseModel():
                fields = item.model_dump(mode="json", by_alias=True, exclude_none=True)
                if fields.get("type") != DONE:
                    yield _checked(fields)
            case str() | bytes():
                data = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
                text = text or data
                for chunk in decoder.feed(data):
                    decoded = True
                    yield chunk.to_json()
            case Mapping():
                yield _checked(item)
            case _:
                raise TypeError(
                    f"the source gave {type(item).__name__}: give chunks (dictionaries with a "
                    f"type, or pydantic-ai's), or an encoded UI message stream"
                )
    if text.strip() and not decoded and not decoder.done:
        # The decoder skips what is no event: readers would get an answer without words.
        reason = "there is no event in the source's text (for bare words, give text-delta chunks)"
        raise InvalidChunk(reason, text.decode("utf-8", "replace"))


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    parse_chunk(fields)
    return dict(fields)
