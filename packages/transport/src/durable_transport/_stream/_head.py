"""What the head of an answer, or a control event, says about a stream."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from durable_transport._fields import Fields
from durable_transport.protocol import BEGINNING, NOW, StreamHeader

DEFAULT_CONTENT_TYPE = "application/octet-stream"
_OFFSET = re.compile(r"[^\s,&=?/]{1,1024}")


@dataclass(frozen=True, slots=True)
class Head:
    """Where an answer leaves its reader (PROTOCOL sections 5.6 to 5.8).

    Attributes:
        offset: Where to go on, None when nothing (or nothing valid) was said.
        up_to_date: There was nothing after ``offset`` when the answer was made.
        closed: Nothing will ever follow ``offset``.
        cursor: To be repeated with the next request.
    """

    offset: str | None
    up_to_date: bool
    closed: bool
    cursor: str | None


def parse_head(fields: Fields) -> Head:
    """Read the ``Stream-*`` fields of an answer."""
    closed = is_true(fields.get(StreamHeader.CLOSED))
    return Head(
        offset=valid_offset(fields.get(StreamHeader.NEXT_OFFSET)),
        up_to_date=closed or is_true(fields.get(StreamHeader.UP_TO_DATE)),
        closed=closed,
        cursor=fields.get(StreamHeader.CURSOR),
    )


def parse_control(data: bytes) -> Head:
    """Read a control event of an SSE answer.

    Raises:
        ValueError: not a JSON object with a ``streamNextOffset``.
    """
    try:
        said: Any = json.loads(data)
    except RecursionError:
        said = None
    offset = valid_offset(said.get("streamNextOffset")) if isinstance(said, Mapping) else None
    if offset is None:
        raise ValueError("a control event without streamNextOffset")
    cursor, closed = said.get("streamCursor"), said.get("streamClosed") is True
    return Head(
        offset=offset,
        up_to_date=closed or said.get("upToDate") is True,
        closed=closed,
        cursor=cursor if isinstance(cursor, str) else None,
    )


def valid_offset(text: object) -> str | None:
    """An offset that a server may send (PROTOCOL section 8), else None."""
    if not isinstance(text, str) or text in (BEGINNING, NOW):
        return None
    return text if _OFFSET.fullmatch(text) else None


def is_true(value: str | None) -> bool:
    """A flag is on when it is ``true`` and nothing else (PROTOCOL section 4.1)."""
    return value is not None and value.strip().lower() == "true"


def media_type(content_type: str | None) -> str:
    """The content type without its parameters, in lower case."""
    return (content_type or DEFAULT_CONTENT_TYPE).partition(";")[0].strip().lower()


def is_json(content_type: str | None) -> bool:
    """Streams of this type consist of JSON messages (PROTOCOL section 9.1)."""
    return media_type(content_type) == "application/json"
