"""Server-sent events of a live read (PROTOCOL section 5.8). Pure.

An event of data is followed by a control event. Every CR, LF or CRLF in the payload starts a new
``data:`` line, so that no payload can forge an event.
"""

import json
from base64 import b64encode

from durable_streams_server._json_mode import is_json, json_array
from durable_streams_server._model import Chunk

HEARTBEAT = b":\n\n"
"""A comment: keeps idle connections open and changes nothing."""

_LONGEST_CODE_POINT = 4
_CONTINUATION_MASK, _CONTINUATION = 0b1100_0000, 0b1000_0000
_LEAD_BYTES = (
    (2, 0b1110_0000, 0b1100_0000),
    (3, 0b1111_0000, 0b1110_0000),
    (4, 0b1111_1000, 0b1111_0000),
)
"""Length of a code point by the pattern of its first byte (RFC 3629 section 3)."""


def is_text(content_type: str) -> bool:
    """Streams of this type go into data events as they are; others as base64."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or is_json(content_type)


def data_event(data: bytes, content_type: str) -> bytes:
    """One ``data`` event with wire bytes of a stream of this content type."""
    if is_json(content_type):
        payload = json_array(data)
    elif is_text(content_type):
        payload = data
    else:
        payload = b64encode(data)
    if b"\r" in payload:
        payload = payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = b"\ndata:" + payload.replace(b"\n", b"\ndata:")
    # A reader takes one space off each line, so a line that begins with one is given another.
    return b"event: data" + lines.replace(b"\ndata: ", b"\ndata:  ") + b"\n\n"


def control_event(*, next_offset: str, cursor: str | None, up_to_date: bool, closed: bool) -> bytes:
    """One ``control`` event; ``cursor`` is left out for a closed stream."""
    fields: dict[str, str | bool] = {"streamNextOffset": next_offset}
    if cursor is not None and not closed:
        fields["streamCursor"] = cursor
    if up_to_date:
        fields["upToDate"] = True
    if closed:
        fields["streamClosed"] = True
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"event: control\ndata:" + text + b"\n\n"


def complete_utf8_length(data: bytes) -> int:
    """How many leading bytes hold whole UTF-8 code points.

    What is cut off is the start of a code point whose rest has not been appended yet (3 bytes at
    most). Bytes that can never become UTF-8 are not held back.
    """
    for back in range(1, min(_LONGEST_CODE_POINT, len(data)) + 1):
        byte = data[-back]
        if byte & _CONTINUATION_MASK != _CONTINUATION:  # a code point starts here
            return len(data) - back if back < _code_point_length(byte) else len(data)
    return len(data)


def _code_point_length(lead: int) -> int:
    """Bytes of the code point that a lead byte begins; 1 for ASCII and for what is no lead."""
    for length, mask, pattern in _LEAD_BYTES:
        if lead & mask == pattern:
            return length
    return 1


def hold_back_partial_text(held: bytes, chunk: Chunk) -> tuple[Chunk, bytes]:
    """Make a chunk of a text stream end on a whole code point.

    An append may end in the middle of one; an event may not, or its reader sees two broken halves.

    Args:
        held: Bytes that were held back before, which come just before the chunk.
        chunk: The next chunk of any stream.

    Returns:
        The chunk to encode, and the bytes to hold back. The chunk of a stream that is not text
        comes back as it is, and nothing is held back at the end of a closed stream.
    """
    content_type = chunk.stream.content_type
    if is_json(content_type) or not is_text(content_type) or not (held or chunk.data):
        return chunk, b""
    data = held + chunk.data
    length = len(data) if chunk.closed else complete_utf8_length(data)
    if not held and length == len(data):
        return chunk, b""
    rest = data[length:]
    whole = chunk._replace(
        start=chunk.start - len(held),
        end=chunk.end - len(rest),
        data=data[:length],
        up_to_date=chunk.up_to_date and not rest,
    )
    return whole, rest
