"""An agent's answer: from bytes to chunks of a message. Pure.

An answer is a stream of server-sent events, one chunk each, or lines of JSON
(``application/x-ndjson``). ``[DONE]`` says nothing that the end of the body does not say. What is
not JSON is kept as it came: readers skip it, and can see that it was there.
"""

import json

from durable_transport.sse import EventDecoder

EVENTS = "text/event-stream"
LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/json-lines"})
DONE = "[DONE]"
MAX_CHUNK = 4 << 20
"""Longest event of an answer, in bytes."""


class AnswerError(Exception):
    """The answer is none that can be taken in.

    Attributes:
        code: For the session.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class AnswerReader:
    """Takes the bytes of one answer and gives the JSON texts of its chunks.

    Args:
        content_type: As the agent says.
        limit: Longest answer, in bytes.

    Raises:
        AnswerError: the content type is none of an agent's.
    """

    def __init__(self, content_type: str | None, limit: int) -> None:
        kind = (content_type or "").partition(";")[0].strip().lower()
        if kind != EVENTS and kind not in LINES:
            raise AnswerError(
                "agent_bad_answer",
                f"the agent answered with {kind[:80] or 'no content type'} in place of {EVENTS}",
            )
        self._limit = limit
        self._size = 0
        self._decoder = LineDecoder() if kind in LINES else EventsDecoder()

    def feed(self, data: bytes) -> list[str]:
        """The chunks that these bytes complete.

        Raises:
            AnswerError: the answer is too long.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise AnswerError(
                "agent_answer_too_large", f"the agent's answer has more than {self._limit} bytes"
            )
        return self._decode(data)

    def end(self) -> list[str]:
        """The body is complete; the last event may lack its empty line."""
        return self._decode(b"\n\n")

    def _decode(self, data: bytes) -> list[str]:
        try:
            found = self._decoder.feed(data)
        except ValueError as error:
            raise AnswerError(
                "agent_answer_too_large", f"an event of the agent has more than {MAX_CHUNK} bytes"
            ) from error
        texts = (one.decode("utf-8", "replace").strip() for one in found)
        return [_one_line(text) for text in texts if text and text != DONE]


class EventsDecoder:
    """Server-sent events: the data of each."""

    def __init__(self) -> None:
        self._decoder = EventDecoder(MAX_CHUNK)

    def feed(self, data: bytes) -> list[bytes]:
        """The data that these bytes complete; ValueError for an event that is too long."""
        return [event.data for event in self._decoder.feed(data)]


class LineDecoder:
    """Lines of JSON."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete; ValueError for one that is too long."""
        *whole, rest = data.split(b"\n")
        if not whole:
            self._rest.append(rest)
        else:
            whole[0] = b"".join((*self._rest, whole[0]))
            self._rest = [rest]
        if sum(map(len, self._rest)) > MAX_CHUNK:
            raise ValueError("a line that is too long")
        return whole


def _one_line(text: str) -> str:
    """JSON over several lines on one, anything else as it is."""
    if "\n" not in text:
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text
