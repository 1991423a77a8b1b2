"""The control stream of a generation: JSON messages ``{event, dataOffset, payload}``.

``start`` comes once the upstream has answered 2xx, and the last message is terminal (``done`` or
``error``). In between there may be a ``stop``, which asks the proxy that runs the generation to end
it, and ``heartbeat``s of those who read it elsewhere; ``options`` is the first message of one that
was started with any. Readers skip events they do not know. A terminal message names the data offset
at which it holds: a reader acts on it only once it has every byte before that offset.
"""

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from durable_transport.protocol._codes import TerminalCode
from durable_transport.protocol._offsets import format_offset, parse_offset


class _WireModel(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="allow"
    )


class ControlEvent(StrEnum):
    """Events of ours; others may come and are skipped."""

    OPTIONS = "options"
    START = "start"
    STOP = "stop"
    DONE = "done"
    ERROR = "error"
    HEARTBEAT = "heartbeat"


class StartPayload(_WireModel):
    """What the upstream answered with: enough to build the client's response."""

    status: int
    content_type: str | None = None
    headers: list[tuple[str, str]] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An upstream's own answer that is not 2xx."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def to_payload(self) -> dict[str, Any]:
        """The ``response`` of a terminal payload."""
        return {
            "status": self.status,
            "headers": [list(header) for header in self.headers],
            "body": base64.b64encode(self.body).decode("ascii"),
        }

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Self:
        """Read `to_payload` back.

        Raises:
            ValueError: the sender wrote something else.
        """
        match payload:
            case {"status": int(status), "headers": list(headers), "body": str(body)}:
                try:
                    pairs = tuple((str(name), str(value)) for name, value in headers)
                except TypeError as error:
                    raise ValueError("headers are pairs") from error
                return cls(status, pairs, base64.b64decode(body, validate=True))
        raise ValueError("a response has a status, headers and a body")


class StopPayload(_WireModel):
    """Who asks for an end, and why; both as they said. ``requested_at`` is RFC 3339."""

    actor: str | None = None
    reason: str | None = None
    requested_at: str | None = None


class OptionsPayload(_WireModel):
    """What the generation was started with.

    ``cancel_after``: seconds without a reader after which it is stopped.
    """

    cancel_after: float | None = None


class ByteCounts(_WireModel):
    """Bytes of the (decoded) body: ``stored`` ones can be read.

    ``received`` is what came from the upstream, known to the node that ran the generation only.
    """

    stored: int
    received: int | None = None


class Timing(_WireModel):
    """When things happened: RFC 3339, and milliseconds since the start.

    The first byte is the body's. Whoever ends a generation in its node's place does not know it.
    """

    started_at: str
    first_byte_at: str | None = None
    ended_at: str
    first_byte_ms: int | None = None
    duration_ms: int


class TerminalPayload(_WireModel):
    """How a generation ended.

    ``code`` is a `TerminalCode` for ``error`` and absent for ``done``. ``state`` is one of
    ``completed failed aborted timed_out orphaned truncated too_large``. ``reason`` is one word of
    the proxy's, or, for ``aborted``, what whoever stopped it (``actor``) gave as one. ``response``
    is there for ``upstream_rejected`` only: see `rejected`.
    """

    code: str | None = None
    state: str | None = None
    reason: str | None = None
    actor: str | None = None
    message: str | None = None
    bytes: ByteCounts | None = None
    timing: Timing | None = None
    finish_reason: str | None = None
    response: dict[str, Any] | None = None

    @property
    def rejected(self) -> Rejected | None:
        """The upstream's own answer; None when that is not how it ended, or it cannot be read."""
        if self.code != TerminalCode.UPSTREAM_REJECTED or self.response is None:
            return None
        try:
            return Rejected.from_payload(self.response)
        except ValueError:
            return None


class ControlMessage(_WireModel):
    """One message of a control stream. ``data_offset`` is an offset token of the data stream."""

    event: str
    data_offset: str = Field(default=format_offset(0))
    payload: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        """Nothing follows this message."""
        return self.event in (ControlEvent.DONE, ControlEvent.ERROR)

    @property
    def data_position(self) -> int:
        """`data_offset` as a byte position.

        Raises:
            InvalidOffsetError: the sender's offset is no offset of ours.
        """
        return parse_offset(self.data_offset)

    def start_payload(self) -> StartPayload:
        """The payload of a ``start`` message (raises pydantic's ValidationError)."""
        return StartPayload.model_validate(self.payload)

    def terminal_payload(self) -> TerminalPayload:
        """The payload of a terminal message (raises pydantic's ValidationError)."""
        return TerminalPayload.model_validate(self.payload)

    def stop_payload(self) -> StopPayload:
        """The payload of a ``stop`` message (raises pydantic's ValidationError)."""
        return StopPayload.model_validate(self.payload)

    def options_payload(self) -> OptionsPayload:
        """The payload of an ``options`` message (raises pydantic's ValidationError)."""
        return OptionsPayload.model_validate(self.payload)

    def to_json(self) -> bytes:
        """The message as the bytes that go into the control stream."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def start(cls, payload: StartPayload) -> "ControlMessage":
        """The upstream has answered: the data stream begins."""
        return cls(event=ControlEvent.START, payload=_dumped(payload))

    @classmethod
    def stop(cls, payload: StopPayload) -> "ControlMessage":
        """Somebody asks for the generation's end."""
        return cls(event=ControlEvent.STOP, payload=_dumped(payload))

    @classmethod
    def options(cls, payload: OptionsPayload) -> "ControlMessage":
        """What the generation was started with."""
        return cls(event=ControlEvent.OPTIONS, payload=_dumped(payload))

    @classmethod
    def terminal(
        cls, event: ControlEvent, position: int, payload: TerminalPayload
    ) -> "ControlMessage":
        """The last message: the data stream ends at byte ``position``."""
        return cls(
            event=event,
            data_offset=format_offset(position),
            payload=_dumped(payload),
        )


def _dumped(payload: BaseModel) -> dict[str, Any]:
    return payload.model_dump(mode="json", by_alias=True, exclude_none=True)
