"""Rows of a session stream: State Protocol change messages. Pure.

``chunk``, ``presence`` and ``agent`` are what every client of a session knows; ``run`` says what
becomes of each call of an agent, and ``session`` how the session is set up. A client that does not
know a type leaves it aside.

Rows that belong to a *decision* carry its number (`DECISION`) and a token of whoever made it
(`BY`). Decisions of a session are numbered without gaps, and the log takes each number once:
that is how processes that know nothing of each other agree.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Operation: TypeAlias = Literal["insert", "update", "upsert", "delete"]
Json: TypeAlias = dict[str, Any]

DECISION = "decision"
BY = "decidedBy"


class Row(NamedTuple):
    """One change message, before it is stamped.

    Attributes:
        value: None for a deletion.
    """

    type: str
    key: str
    operation: Operation
    value: Json | None


class Stamp(NamedTuple):
    """What the rows of one decision have in common."""

    number: int
    token: str
    txid: str | None = None


def record(row: Row, stamp: Stamp | None = None) -> bytes:
    """JSON text of a row."""
    headers: Json = {"operation": row.operation}
    if stamp is not None:
        headers |= {DECISION: stamp.number, BY: stamp.token}
        if stamp.txid is not None:
            headers["txid"] = stamp.txid
    whole: Json = {"type": row.type, "key": row.key, "headers": headers}
    if row.value is not None:
        whole["value"] = row.value
    return dumps(whole).encode()


def records(rows: Iterable[Row], stamp: Stamp | None = None) -> list[bytes]:
    """JSON texts of rows."""
    return [record(row, stamp) for row in rows]


def dumps(value: Any) -> str:
    """JSON text as it is stored: short, and fit for UTF-8 even with half a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def chunk_key(message_id: str, seq: int) -> str:
    """Key of a chunk."""
    return f"{message_id}:{seq}"


def chunk_row(message_id: str, seq: int, *, actor_id: str, role: str, text: str, now: str) -> Row:
    """A chunk of a message; ``text`` is its JSON text."""
    value: Json = {
        "messageId": message_id,
        "actorId": actor_id,
        "role": role,
        "chunk": text,
        "seq": seq,
        "createdAt": now,
    }
    return Row("chunk", chunk_key(message_id, seq), "insert", value)


def whole_message(message_id: str, *, actor_id: str, role: str, content: str, now: str) -> Row:
    """A message that is complete when it is sent, as its one chunk."""
    message = {
        "id": message_id,
        "role": role,
        "parts": [{"type": "text", "content": content}],
        "createdAt": now,
    }
    text = dumps({"type": "user-message", "message": message})
    return chunk_row(message_id, 0, actor_id=actor_id, role=role, text=text, now=now)


def chunk_deletions(message_id: str, last_seq: int) -> list[Row]:
    """What takes a whole message back."""
    return [Row("chunk", chunk_key(message_id, seq), "delete", None) for seq in range(last_seq + 1)]


def without_none(value: Mapping[str, Any]) -> Json:
    """The fields that are there."""
    return {name: one for name, one in value.items() if one is not None}
