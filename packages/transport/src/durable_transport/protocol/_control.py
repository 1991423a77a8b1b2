"""The control stream of a generation: JSON messages ``{event, dataOffset, payload}``.

``start`` comes once the upstream has answered 2xx, and the last message is terminal (``done`` or
``error``). Readers skip events they do not know. A terminal message names the data offset at
which it holds: a reader acts on it only once it has every byte before that offset.
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

    START = "start"
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


class TerminalPayload(_WireModel):
    """How a generation ended.

    ``code`` is a `TerminalCode` for ``error`` and absent for ``done``. ``response`` is there for
    ``upstream_rejected`` only: see `rejected`.
    """

    code: str | None = None
    message: str | None = None
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

    def to_json(self) -> bytes:
        """The message as the bytes that go into the control stream."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def start(cls, payload: StartPayload) -> "ControlMessage":
        """The upstream has answered: the data stream begins."""
        return cls(
            event=ControlEvent.START,
            payload=payload.model_dump(mode="json", by_alias=True, exclude_none=True),
        )

    @classmethod
    def terminal(
        cls, event: ControlEvent, position: int, payload: TerminalPayload
    ) -> "ControlMessage":
        """The last message: the data stream ends at byte ``position``."""
        return cls(
            event=event,
            data_offset=format_offset(position),
            payload=payload.model_dump(mode="json", by_alias=True, exclude_none=True),
        )
