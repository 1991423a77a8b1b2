"""Rows of a session that are not made of chunks. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from durable_ai_db.materialize._rows import BadRowError

ConnectionStatus: TypeAlias = Literal["disconnected", "connecting", "connected", "paused", "error"]
PresenceStatus: TypeAlias = Literal["online", "offline", "away"]
ActorType: TypeAlias = Literal["user", "agent"]


@dataclass(frozen=True, slots=True)
class PresenceRow:
    """Somebody who takes part.

    Attributes:
        last_seen_at: ISO 8601.
    """

    actor_id: str
    actor_type: str
    status: str
    last_seen_at: str
    name: str | None = None

    @classmethod
    def from_json(cls, key: str, value: object) -> "PresenceRow":
        """The row that the log's value stands for.

        Raises:
            BadRowError: It is none.
        """
        fields = _fields(value)
        status = _text(fields, "status", "")
        if status not in get_args(PresenceStatus):
            raise BadRowError("status: not one of online, offline, away")
        return cls(
            key,
            _text(fields, "actorType", "user"),
            status,
            _text(fields, "lastSeenAt", ""),
            _optional(fields, "name"),
        )

    def to_json(self) -> dict[str, Any]:
        """The row as the log has it."""
        row = {
            "actorId": self.actor_id,
            "actorType": self.actor_type,
            "status": self.status,
            "lastSeenAt": self.last_seen_at,
        }
        return row if self.name is None else {**row, "name": self.name}


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent that answers in the session.

    Attributes:
        triggers: Whether it answers ``all`` messages, or only ``user-messages``.
    """

    agent_id: str
    endpoint: str
    name: str | None = None
    triggers: str | None = None

    @classmethod
    def from_json(cls, key: str, value: object) -> "AgentRow":
        """The row that the log's value stands for.

        Raises:
            BadRowError: It is none.
        """
        fields = _fields(value)
        return cls(
            key,
            _text(fields, "endpoint", ""),
            _optional(fields, "name"),
            _optional(fields, "triggers"),
        )

    def to_json(self) -> dict[str, Any]:
        """The row as the log has it."""
        row = {"agentId": self.agent_id, "endpoint": self.endpoint}
        more = {"name": self.name, "triggers": self.triggers}
        return {**row, **{name: value for name, value in more.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class SessionMetaRow:
    """How this client stands to the session; not part of the log.

    Attributes:
        offset: Up to where the log was read.
        last_synced_txid: The last transaction that came.
        last_synced_at: Seconds since the epoch at which something last came, by this clock.
        error: ``message``, and ``code`` if there is one, of what keeps it from being connected.
    """

    session_id: str
    connection_status: ConnectionStatus = "disconnected"
    offset: str = "-1"
    last_synced_txid: str | None = None
    last_synced_at: float | None = None
    error: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON of the row."""
        return {
            "sessionId": self.session_id,
            "connectionStatus": self.connection_status,
            "offset": self.offset,
            "lastSyncedTxId": self.last_synced_txid,
            "lastSyncedAt": self.last_synced_at,
            "error": None if self.error is None else dict(self.error),
        }


def _fields(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRowError(f"not an object but {type(value).__name__}")
    return value


def _text(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise BadRowError(f"{name}: not a text")
    return value


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name, "")
