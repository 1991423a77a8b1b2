"""The UI message chunks of the Vercel AI SDK (5 to 7). Pure.

Chunks are of ``packages/ai/src/ui-message-stream/ui-message-chunks.ts`` of vercel/ai. The SDK's
reader refuses a delta without its start; here it begins a part, because a log may have lost one.
"""

from collections.abc import Mapping
from typing import Any, Final

from durable_ai_db.materialize._draft import Call, Draft
from durable_ai_db.materialize._format import (
    Chunk,
    ChunkError,
    ChunkFormat,
    Handler,
    by_type,
    ignore,
    mapping_or_empty,
    text,
    text_or_none,
)
from durable_ai_db.materialize._rows import TextKind

_CALL_EXTRAS: Final = {
    "dynamic": "dynamic",
    "title": "title",
    "providerExecuted": "providerExecuted",
    "toolMetadata": "toolMetadata",
    "providerMetadata": "callProviderMetadata",
}
DENIED: Final = "The call was denied."


def _recognizes(chunk: Chunk) -> bool:
    kind = chunk.get("type")
    return isinstance(kind, str) and (kind in _HANDLERS or kind.startswith("data-"))


class _Reader:
    def __init__(self) -> None:
        self._step_at = 0

    def read(self, chunk: Chunk, draft: Draft) -> None:
        kind = chunk.get("type")
        if isinstance(kind, str) and kind.startswith("data-"):
            self.data(chunk, draft)
        else:
            by_type(_HANDLERS, self, chunk, draft)

    # Text

    def text_start(self, chunk: Chunk, draft: Draft) -> None:
        draft.open_text(text(chunk, "id"))
        self._annotate(chunk, draft, "text")

    def text_delta(self, chunk: Chunk, draft: Draft) -> None:
        draft.text(text(chunk, "delta"), text(chunk, "id"))
        self._annotate(chunk, draft, "text")

    def text_end(self, chunk: Chunk, draft: Draft) -> None:
        self._annotate(chunk, draft, "text")

    def reasoning_start(self, chunk: Chunk, draft: Draft) -> None:
        draft.open_text(text(chunk, "id"), "thinking")
        self._annotate(chunk, draft, "thinking")

    def reasoning_delta(self, chunk: Chunk, draft: Draft) -> None:
        draft.text(text(chunk, "delta"), text(chunk, "id"), "thinking")
        self._annotate(chunk, draft, "thinking")

    def reasoning_end(self, chunk: Chunk, draft: Draft) -> None:
        self._annotate(chunk, draft, "thinking")

    def _annotate(self, chunk: Chunk, draft: Draft, kind: TextKind) -> None:
        metadata = chunk.get("providerMetadata")
        if isinstance(metadata, Mapping):
            draft.annotate_text({"providerMetadata": metadata}, text(chunk, "id"), kind)

    # Tools

    def tool_input_start(self, chunk: Chunk, draft: Draft) -> None:
        self._call(chunk, draft)

    def tool_input_delta(self, chunk: Chunk, draft: Draft) -> None:
        piece = text(chunk, "inputTextDelta")
        draft.arguments(draft.call(text(chunk, "toolCallId")), piece)

    def tool_input_available(self, chunk: Chunk, draft: Draft) -> None:
        draft.give(self._call(chunk, draft), chunk.get("input"))

    def tool_input_error(self, chunk: Chunk, draft: Draft) -> None:
        error = text(chunk, "errorText")
        call = self._call(chunk, draft)
        draft.give(call, chunk.get("input"))
        draft.result(call.id, None, error)

    def tool_output_available(self, chunk: Chunk, draft: Draft) -> None:
        preliminary = chunk.get("preliminary") is True
        draft.result(text(chunk, "toolCallId"), chunk.get("output"), preliminary=preliminary)

    def tool_output_error(self, chunk: Chunk, draft: Draft) -> None:
        draft.result(text(chunk, "toolCallId"), None, text(chunk, "errorText"))

    def tool_output_denied(self, chunk: Chunk, draft: Draft) -> None:
        draft.result(text(chunk, "toolCallId"), None, DENIED)

    def tool_approval_request(self, chunk: Chunk, draft: Draft) -> None:
        draft.request(text(chunk, "approvalId"), text(chunk, "toolCallId"))

    def tool_approval_response(self, chunk: Chunk, draft: Draft) -> None:
        approved = chunk.get("approved")
        if not isinstance(approved, bool):
            raise ChunkError("approved: neither true nor false")
        reason = text_or_none(chunk, "reason")
        draft.answer(text(chunk, "approvalId"), approved=approved, reason=reason)

    def _call(self, chunk: Chunk, draft: Draft) -> Call:
        call = draft.call(text(chunk, "toolCallId"), text(chunk, "toolName"))
        extra = {
            shown: chunk[name]
            for name, shown in _CALL_EXTRAS.items()
            if chunk.get(name) is not None
        }
        if extra:
            call.extra = {**(call.extra or {}), **extra}
        return call

    # Other parts

    def part(self, chunk: Chunk, draft: Draft) -> None:
        draft.put_json(chunk)

    def data(self, chunk: Chunk, draft: Draft) -> None:
        if chunk.get("transient") is True:
            return
        part_id = text_or_none(chunk, "id")
        key = None if part_id is None else f"{chunk['type']}:{part_id}"
        draft.put_json(chunk, key)

    # Steps and ends

    def start(self, chunk: Chunk, draft: Draft) -> None:
        draft.resume()
        self.message_metadata(chunk, draft)

    def start_step(self, _chunk: Chunk, draft: Draft) -> None:
        draft.put_json({"type": "step-start"})
        self._step_at = draft.length

    def reset_step(self, _chunk: Chunk, draft: Draft) -> None:
        draft.cut(self._step_at)

    def message_metadata(self, chunk: Chunk, draft: Draft) -> None:
        metadata = mapping_or_empty(chunk, "messageMetadata")
        if metadata:
            draft.annotate(metadata)
            usage: Any = metadata.get("totalUsage") or metadata.get("usage")
            draft.count(usage, "message")

    def finish(self, chunk: Chunk, draft: Draft) -> None:
        self.message_metadata(chunk, draft)
        draft.finish(text_or_none(chunk, "finishReason"))

    def abort(self, chunk: Chunk, draft: Draft) -> None:
        draft.stop(text_or_none(chunk, "reason") or "aborted")


_HANDLERS: Final[Mapping[str, Handler]] = {
    "text-start": _Reader.text_start,
    "text-delta": _Reader.text_delta,
    "text-end": _Reader.text_end,
    "reasoning-start": _Reader.reasoning_start,
    "reasoning-delta": _Reader.reasoning_delta,
    "reasoning-end": _Reader.reasoning_end,
    "tool-input-start": _Reader.tool_input_start,
    "tool-input-delta": _Reader.tool_input_delta,
    "tool-input-available": _Reader.tool_input_available,
    "tool-input-error": _Reader.tool_input_error,
    "tool-output-available": _Reader.tool_output_available,
    "tool-output-error": _Reader.tool_output_error,
    "tool-output-denied": _Reader.tool_output_denied,
    "tool-approval-request": _Reader.tool_approval_request,
    "tool-approval-response": _Reader.tool_approval_response,
    "source-url": _Reader.part,
    "source-document": _Reader.part,
    "file": _Reader.part,
    "reasoning-file": _Reader.part,
    "custom": _Reader.part,
    "start": _Reader.start,
    "start-step": _Reader.start_step,
    "finish-step": ignore,
    "reset-step": _Reader.reset_step,
    "message-metadata": _Reader.message_metadata,
    "finish": _Reader.finish,
    "abort": _Reader.abort,
}

VERCEL: Final = ChunkFormat("vercel", _recognizes, _Reader)
