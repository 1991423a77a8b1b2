"""Messages of the Durable Streams State Protocol (its sections 4 to 6). Pure.

A stream of state holds change messages, each of which puts or deletes the row of one type and key,
and control messages about the stream itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias


class Operation(StrEnum):
    """What a change message does with its row."""

    INSERT = "insert"
    UPDATE = "update"
    UPSERT = "upsert"
    """Insert or update: not in the protocol's text, but in its schema and its first library."""
    DELETE = "delete"


class Control(StrEnum):
    """What a control message says about the stream."""

    SNAPSHOT_START = "snapshot-start"
    SNAPSHOT_END = "snapshot-end"
    RESET = "reset"


_OPERATIONS: Final = {one.value: one for one in Operation}
_CONTROLS: Final = {one.value: one for one in Control}


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """A row is put, or deleted.

    Attributes:
        type: Which kind of row; a stream holds several.
        key: Which row of that type.
        operation: What happens to it.
        value: The whole new row, any JSON value; None for a deletion.
        txid: The transaction it belongs to, by which whoever wrote it knows it again.
        timestamp: When it happened (RFC 3339).
        old_value: The row before, for whoever wants to check.
        headers: All other headers.
    """

    type: str
    key: str
    operation: Operation
    value: Any = None
    txid: str | None = None
    timestamp: str | None = None
    old_value: Any = None
    headers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The message as it is written to the stream."""
        message: dict[str, Any] = {"type": self.type, "key": self.key}
        if self.operation is not Operation.DELETE:
            message["value"] = self.value
        if self.old_value is not None:
            message["old_value"] = self.old_value
        headers: dict[str, Any] = {**self.headers, "operation": self.operation.value}
        if self.txid is not None:
            headers["txid"] = self.txid
        if self.timestamp is not None:
            headers["timestamp"] = self.timestamp
        return {**message, "headers": headers}


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """Something about the stream.

    Attributes:
        control: A snapshot begins or ends, or all rows so far are void.
        offset: A place in the stream it refers to: after a reset, where to begin again.
    """

    control: Control
    offset: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The message as it is written to the stream."""
        headers = {"control": self.control.value}
        return {"headers": headers if self.offset is None else {**headers, "offset": self.offset}}


@dataclass(frozen=True, slots=True)
class Malformed:
    """No message of the protocol, and why not: nothing to apply, and no reason to stop."""

    message: Any
    reason: str


StateMessage: TypeAlias = ChangeMessage | ControlMessage | Malformed


def insert(type_: str, key: str, value: Any, *, txid: str | None = None) -> ChangeMessage:
    """A new row."""
    return ChangeMessage(type_, key, Operation.INSERT, value, txid)


def update(type_: str, key: str, value: Any, *, txid: str | None = None) -> ChangeMessage:
    """A row has another value."""
    return ChangeMessage(type_, key, Operation.UPDATE, value, txid)


def upsert(type_: str, key: str, value: Any, *, txid: str | None = None) -> ChangeMessage:
    """A row has this value, whether it was there or not."""
    return ChangeMessage(type_, key, Operation.UPSERT, value, txid)


def delete(type_: str, key: str, *, txid: str | None = None) -> ChangeMessage:
    """A row is gone."""
    return ChangeMessage(type_, key, Operation.DELETE, None, txid)


def parse(message: Any) -> StateMessage:
    """Read one message of a stream, as JSON values."""
    if not isinstance(message, dict):
        return Malformed(message, "not an object")
    headers = message.get("headers")
    if not isinstance(headers, dict):
        return Malformed(message, "no headers")
    if "operation" in headers:
        return _change(message, headers)
    if "control" in headers:
        return _control(message, headers)
    return Malformed(message, "headers with neither operation nor control")


def _change(message: dict[str, Any], headers: dict[str, Any]) -> StateMessage:
    type_, key = message.get("type"), message.get("key")
    if not (isinstance(type_, str) and type_ and isinstance(key, str) and key):
        return Malformed(message, "type and key have to be texts that are not empty")
    name = headers["operation"]
    operation = _OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        return Malformed(message, "an operation that is none of the protocol's")
    if operation is not Operation.DELETE and "value" not in message:
        return Malformed(message, f"{operation.value} without a value")
    txid, timestamp = headers.get("txid"), headers.get("timestamp")
    return ChangeMessage(
        type_,
        key,
        operation,
        None if operation is Operation.DELETE else message["value"],
        txid if isinstance(txid, str) and txid else None,
        timestamp if isinstance(timestamp, str) else None,
        message.get("old_value"),
        {name: value for name, value in headers.items() if name not in _KNOWN}
        if len(headers) > 1
        else {},
    )


_KNOWN: Final = frozenset({"operation", "txid", "timestamp"})


def _control(message: dict[str, Any], headers: dict[str, Any]) -> StateMessage:
    name, offset = headers["control"], headers.get("offset")
    control = _CONTROLS.get(name) if isinstance(name, str) else None
    if control is None:
        return Malformed(message, "a control message that is none of the protocol's")
    return ControlMessage(control, offset if isinstance(offset, str) else None)
