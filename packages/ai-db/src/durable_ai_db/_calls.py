"""The session service's calls: what is sent, and what its answers mean. Pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import quote

from durable_ai_db._errors import SessionError, SessionProtocolError, error_of
from durable_ai_db._session_state import Placed, RowPatch
from durable_ai_db.materialize._rows import (
    ApprovalRow,
    MessageRow,
    TextPart,
    ToolCallRow,
    ToolResultRow,
)

_SUCCESS: Final = range(200, 300)
_NO_ROW_YET: Final = float("inf")
_DETAIL: Final = 300


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """An agent, and how it is called.

    Attributes:
        endpoint: An absolute URL; the service has to allow it.
        headers: Sent with every call.
        triggers: Which messages it is called for: ``all``, or ``user-messages``.
        body_template: What every request to it holds besides the messages.
        format: In which form the messages are sent to it; the service's default when absent.
    """

    id: str
    endpoint: str
    name: str | None = None
    method: Literal["POST"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    triggers: str | None = None
    body_template: Mapping[str, Any] = field(default_factory=dict)
    format: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The agent as the service takes it."""
        optional = {
            "name": self.name,
            "headers": dict(self.headers) or None,
            "triggers": self.triggers,
            "bodyTemplate": dict(self.body_template) or None,
            "format": self.format,
        }
        return {"id": self.id, "endpoint": self.endpoint, "method": self.method} | {
            name: value for name, value in optional.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Fork:
    """A session that branches off another.

    Attributes:
        session_id: Of the new session.
        offset: Where its own part begins.
    """

    session_id: str
    offset: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes: an id, and ``user`` or ``agent``."""

    id: str
    type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the service.

    Attributes:
        path: Below the session's address, quoted.
        body: JSON, None for none.
    """

    method: str
    path: str = ""
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A write, how it looks before the log has it, and how the log shows that it has.

    Attributes:
        patches: By collection.
        is_logged: Asked with a function that gives the log's own row of a collection and key.
    """

    call: Call
    txid: str
    message_id: str
    patches: tuple[tuple[str, RowPatch[Any]], ...]
    is_logged: Callable[[Callable[[str, str], Any]], bool]


def message(
    actor: Actor,
    content: str,
    *,
    message_id: str,
    role: str,
    txid: str,
    now: str,
    turn: int,
    agent: AgentSpec | None,
) -> Draft:
    """A message, shown as the last one (by its ``turn``) until the log has it."""
    body: dict[str, Any] = {
        "messageId": message_id,
        "content": content,
        "role": role,
        "actorId": actor.id,
        "actorType": actor.type,
        "txid": txid,
    }
    if agent is not None:
        body["agent"] = agent.to_json()
    row = MessageRow(message_id, role, (TextPart.of(content),), actor.id, True, now)
    placed = Placed(row, (_NO_ROW_YET, f"~{turn:012}"))
    return Draft(
        Call("POST", "/messages", body),
        txid,
        message_id,
        (("message", RowPatch(message_id, lambda logged: logged or placed)),),
        lambda logged: logged("message", message_id) is not None,
    )


def tool_result(
    actor: Actor,
    call_id: str,
    output: Any,
    error: str | None,
    *,
    message_id: str,
    txid: str,
    now: str,
) -> Draft:
    """What a tool gave: the call counts as complete from now on."""
    row = ToolResultRow(call_id, message_id, output, error, actor.id, now)
    body = {
        "toolCallId": call_id,
        "output": output,
        "error": error,
        "messageId": message_id,
        "txid": txid,
    }

    def complete(call: ToolCallRow | None) -> ToolCallRow | None:
        return None if call is None else replace(call, state="complete")

    def is_logged(logged: Callable[[str, str], Any]) -> bool:
        call = logged("tool_call", call_id)
        return logged("tool_result", row.id) is not None or (
            call is not None and call.state == "complete"
        )

    return Draft(
        Call("POST", "/tool-results", body),
        txid,
        message_id,
        (
            ("tool_result", RowPatch(row.id, lambda logged: logged or row)),
            ("tool_call", RowPatch(call_id, complete)),
        ),
        is_logged,
    )


def approval(actor: Actor, approval_id: str, *, approved: bool, txid: str, now: str) -> Draft:
    """The answer to an approval."""

    def answered(row: ApprovalRow | None) -> ApprovalRow | None:
        if row is None or row.status != "pending":
            return row
        return replace(
            row,
            status="approved" if approved else "denied",
            responded_by=actor.id,
            responded_at=now,
        )

    def is_logged(logged: Callable[[str, str], Any]) -> bool:
        row = logged("approval", approval_id)
        return row is not None and row.status != "pending"

    return Draft(
        Call(
            "POST",
            f"/approvals/{quote(approval_id, safe='')}",
            {"approved": approved, "txid": txid},
        ),
        txid,
        approval_id,
        (("approval", RowPatch(approval_id, answered)),),
        is_logged,
    )


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message as dictionaries have it: ``content``, or the text of its ``parts``."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = message.get("parts") or content or ()
    texts = (part.get("content", part.get("text")) for part in parts if part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def judged(session: str, status: int, body: bytes) -> Any:
    """The JSON of a success, None when it has none.

    Raises:
        SessionError: It is a refusal, or no answer of a session service.
    """
    value = _json(body)
    if status in _SUCCESS:
        if body and value is None:
            raise SessionProtocolError(session, _shortened(body), status=status)
        return value
    raise _refusal(session, status, body, value)


def _refusal(session: str, status: int, body: bytes, value: Any) -> SessionError:
    told = value.get("error") if isinstance(value, dict) else None
    kind = error_of(status)
    if isinstance(told, dict) and isinstance(told.get("message"), str):
        code = told.get("code")
        code = code if isinstance(code, str) else None
        return kind(session, told["message"], status=status, code=code)
    return kind(session, told if isinstance(told, str) else _shortened(body), status=status)


def text_field(session: str, value: Any, name: str) -> str:
    """A field of an answer that has to be there.

    Raises:
        SessionProtocolError: It is not.
    """
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise SessionProtocolError(session, f"an answer without {name}")
    return found


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _shortened(body: bytes) -> str:
    text = " ".join(body[: 2 * _DETAIL].decode(errors="replace").split())
    return text if len(text) <= _DETAIL else text[:_DETAIL] + "..."
