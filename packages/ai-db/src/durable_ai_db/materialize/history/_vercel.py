"""A history as the Vercel AI SDK's UI messages. Pure."""

from collections.abc import Iterable, Iterator

from durable_ai_db.materialize._rows import Json, JsonPart, Part, ToolCallPart
from durable_ai_db.materialize.history._content import text_of, thinking_of
from durable_ai_db.materialize.history._resolve import HistoryCall, HistoryMessage


def vercel_messages(history: Iterable[HistoryMessage]) -> Iterator[Json]:
    """The messages; a tool's result is in the part of its call."""
    for message in history:
        row = message.row
        parts = [shown for part in row.parts for shown in _part(message, part)]
        if parts:
            whole: Json = {"id": row.id, "role": row.role, "parts": parts}
            yield whole | ({} if row.metadata is None else {"metadata": dict(row.metadata)})


def _part(message: HistoryMessage, part: Part) -> Iterator[Json]:
    text, thought = text_of(part), thinking_of(part)
    if text is not None:
        if text:
            yield {"type": "text", "text": text, "state": "done"}
    elif thought is not None:
        yield {"type": "reasoning", "text": thought, "state": "done"}
    elif isinstance(part, ToolCallPart):
        if part.id in message.calls:
            yield _call(message.calls[part.id])
    elif isinstance(part, JsonPart):
        yield part.to_json()


_KEPT = ("title", "providerExecuted", "toolMetadata", "callProviderMetadata")


def _call(call: HistoryCall) -> Json:
    shown: Json = {"type": f"tool-{call.name}", "toolCallId": call.id, "input": call.input}
    if call.extra.get("dynamic") is True:
        shown |= {"type": "dynamic-tool", "toolName": call.name}
    shown |= {name: call.extra[name] for name in _KEPT if name in call.extra}
    if call.approval is not None:
        shown["approval"] = {"id": call.approval.id}
        if call.approval.status != "pending":
            shown["approval"]["approved"] = call.approval.status == "approved"
        if call.approval.reason is not None:
            shown["approval"]["reason"] = call.approval.reason
    return shown | _state(call)


def _state(call: HistoryCall) -> Json:
    outcome = call.outcome
    if outcome is None:
        approved = call.approval is not None
        return {"state": "approval-responded" if approved else "input-available"}
    if outcome.denied:
        return {"state": "output-denied"}
    if outcome.error is not None:
        return {"state": "output-error", "errorText": outcome.error}
    return {"state": "output-available", "output": outcome.output}
