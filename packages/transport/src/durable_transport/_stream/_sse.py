"""Decoding server-sent events.

Works on bytes: only CR, LF and CRLF end lines, so U+2028 and its like stay what they are, and a
code point that is split over two chunks needs no care.
"""

from dataclasses import dataclass

MAX_EVENT = 256 << 20
"""Longest event, in bytes: whatever sends more is no stream of events."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type (``message`` when it has none) and its data lines joined by LF."""

    type: str
    data: bytes


class EventDecoder:
    """Turns the chunks of a body into events; an event that is not complete at its end is none."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._size = 0
        self._line: list[bytes] = []
        self._after_cr = False
        self._started = False
        self._type = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            ValueError: an event is longer than the limit.
        """
        events = []
        if self._after_cr and chunk:
            # The second half of a CRLF, or what follows a CR that ended a line by itself.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        for piece in chunk.splitlines(keepends=True):
            self._size += len(piece)
            if self._size > self._limit:
                raise ValueError(f"an event of more than {self._limit} bytes")
            if piece[-1:] not in (b"\n", b"\r"):
                self._line.append(piece)
                continue
            self._line.append(piece.rstrip(b"\r\n"))
            event = self._end_of_line()
            if event is not None:
                events.append(event)
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return events

    def _end_of_line(self) -> Event | None:
        line, self._line = b"".join(self._line), []
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._end_of_event()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value
        return None

    def _end_of_event(self) -> Event | None:
        kind, data = self._type, self._data
        self._type, self._data, self._size = b"", [], 0
        if not data:
            return None
        return Event(kind.decode("utf-8", "replace") or "message", b"\n".join(data))
