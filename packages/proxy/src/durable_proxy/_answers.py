"""What a start request is answered with: read off the control stream. Pure.

Everybody who asks for a generation gets the answer from its control stream, whoever started it
and on whichever node; so a second start is answered as the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from durable_proxy._errors import Refusal
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    ErrorCode,
    Rejected,
    StartPayload,
    TerminalCode,
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upstream answered 2xx: its body is in the data stream, or will be.

    Attributes:
        incarnation: That of the control stream: another attempt with the same ids has another one.
    """

    start: StartPayload
    incarnation: int


Answer = Accepted | Rejected | Refusal

_REFUSALS: dict[str | None, ErrorCode] = {
    TerminalCode.UPSTREAM_NOT_ALLOWED: ErrorCode.UPSTREAM_NOT_ALLOWED,
    TerminalCode.UPSTREAM_UNREACHABLE: ErrorCode.UPSTREAM_UNREACHABLE,
    TerminalCode.UPSTREAM_TIMEOUT: ErrorCode.UPSTREAM_TIMEOUT,
    TerminalCode.ABORTED: ErrorCode.GENERATION_ABORTED,
    TerminalCode.STORAGE_ERROR: ErrorCode.STORAGE_UNAVAILABLE,
}
"""Ends before the upstream's headers; any other is a generation that was lost."""


def answer_from(messages: Sequence[ControlMessage], incarnation: int) -> Answer | None:
    """The answer that the control messages give so far; None while there is none yet."""
    for message in messages:
        if message.event == ControlEvent.START:
            return Accepted(message.start_payload(), incarnation)
        if message.is_terminal:
            return _answer_of_the_end(message)
    return None


def _answer_of_the_end(record: ControlMessage) -> Rejected | Refusal:
    payload = record.terminal_payload()
    if payload.rejected is not None:
        return payload.rejected
    code = _REFUSALS.get(payload.code, ErrorCode.GENERATION_LOST)
    return Refusal(code, payload.message or "the generation ended before the upstream answered")
