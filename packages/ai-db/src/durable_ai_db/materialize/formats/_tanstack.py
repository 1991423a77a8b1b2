"""The older chunks of TanStack AI (``@tanstack/ai`` up to 0.0.x). Pure."""

from collections.abc import Mapping
from typing import Final

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._format import (
    Chunk,
    ChunkError,
    ChunkFormat,
    Handler,
    by_type,
    mapping,
    text,
    text_or_none,
)
from durable_ai_db.materialize._rows import TextKind

_OWN_TYPES: Final = {
    *("content", "thinking", "tool_call", "tool_result", "done", "approval-requested"),
}


def _recognizes(chunk: Chunk) -> bool:
    kind = chunk.get("type")
    # Vercel's chunks have this type too, without a model and a time.
    return kind in _OWN_TYPES or (kind == "tool-input-available" and "timestamp" in chunk)


class _Reader:
    def read(self, chunk: Chunk, draft: Draft) -> None:
        by_type(_HANDLERS, self, chunk, draft)

    def content(self, chunk: Chunk, draft: Draft) -> None:
        piece = _piece(chunk, draft, "text")
        draft.all_ready()
        draft.text(piece)

    def thinking(self, chunk: Chunk, draft: Draft) -> None:
        draft.text(_piece(chunk, draft, "thinking"), kind="thinking")

    def tool_call(self, chunk: Chunk, draft: Draft) -> None:
        tool_call = mapping(chunk, "toolCall")
        function = mapping(tool_call, "function")
        call_id = text(tool_call, "id")
        if not call_id:
            raise ChunkError("toolCall.id: empty")
        arguments = text_or_none(function, "arguments") or ""
        draft.arguments(draft.call(call_id, text_or_none(function, "name") or ""), arguments)

    def tool_result(self, chunk: Chunk, draft: Draft) -> None:
        draft.result(text(chunk, "toolCallId"), chunk.get("content"))

    def tool_input_available(self, chunk: Chunk, draft: Draft) -> None:
        """The call goes to the client. Nothing is known of a call that nobody made."""
        call = draft.calls.get(text(chunk, "toolCallId"))
        if call is not None:
            call.given_input = chunk.get("input")
            call.executing = True
            draft.mark(call)

    def approval_requested(self, chunk: Chunk, draft: Draft) -> None:
        approval = mapping(chunk, "approval")
        approval_id = text(approval, "id")
        if not approval_id:
            raise ChunkError("approval.id: empty")
        needs = approval.get("needsApproval") is not False
        draft.request(approval_id, text(chunk, "toolCallId"), needs_approval=needs)

    def done(self, chunk: Chunk, draft: Draft) -> None:
        draft.count(chunk.get("usage"))
        draft.finish(text_or_none(chunk, "finishReason"))


def _piece(chunk: Chunk, draft: Draft, kind: TextKind) -> str:
    """What the chunk adds: its delta, or what its whole text adds to the text so far."""
    delta = text_or_none(chunk, "delta")
    if delta is not None:
        return delta
    whole = text(chunk, "content")
    before, current = draft.text_so_far(kind)
    for known in (current, before + current, before):
        if known and whole.startswith(known):
            return whole[len(known) :]
    return "" if current.startswith(whole) else whole


_HANDLERS: Final[Mapping[str, Handler]] = {
    "content": _Reader.content,
    "thinking": _Reader.thinking,
    "tool_call": _Reader.tool_call,
    "tool_result": _Reader.tool_result,
    "tool-input-available": _Reader.tool_input_available,
    "approval-requested": _Reader.approval_requested,
    "done": _Reader.done,
}

TANSTACK: Final = ChunkFormat("tanstack", _recognizes, _Reader)
