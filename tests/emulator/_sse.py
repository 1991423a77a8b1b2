"""The SSE frames both vendors send."""

import json
from typing import Any


def data_frame(payload: object) -> bytes:
    """OpenAI chat: only a data line."""
    return b"data: " + _dump(payload) + b"\n\n"


def event_frame(payload: dict[str, Any]) -> bytes:
    """OpenAI responses, Anthropic: the event name repeats the payload's type."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + data_frame(payload)


def _dump(payload: object) -> bytes:
    # not ASCII-only: multi-byte characters have to be on the wire to be split there
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
