"""Reads server-sent events as the HTML standard says, written apart from what writes them."""

from __future__ import annotations

import base64
import codecs
import json
import re
from dataclasses import dataclass
from typing import Any

_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_NOT_BASE64 = re.compile(r"[\r\n]")


@dataclass(frozen=True)
class Event:
    """One dispatched event."""

    name: str
    data: str

    def control(self) -> dict[str, Any]:
        assert self.name == "control"
        fields: dict[str, Any] = json.loads(self.data)
        return fields

    def binary(self) -> bytes:
        assert self.name == "data"
        return base64.b64decode(_NOT_BASE64.sub("", self.data), validate=True)


class EventParser:
    """Feed it bytes in any pieces; it gives events as they are complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._name = ""
        self._lines: list[str] = []
        self.comments = 0

    def feed(self, piece: bytes) -> list[Event]:
        self._text += self._decoder.decode(piece)
        events = []
        while (line := self._take_line()) is not None:
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _take_line(self) -> str | None:
        end = _END_OF_LINE.search(self._text)
        if end is None or (end.group() == "\r" and end.end() == len(self._text)):
            return None  # a CR at the end may be half of a CRLF
        line, self._text = self._text[: end.start()], self._text[end.end() :]
        return line

    def _line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name or "message", "\n".join(self._lines)) if self._lines else None
            self._name, self._lines = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "event":
            self._name = value
        elif field == "data":
            self._lines.append(value)
        return None


def parse(data: bytes) -> list[Event]:
    """All events of a whole body."""
    return EventParser().feed(data)
