"""What a start request is answered with: read off the control stream. Pure.

Everybody who asks for a generation gets the answer from its control stream, whoever started it
and on whichever node; so a second start is answered as the first.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from durable_proxy._errors import Refusal
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    ErrorCode,
    StartPayload,
    TerminalCode,
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The upstream answered 2xx: its body is in the data stream, or will be."""

    start: StartPayload


@dataclass(frozen=True, slots=True)
class Rejected:
    """The upstream's own answer, not 2xx."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def to_payload(self) -> dict[str, Any]:
        """The ``response`` of a terminal record."""
        return {
            "status": self.status,
            "headers": [list(header) for header in self.headers],
            "body": base64.b64encode(self.body).decode("ascii"),
        }

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> "Rejected":
        """Read `to_payload` back."""
        return cls(
            status=int(payload["status"]),
            headers=tuple((str(name), str(value)) for name, value in payload["headers"]),
            body=base64.b64decode(payload["body"]),
        )


Answer = Accepted | Rejected | Refusal

_REFUSALS = {
    TerminalCode.UPSTREAM_UNREACHABLE: ErrorCode.UPSTREAM_UNREACHABLE,
    TerminalCode.UPSTREAM_TIMEOUT: ErrorCode.UPSTREAM_TIMEOUT,
    TerminalCode.STORAGE_ERROR: ErrorCode.STORAGE_UNAVAILABLE,
}
"""Ends before the upstream's headers; any other is a generation that was lost."""


def answer_from(messages: Sequence[ControlMessage]) -> Answer | None:
    """The answer that the control messages give so far; None while there is none yet."""
    for message in messages:
        if message.event == ControlEvent.START:
            return Accepted(message.start_payload())
        if message.is_terminal:
            return _answer_of_the_end(message)
    return None


def _answer_of_the_end(record: ControlMessage) -> Rejected | Refusal:
    payload = record.terminal_payload()
    if payload.code == TerminalCode.UPSTREAM_REJECTED and payload.response is not None:
        return Rejected.from_payload(payload.response)
    code = next(
        (refusal for terminal, refusal in _REFUSALS.items() if terminal == payload.code),
        ErrorCode.GENERATION_LOST,
    )
    message = payload.message or "the generation ended before the upstream answered"
    return Refusal(code, message)
