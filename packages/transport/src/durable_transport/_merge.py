"""Two streams into one body: the decision when a generation's body has ended, and how.

The data stream carries the body, the control stream says how it ended. They are read over
connections that break, are repeated and overtake each other, so this takes both in any order, cut
anywhere, any number of times, and keeps these rules:

* every byte is handed out once, in order: an overlap is dropped, a gap is an error;
* there is a verdict only once a terminal message has come *and* every byte before its
  ``dataOffset`` was handed out: an end of the data alone decides nothing;
* what contradicts itself is an error: two different terminals, data after the end.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    InvalidOffsetError,
    StartPayload,
    TerminalCode,
    TerminalPayload,
)


class MergeError(Exception):
    """The two streams cannot be those of one generation."""


class PastEndError(MergeError):
    """We hold more than the generation ever had: it is not the one our offset came from."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The body is whole."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The body ended early; everything up to the end was handed out."""

    code: str
    message: str
    payload: TerminalPayload


Verdict = Completed | Failed


class Merge:
    """State of one read of a generation, from byte ``position`` on."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        """Position after the last byte handed out."""
        self.end: int | None = None
        """Where the data ends, once a terminal message has told."""
        self.start: StartPayload | None = None
        """What the upstream answered with, once the control stream has told."""
        self._outcome: Verdict | None = None

    @property
    def outcome(self) -> Verdict | None:
        """How the generation ended, known as soon as its terminal message is."""
        return self._outcome

    @property
    def verdict(self) -> Verdict | None:
        """How the body ended; None as long as anything is missing."""
        return self._outcome if self.position == self.end else None

    def data(self, start: int, data: bytes) -> bytes:
        """Take body bytes that begin at ``start``; return those not handed out before.

        Raises:
            MergeError: bytes before ``start`` are missing, or these are after the end.
        """
        if start > self.position:
            raise MergeError(f"bytes {self.position} to {start} of the body are missing")
        if self.end is not None and start + len(data) > self.end:
            raise MergeError(f"data up to {start + len(data)} in a body that ends at {self.end}")
        fresh = data[self.position - start :] if start < self.position else data
        self.position += len(fresh)
        return fresh

    def control(self, message: ControlMessage) -> None:
        """Take one control message; an unknown event is skipped, a repeated one changes nothing.

        Raises:
            MergeError: the message is malformed or contradicts what is known.
        """
        try:
            if message.event == ControlEvent.START:
                self.start = self.start or message.start_payload()
            elif message.is_terminal:
                self._terminal(message.data_position, _outcome(message))
        except (ValidationError, InvalidOffsetError) as error:
            raise MergeError(f"malformed control message {message.event!r}") from error

    def _terminal(self, end: int, outcome: Verdict) -> None:
        if self._outcome is not None:
            if (self.end, self._outcome) != (end, outcome):
                raise MergeError("the control stream ends in two different ways")
            return
        if self.position > end:
            raise PastEndError(f"the body ends at {end}, and our offset is {self.position}")
        self.end = end
        self._outcome = outcome


def _outcome(message: ControlMessage) -> Verdict:
    if message.event == ControlEvent.DONE:
        return Completed()
    payload = message.terminal_payload()
    code = payload.code or TerminalCode.UPSTREAM_ERROR
    return Failed(code=str(code), message=payload.message or "", payload=payload)
