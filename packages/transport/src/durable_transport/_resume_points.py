"""Where in a body a later reader may take over.

A parser that starts in the middle of a server-sent event sees nonsense. So the offset that is
stored for a resume is not simply the last byte handed out but, for media types made of records,
the end of the last whole record. A JSON document is one record: only its beginning will do. For
everything else any byte will.
"""

_SSE_ENDS = (b"\n\n", b"\n\r", b"\r\r")
"""Two line ends in a row; CRLF CRLF and every mixture contain one of these."""


class ResumePoints:
    """Follows a body of one media type from ``position`` on."""

    def __init__(self, content_type: str | None, position: int = 0) -> None:
        media_type = (content_type or "").partition(";")[0].strip().lower()
        self.position = position
        """Position after the last byte seen."""
        self.safe = position
        """Last position at which a new parser may start."""
        if media_type == "text/event-stream":
            self._ends: tuple[bytes, ...] | None = _SSE_ENDS
        elif media_type in ("application/x-ndjson", "application/jsonl", "application/ndjson"):
            self._ends = (b"\n",)
        elif media_type == "application/json" or media_type.endswith("+json"):
            self._ends = ()
        else:
            self._ends = None
        self._kept = b""

    def feed(self, data: bytes) -> int:
        """Take the next bytes; return `safe`."""
        self.position += len(data)
        if self._ends is None:
            self.safe = self.position
            return self.safe
        if not self._ends:
            return self.safe
        window = self._kept + data
        last = max(window.rfind(end) + len(end) if end in window else -1 for end in self._ends)
        if last > 0:
            if window[last - 1 : last + 1] == b"\r\n":  # the line feed belongs to this line end
                last += 1
            self.safe = max(self.safe, self.position - len(window) + last)
        self._kept = window[-2:]
        return self.safe
