"""Server-sent events of a live read (PROTOCOL section 5.8). Pure.

An event of data is followed by a control event. Every CR, LF or CRLF in the payload starts a new
``data:`` line, so that no payload can forge an event.
"""

import json
from base64 import b64encode

from durable_streams_server._json_mode import is_json, json_array

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b":\n\n"
"""A comment: keeps idle connections open and changes nothing."""


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
    return b"event: data\ndata: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n"


def control_event(
    *, next_offset: str, cursor: str | None, up_to_date: bool, closed: bool
) -> bytes:
    """One ``control`` event; ``cursor`` is left out for a closed stream."""
    fields: dict[str, str | bool] = {"streamNextOffset": next_offset}
    if cursor is not None and not closed:
        fields["streamCursor"] = cursor
    if up_to_date:
        fields["upToDate"] = True
    if closed:
        fields["streamClosed"] = True
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"event: control\ndata: " + text + b"\n\n"


def complete_utf8_length(data: bytes) -> int:
    """How many leading bytes hold whole UTF-8 code points.

    What is cut off is the start of a code point whose rest has not been appended yet (3 bytes at
    most). Bytes that can never become UTF-8 are not held back.
    """
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:  # ASCII
            return len(data)
        if byte >= 0xC0:  # a lead byte: 110xxxxx wants 2 bytes, 1110xxxx 3, 11110xxx 4
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < wanted else len(data)
    return len(data)
