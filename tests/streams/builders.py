"""Streams and chunks for tests that need no store."""

from __future__ import annotations

from typing import Any

from durable_streams_server import Chunk, StreamInfo

NOW = 1_800_000_000.0
"""The time in every test that has a clock of its own."""


def stream(**fields: Any) -> StreamInfo:
    """A stream with the fields that matter to the test, and quiet values for the rest."""
    defaults: dict[str, Any] = {
        "id": 1,
        "path": "s",
        "content_type": "text/plain",
        "tail": 0,
        "closed": False,
        "created_at": NOW,
        "touched_at": NOW,
    }
    return StreamInfo(**(defaults | fields))


def chunk(data: bytes = b"", *, start: int = 0, behind: bool = False, **fields: Any) -> Chunk:
    """What a read at ``start`` gave; ``behind`` when the stream goes on after it."""
    end = start + len(data)
    info = stream(**({"tail": end + 10 if behind else end} | fields))
    return Chunk(info, start, end, data, not behind, closed=info.closed and not behind)
