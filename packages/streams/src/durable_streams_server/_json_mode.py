"""JSON mode (PROTOCOL section 9.1): messages as JSON text plus one comma each. Pure.

Stored bytes are wire bytes: a read is ``[`` + bytes without the last comma + ``]``, with no
parsing and no re-encoding. Flattening an array by one level is taking off its brackets.
"""

import json
from typing import Any

import pydantic_core

_JSON_WHITESPACE = b" \t\r\n"


class InvalidJsonError(ValueError):
    """The body is not one JSON text."""


def is_json(content_type: str) -> bool:
    """Streams of this content type are in JSON mode."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def json_record(text: bytes) -> bytes:
    """The wire bytes of one message, given its JSON text (which is trusted to be JSON)."""
    return text + b","


def json_body_records(body: bytes) -> bytes:
    """The wire bytes of a request body: one message, or those of an array of messages.

    Returns:
        Empty bytes for an empty array: the caller decides whether that is allowed.

    Raises:
        InvalidJsonError: the body is not JSON in UTF-8. The text says where.
    """
    try:
        pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise InvalidJsonError(f"the body is not JSON: {error}") from error
    text = body.strip(_JSON_WHITESPACE)
    if text.startswith(b"["):
        text = text[1:-1].strip(_JSON_WHITESPACE)
    return json_record(text) if text else b""


def json_array(records: bytes) -> bytes:
    """The body of a read: the messages of some wire bytes as one JSON array."""
    return b"[" + records[:-1] + b"]"


def json_prefix_length(records: bytes, count: int) -> tuple[int, int]:
    """How many wire bytes the first messages take.

    Args:
        records: Wire bytes of whole messages.
        count: How many messages to count off.

    Returns:
        The length in bytes, and how many messages were there (fewer than ``count`` at the end).
    """
    text = records.decode()
    decoder = json.JSONDecoder()
    end = found = 0
    while found < count and end < len(text):
        _, end = decoder.raw_decode(text, _skip_whitespace(text, end))
        end = _skip_whitespace(text, end) + 1  # the comma behind each message
        found += 1
    return len(text[:end].encode()), found


def _skip_whitespace(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position


def is_json_boundary(before: bytes, after: bytes) -> bool:
    """Whether a message ends and another begins between some wire bytes.

    Args:
        before: The byte in front; empty at the beginning of the stream.
        after: What follows, up to a boundary; empty at the tail.
    """
    if before not in (b"", b","):
        return False
    try:
        pydantic_core.from_json(json_array(after) if after else b"[]", allow_inf_nan=False)
    except ValueError:
        return False
    return True


def json_items(records: bytes) -> list[Any]:
    """The messages of some wire bytes, parsed."""
    items: list[Any] = json.loads(json_array(records))
    return items
