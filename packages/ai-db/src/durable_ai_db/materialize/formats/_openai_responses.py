"""Events of OpenAI's responses. Pure.

There are many types, and new ones come often: what is not named here is passed over, for the
items that they are about come whole when they are done.
"""

from collections.abc import Mapping
from typing import Any, Final

from durable_ai_db.materialize._draft import Call, Draft
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
from durable_ai_db.materialize._rows import TextKind
from durable_ai_db.materialize._session_chunks import failure
from durable_ai_db.materialize.formats._openai_chat import cite


def _recognizes(chunk: Chunk) -> bool:
    kind = chunk.get("type")
    return isinstance(kind, str) and kind.startswith("response.")


class _Reader:
    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def read(self, chunk: Chunk, draft: Draft) -> None:
        kind = chunk.get("type")
        if kind in _HANDLERS or not _recognizes(chunk):
            by_type(_HANDLERS, self, chunk, draft)

    # Text

    def text_delta(self, chunk: Chunk, draft: Draft) -> None:
        _append(chunk, draft, "text", "content_index")

    def text_done(self, chunk: Chunk, draft: Draft) -> None:
        whole = text_or_none(chunk, "text") or text_or_none(chunk, "refusal")
        if whole and not draft.has_text(_key(chunk, "content_index")):
            draft.text(whole, _key(chunk, "content_index"))

    def thought_delta(self, chunk: Chunk, draft: Draft) -> None:
        index = "summary_index" if "summary_index" in chunk else "content_index"
        _append(chunk, draft, "thinking", index)

    def annotation(self, chunk: Chunk, draft: Draft) -> None:
        cite(chunk.get("annotation"), draft)

    # Items

    def item_added(self, chunk: Chunk, draft: Draft) -> None:
        item = mapping(chunk, "item")
        if item.get("type") in _CALL_TYPES:
            self._call(item, draft)

    def arguments_delta(self, chunk: Chunk, draft: Draft) -> None:
        piece = text(chunk, "delta")
        draft.arguments(self._call_of(chunk, draft), piece)

    def arguments_done(self, chunk: Chunk, draft: Draft) -> None:
        call = self._call_of(chunk, draft)
        whole = text_or_none(chunk, "arguments") or text_or_none(chunk, "input")
        self._complete(call, whole, draft)

    def item_done(self, chunk: Chunk, draft: Draft) -> None:
        item = mapping(chunk, "item")
        kind = item.get("type")
        if kind in _CALL_TYPES:
            self._call_done(item, draft)
        elif kind == "reasoning":
            self._reasoning_done(item, draft)
        elif kind == "image_generation_call" and isinstance(item.get("result"), str):
            media = f"image/{text_or_none(item, 'output_format') or 'png'}"
            url = f"data:{media};base64,{item['result']}"
            part = {"type": "file", "mediaType": media, "url": url}
            draft.put_json(part, f"item:{item.get('id')}")
        elif kind != "message":
            draft.put_json(item, f"item:{item.get('id')}")

    def _call(self, item: Chunk, draft: Draft) -> Call:
        item_id = text(item, "id")
        call = draft.call(
            text_or_none(item, "call_id") or item_id, text_or_none(item, "name") or ""
        )
        self._calls[item_id] = call
        return call

    def _call_of(self, chunk: Chunk, draft: Draft) -> Call:
        item_id = text(chunk, "item_id")
        return self._calls.get(item_id) or draft.call(item_id, text_or_none(chunk, "name") or "")

    def _call_done(self, item: Chunk, draft: Draft) -> None:
        call = self._call(item, draft)
        whole = text_or_none(item, "arguments") or text_or_none(item, "input")
        self._complete(call, whole, draft)
        if item["type"] == "mcp_approval_request":
            draft.request(text(item, "id"), call.id)
        elif item.get("output") is not None or item.get("error") is not None:
            error = item.get("error")
            draft.result(call.id, item.get("output"), None if error is None else _error(error))

    def _complete(self, call: Call, whole: str | None, draft: Draft) -> None:
        if whole and not call.buffer.length:
            draft.arguments(call, whole)
        draft.ready(call)

    def _reasoning_done(self, item: Chunk, draft: Draft) -> None:
        """The provider wants its encrypted reasoning back: it is kept with the first part of it."""
        key = f"{item.get('id')}:0"
        encrypted = text_or_none(item, "encrypted_content")
        if encrypted:
            draft.annotate_text({"encryptedContent": encrypted}, key, "thinking")

    # Ends

    def created(self, _chunk: Chunk, draft: Draft) -> None:
        draft.resume()

    def completed(self, chunk: Chunk, draft: Draft) -> None:
        response = self._count(chunk, draft)
        output = response.get("output")
        items = output if isinstance(output, list) else []
        asks = any(isinstance(one, Mapping) and one.get("type") == "function_call" for one in items)
        draft.finish("tool_calls" if asks else "stop")

    def incomplete(self, chunk: Chunk, draft: Draft) -> None:
        response = self._count(chunk, draft)
        details = mapping_or_empty(response, "incomplete_details")
        draft.finish(text_or_none(details, "reason") or "incomplete")

    def failed(self, chunk: Chunk, draft: Draft) -> None:
        response = self._count(chunk, draft)
        draft.fail(*failure(response))

    def cancelled(self, chunk: Chunk, draft: Draft) -> None:
        self._count(chunk, draft)
        draft.stop("cancelled")

    def _count(self, chunk: Chunk, draft: Draft) -> Chunk:
        response = mapping(chunk, "response")
        draft.count(response.get("usage"), text_or_none(response, "id"))
        return response


def _key(chunk: Chunk, index: str) -> str:
    return f"{chunk.get('item_id')}:{chunk.get(index, 0)}"


def _append(chunk: Chunk, draft: Draft, kind: TextKind, index: str) -> None:
    piece = text(chunk, "delta")
    draft.text(piece, _key(chunk, index), kind)


def _error(error: Any) -> str:
    return failure(error)[0] if isinstance(error, Mapping) else str(error)


_CALL_TYPES: Final = {"function_call", "custom_tool_call", "mcp_call", "mcp_approval_request"}

_HANDLERS: Final[Mapping[str, Handler]] = {
    "response.created": _Reader.created,
    "response.output_text.delta": _Reader.text_delta,
    "response.output_text.done": _Reader.text_done,
    "response.refusal.delta": _Reader.text_delta,
    "response.refusal.done": _Reader.text_done,
    "response.reasoning_text.delta": _Reader.thought_delta,
    "response.reasoning_summary_text.delta": _Reader.thought_delta,
    "response.output_text.annotation.added": _Reader.annotation,
    "response.output_item.added": _Reader.item_added,
    "response.output_item.done": _Reader.item_done,
    "response.function_call_arguments.delta": _Reader.arguments_delta,
    "response.function_call_arguments.done": _Reader.arguments_done,
    "response.custom_tool_call_input.delta": _Reader.arguments_delta,
    "response.custom_tool_call_input.done": _Reader.arguments_done,
    "response.mcp_call_arguments.delta": _Reader.arguments_delta,
    "response.mcp_call_arguments.done": _Reader.arguments_done,
    "response.completed": _Reader.completed,
    "response.incomplete": _Reader.incomplete,
    "response.failed": _Reader.failed,
    "response.cancelled": _Reader.cancelled,
    "keepalive": ignore,
}

OPENAI_RESPONSES: Final = ChunkFormat("openai-responses", _recognizes, _Reader)
