"""A history as TanStack AI's UI messages. Pure."""

from collections.abc import Iterable, Iterator

from durable_ai_db.materialize._rows import Json, Part, ToolCallPart, ToolResultPart
from durable_ai_db.materialize.history._content import text_of, thinking_of
from durable_ai_db.materialize.history._resolve import HistoryCall, HistoryMessage


def tanstack_messages(history: Iterable[HistoryMessage]) -> Iterator[Json]:
    """The messages; a result that came in a message of its own stands behind its call."""
    for message in history:
        parts = [shown for part in message.row.parts for shown in _part(message, part)]
        if parts:
            row = message.row
            yield {"id": row.id, "role": row.role, "parts": parts, "createdAt": row.created_at}


def _part(message: HistoryMessage, part: Part) -> Iterator[Json]:
    text, thought = text_of(part), thinking_of(part)
    if text is not None:
        if text:
            yield {"type": "text", "content": text}
    elif thought is not None:
        yield {"type": "thinking", "content": thought}
    elif isinstance(part, ToolCallPart):
        if part.id in message.calls:
            yield from _call(message.calls[part.id])
    elif not isinstance(part, ToolResultPart):
        yield part.to_json()


def _call(call: HistoryCall) -> Iterator[Json]:
    shown: Json = {
        "type": "tool-call",
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "state": "input-complete",
    }
    if call.approval is not None:
        shown["state"] = "approval-requested"
        shown["approval"] = {"id": call.approval.id, "needsApproval": True}
        if call.approval.status != "pending":
            shown["state"] = "approval-responded"
            shown["approval"]["approved"] = call.approval.status == "approved"
    yield shown
    if call.outcome is not None:
        failed = call.outcome.error is not None
        result = {"type": "tool-result", "toolCallId": call.id, "content": call.outcome.text}
        yield result | ({"state": "error", "error": call.outcome.error} if failed else _COMPLETE)


_COMPLETE = {"state": "complete"}
