"""Events of the AG-UI protocol, with what TanStack AI adds to them. Pure.

Names are those of the protocol's 1.0 (``ag-ui-protocol`` on PyPI), of the ``THINKING_*`` events
before it, and of TanStack AI, which carries approvals and client tools in ``CUSTOM`` events.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._format import (
    Chunk,
    ChunkFormat,
    Handler,
    by_type,
    ignore,
    mapping,
    mapping_or_empty,
    text,
    text_or_none,
)
from durable_ai_db.materialize._session_chunks import failure


def _recognizes(chunk: Chunk) -> bool:
    return chunk.get("type") in _HANDLERS


class _Reader:
    def __init__(self) -> None:
        self._text_id = ""
        self._thought_id = ""
        self._call_id = ""

    def read(self, chunk: Chunk, draft: Draft) -> None:
        by_type(_HANDLERS, self, chunk, draft)

    # Runs

    def run_started(self, _chunk: Chunk, draft: Draft) -> None:
        draft.resume()

    def run_finished(self, chunk: Chunk, draft: Draft) -> None:
        self._count(chunk, draft)
        outcome = mapping_or_empty(chunk, "outcome")
        interrupts = outcome.get("interrupts")
        if isinstance(interrupts, list):
            self._interrupts(interrupts, draft)
        if outcome.get("type") == "cancelled":
            draft.stop("cancelled")
        else:
            reason = text_or_none(chunk, "finishReason")
            draft.finish(reason or ("interrupt" if interrupts else None))

    def _interrupts(self, interrupts: Iterable[Any], draft: Draft) -> None:
        for one in interrupts:
            if isinstance(one, Mapping):
                interrupt_id = text(one, "id")
                draft.request(interrupt_id, text_or_none(one, "toolCallId") or interrupt_id)

    def run_error(self, chunk: Chunk, draft: Draft) -> None:
        self._count(chunk, draft)
        draft.fail(*failure(chunk))

    def _count(self, chunk: Chunk, draft: Draft) -> None:
        usage = chunk.get("usage")
        for one in usage if isinstance(usage, list) else [usage]:
            draft.count(one)

    # Text

    def text_start(self, chunk: Chunk, draft: Draft) -> None:
        self._text_id = text(chunk, "messageId")
        draft.forget_text(self._text_id)

    def text_content(self, chunk: Chunk, draft: Draft) -> None:
        piece = text(chunk, "delta")
        if piece:
            draft.text(piece, text_or_none(chunk, "messageId") or self._text_id)

    def text_chunk(self, chunk: Chunk, draft: Draft) -> None:
        self._text_id = text_or_none(chunk, "messageId") or self._text_id
        piece = text_or_none(chunk, "delta")
        if piece:
            draft.text(piece, self._text_id)

    def thought_start(self, chunk: Chunk, draft: Draft) -> None:
        self._thought_id = text_or_none(chunk, "messageId") or ""
        draft.forget_text(self._thought_id, "thinking")

    def thought_content(self, chunk: Chunk, draft: Draft) -> None:
        piece = text(chunk, "delta")
        if piece:
            key = text_or_none(chunk, "messageId") or self._thought_id
            draft.text(piece, key, "thinking")

    def thought_chunk(self, chunk: Chunk, draft: Draft) -> None:
        self._thought_id = text_or_none(chunk, "messageId") or self._thought_id
        piece = text_or_none(chunk, "delta")
        if piece:
            draft.text(piece, self._thought_id, "thinking")

    def encrypted(self, chunk: Chunk, draft: Draft) -> None:
        """What a provider wants to get back with the reasoning, or with a call."""
        entity, value = text(chunk, "entityId"), text(chunk, "encryptedValue")
        call = draft.calls.get(entity)
        if call is not None:
            call.extra = {**(call.extra or {}), "encryptedValue": value}
            draft.mark(call)
        elif draft.has_text(entity, "thinking"):
            draft.annotate_text({"encryptedValue": value}, entity, "thinking")

    # Tools

    def call_start(self, chunk: Chunk, draft: Draft) -> None:
        self._call_id = text(chunk, "toolCallId")
        name = text_or_none(chunk, "toolCallName") or text_or_none(chunk, "toolName")
        draft.call(self._call_id, name or "")

    def call_args(self, chunk: Chunk, draft: Draft) -> None:
        piece = text(chunk, "delta")
        draft.arguments(draft.call(text(chunk, "toolCallId")), piece)

    def call_end(self, chunk: Chunk, draft: Draft) -> None:
        call = draft.call(text(chunk, "toolCallId"))
        if chunk.get("input") is not None:
            draft.give(call, chunk["input"])
        draft.ready(call)
        if chunk.get("result") is not None:
            draft.result(call.id, chunk["result"])

    def call_chunk(self, chunk: Chunk, draft: Draft) -> None:
        self._call_id = text_or_none(chunk, "toolCallId") or self._call_id
        call = draft.call(self._call_id, text_or_none(chunk, "toolCallName") or "")
        draft.arguments(call, text_or_none(chunk, "delta") or "")

    def call_result(self, chunk: Chunk, draft: Draft) -> None:
        failed = chunk.get("state") == "error" or chunk.get("error") is not None
        content = chunk.get("content")
        error = str(chunk.get("error") or content) if failed else None
        draft.result(text(chunk, "toolCallId"), content, error)

    def custom(self, chunk: Chunk, draft: Draft) -> None:
        """An event of the application, or one of TanStack's about a tool call."""
        match chunk.get("name"):
            case "approval-requested":
                value = mapping(chunk, "value")
                draft.request(text(mapping(value, "approval"), "id"), text(value, "toolCallId"))
            case "tool-input-available":
                value = mapping(chunk, "value")
                name = text_or_none(value, "toolName") or ""
                call = draft.call(text(value, "toolCallId"), name)
                call.executing = True
                draft.give(call, value.get("input"))
            case _:
                pass

    def activity(self, chunk: Chunk, draft: Draft) -> None:
        activity_id = text(chunk, "messageId")
        part = {
            "type": "activity",
            "id": activity_id,
            "activityType": text(chunk, "activityType"),
            "content": mapping(chunk, "content"),
        }
        draft.put_json(part, f"activity:{activity_id}")


_HANDLERS: Final[Mapping[str, Handler]] = {
    "RUN_STARTED": _Reader.run_started,
    "RUN_FINISHED": _Reader.run_finished,
    "RUN_ERROR": _Reader.run_error,
    "TEXT_MESSAGE_START": _Reader.text_start,
    "TEXT_MESSAGE_CONTENT": _Reader.text_content,
    "TEXT_MESSAGE_END": ignore,
    "TEXT_MESSAGE_CHUNK": _Reader.text_chunk,
    "REASONING_START": ignore,
    "REASONING_MESSAGE_START": _Reader.thought_start,
    "REASONING_MESSAGE_CONTENT": _Reader.thought_content,
    "REASONING_MESSAGE_END": ignore,
    "REASONING_MESSAGE_CHUNK": _Reader.thought_chunk,
    "REASONING_END": ignore,
    "REASONING_ENCRYPTED_VALUE": _Reader.encrypted,
    "THINKING_START": ignore,
    "THINKING_TEXT_MESSAGE_START": _Reader.thought_start,
    "THINKING_TEXT_MESSAGE_CONTENT": _Reader.thought_content,
    "THINKING_TEXT_MESSAGE_END": ignore,
    "THINKING_END": ignore,
    "TOOL_CALL_START": _Reader.call_start,
    "TOOL_CALL_ARGS": _Reader.call_args,
    "TOOL_CALL_END": _Reader.call_end,
    "TOOL_CALL_CHUNK": _Reader.call_chunk,
    "TOOL_CALL_RESULT": _Reader.call_result,
    "CUSTOM": _Reader.custom,
    "ACTIVITY_SNAPSHOT": _Reader.activity,
    # About the run and its state, and not about the message.
    "STEP_STARTED": ignore,
    "STEP_FINISHED": ignore,
    "STATE_SNAPSHOT": ignore,
    "STATE_DELTA": ignore,
    "MESSAGES_SNAPSHOT": ignore,
    "RAW": ignore,
    "SUBAGENT_STARTED": ignore,
    "SUBAGENT_FINISHED": ignore,
    "SUBAGENT_ERROR": ignore,
}

AGUI: Final = ChunkFormat("ag-ui", _recognizes, _Reader)
