"""Where one shape of a generation has been read to, and what an answer of it says. Pure.

A shape is a table's rows as the Electric HTTP API gives them: a client asks from an offset, in the
shape that a handle names, until it is up to date, and then live.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from durable_transport._fields import Fields

_BEGINNING = "-1"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its id, which rises, and its columns as texts."""

    id: int
    values: dict[str, Any]


class ShapeCursor:
    """A place in one shape.

    Attributes:
        kind: ``data`` or ``control``, the last part of its address.
        up_to_date: There was nothing else.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.restart()

    def restart(self) -> None:
        """Begin anew: what the place was in is there no more."""
        self.up_to_date = False
        self._offset = _BEGINNING
        self._handle: str | None = None
        self._live_cursor: str | None = None

    def query(self, session: UUID, request: UUID, *, wait: bool) -> str:
        """The query of a request for what follows; with ``wait``, for as long as nothing does."""
        parameters = {"sessionId": str(session), "requestId": str(request)}
        parameters["offset"] = self._offset
        if self._handle is not None:
            parameters["handle"] = self._handle
        if wait and self._handle is not None:
            # Of our proxy: not any longer than the generation runs.
            parameters |= {"live": "true", "until": "end"}
            if self._live_cursor is not None:
                parameters["cursor"] = self._live_cursor
        return urlencode(parameters)

    def take(self, headers: Fields, body: bytes) -> list[Row]:
        """Go on to where an answer ends; its new rows.

        Raises:
            ValueError: it is no answer of a shape.
        """
        handle, offset = headers.get("electric-handle"), headers.get("electric-offset")
        messages = json.loads(body or b"[]")
        if not handle or not offset or not isinstance(messages, list):
            raise ValueError("no handle, no offset, or no messages")
        rows = [row for message in messages if (row := _row(message)) is not None]
        self._handle, self._offset = handle, offset
        self._live_cursor = headers.get("electric-cursor") or self._live_cursor
        self.up_to_date = headers.get("electric-up-to-date") is not None
        return rows


def _row(message: Any) -> Row | None:
    """The row that a message inserts, if it is of that kind."""
    match message:
        case {"headers": {"operation": "insert"}, "value": {"id": str() | int()} as values}:
            return Row(int(values["id"]), values)
        case {"headers": dict()}:
            return None
    raise ValueError("a message has headers")
