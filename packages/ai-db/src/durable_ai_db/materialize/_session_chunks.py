"""The chunks that are the session's own, whatever format an agent speaks. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._format import Chunk, ChunkError, mapping, text, text_or_none
from durable_ai_db.materialize._rows import ROLES, TextPart


def _user_message(chunk: Chunk, draft: Draft) -> None:
    """A whole message, of a user or of anybody else."""
    message = mapping(chunk, "message")
    parts = _parts_of(message)
    if draft.whole is not None or draft.length:
        raise ChunkError("the message is there already")
    draft.whole = message
    for part in parts:
        _put_whole(part, draft)
    draft.finish()


def _parts_of(message: Chunk) -> list[Any]:
    parts = message.get("parts")
    if parts is None and isinstance(message.get("content"), str):
        return [{"type": "text", "content": message["content"]}]
    if not isinstance(parts, list) or not all(isinstance(one, Mapping) for one in parts):
        raise ChunkError("message.parts: not a list of objects")
    return parts


def _put_whole(value: Mapping[str, Any], draft: Draft) -> None:
    """A part as it is, but for tools, which reach their collections."""
    match value:
        case {"type": "tool-call", "id": str(call_id), "name": str(name), **rest}:
            call = draft.call(call_id, name)
            draft.arguments(call, str(rest.get("arguments", "")))
        case {"type": "tool-result", "toolCallId": str(call_id), **rest}:
            error = rest.get("error")
            draft.result(call_id, rest.get("content"), None if error is None else str(error))
        case {"type": "text", "content": str(content), **rest} if not rest:
            draft.put(None, TextPart.of(content))
        case _:
            draft.put_json(value)


def _stop(chunk: Chunk, draft: Draft) -> None:
    draft.stop(text_or_none(chunk, "reason") or "aborted")


def _error(chunk: Chunk, draft: Draft) -> None:
    """An error, in the shape of any of the formats."""
    draft.fail(*failure(chunk))


def failure(chunk: Chunk) -> tuple[str, str | None]:
    """Message and code of an error, in whatever shape it comes."""
    error = chunk.get("error")
    if isinstance(error, str):
        return error, text_or_none(chunk, "code")
    inner = error if isinstance(error, Mapping) else chunk
    message = next(
        (found for name in ("message", "errorText", "detail") if (found := inner.get(name))),
        "unknown error",
    )
    code = inner.get("code") or (inner.get("type") if inner is not chunk else None)
    return str(message), None if code is None else str(code)


def _message_end(_chunk: Chunk, draft: Draft) -> None:
    draft.finish()


def _message_start(_chunk: Chunk, draft: Draft) -> None:
    """Written by old servers around the agent's chunks."""


def _tool_result(chunk: Chunk, draft: Draft) -> None:
    """A tool result that a user, or their browser, sent."""
    call_id = text(chunk, "toolCallId")
    error = chunk.get("error")
    shown = None if error is None else error if isinstance(error, str) else failure(chunk)[0]
    draft.result(call_id, chunk.get("output"), shown)


def _approval_response(chunk: Chunk, draft: Draft) -> None:
    approved = chunk.get("approved")
    if not isinstance(approved, bool):
        raise ChunkError("approved: neither true nor false")
    draft.answer(text(chunk, "approvalId"), approved=approved, reason=text_or_none(chunk, "reason"))


ANSWERS: Final[Mapping[str, Callable[[Chunk, Draft], None]]] = {
    "tool-result": _tool_result,
    "approval-response": _approval_response,
}
"""Chunks about something in another message: they do not make a message."""

SESSION_CHUNKS: Final[Mapping[str, Callable[[Chunk, Draft], None]]] = {
    "user-message": _user_message,
    "stop": _stop,
    "error": _error,
    "message-start": _message_start,
    "message-end": _message_end,
}


def shown_as(draft: Draft, message_id: str, role: str, created_at: str) -> tuple[str, str, str]:
    """Id, role and time of the message: its own, or what its rows say."""
    whole = draft.whole
    if whole is None:
        return message_id, role, created_at
    own_role = whole.get("role")
    return (
        text_or_none(whole, "id") or message_id,
        str(own_role) if own_role in ROLES else role,
        text_or_none(whole, "createdAt") or created_at,
    )
