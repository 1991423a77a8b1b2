"""Events of Anthropic's messages. Pure."""

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
    mapping,
    mapping_or_empty,
    text,
    text_or_none,
)
from durable_ai_db.materialize.formats._openai_chat import cite


def _recognizes(chunk: Chunk) -> bool:
    return chunk.get("type") in _HANDLERS


class _Reader:
    def __init__(self) -> None:
        self._answer_id = ""
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self._calls: dict[int, Call] = {}

    def read(self, chunk: Chunk, draft: Draft) -> None:
        by_type(_HANDLERS, self, chunk, draft)

    def message_start(self, chunk: Chunk, draft: Draft) -> None:
        message = mapping(chunk, "message")
        self._answer_id = text_or_none(message, "id") or ""
        self._usage, self._calls, self._reason = {}, {}, None
        draft.resume()
        self._count(message, draft)

    def message_delta(self, chunk: Chunk, draft: Draft) -> None:
        reason = text_or_none(mapping_or_empty(chunk, "delta"), "stop_reason")
        self._reason = reason or self._reason
        self._count(chunk, draft)

    def message_stop(self, _chunk: Chunk, draft: Draft) -> None:
        draft.finish(self._reason)

    def _count(self, chunk: Chunk, draft: Draft) -> None:
        """Later counts are cumulative, and name only what they know."""
        usage = mapping_or_empty(chunk, "usage")
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        draft.count(self._usage, self._answer_id)

    # Blocks

    def block_start(self, chunk: Chunk, draft: Draft) -> None:
        block = mapping(chunk, "content_block")
        kind = text(block, "type")
        if kind == "text":
            self._open(chunk, draft, text_or_none(block, "text") or "")
        elif kind == "thinking":
            draft.text(text_or_none(block, "thinking") or "", self._key(chunk), "thinking")
        elif kind.endswith("tool_use"):
            call = draft.call(text(block, "id"), text_or_none(block, "name") or "")
            self._calls[_index(chunk)] = call
            if block.get("input"):
                draft.give(call, block["input"])
        elif "tool_use_id" in block:
            self._result(block, draft)
        else:
            draft.put_json(block)

    def _open(self, chunk: Chunk, draft: Draft, piece: str) -> None:
        if piece:
            draft.text(piece, self._key(chunk))

    def _result(self, block: Chunk, draft: Draft) -> None:
        """What a tool on the provider's side gave."""
        content = block.get("content")
        code = text_or_none(content, "error_code") if isinstance(content, Mapping) else None
        failed = block.get("is_error") is True or code is not None
        draft.result(text(block, "tool_use_id"), content, (code or "error") if failed else None)

    def block_delta(self, chunk: Chunk, draft: Draft) -> None:
        delta = mapping(chunk, "delta")
        match delta.get("type"):
            case "text_delta":
                draft.text(text(delta, "text"), self._key(chunk))
            case "thinking_delta":
                draft.text(text(delta, "thinking"), self._key(chunk), "thinking")
            case "signature_delta":
                signature = {"signature": text(delta, "signature")}
                draft.annotate_text(signature, self._key(chunk), "thinking")
            case "input_json_delta":
                piece = text(delta, "partial_json")
                draft.arguments(self._call(chunk), piece)
            case "citations_delta":
                cite(delta.get("citation"), draft)
            case other:
                raise ChunkError(f"delta.type {other!r} is not known")

    def block_stop(self, chunk: Chunk, draft: Draft) -> None:
        call = self._calls.get(_index(chunk))
        if call is not None:
            draft.ready(call)

    def _call(self, chunk: Chunk) -> Call:
        call = self._calls.get(_index(chunk))
        if call is None:
            raise ChunkError("input of a block that never began")
        return call

    def _key(self, chunk: Chunk) -> str:
        return f"{self._answer_id}:{_index(chunk)}"


def _index(chunk: Chunk) -> int:
    index = chunk.get("index")
    if not isinstance(index, int):
        raise ChunkError("index: not a number")
    return index


_HANDLERS: Final[Mapping[str, Handler]] = {
    "message_start": _Reader.message_start,
    "content_block_start": _Reader.block_start,
    "content_block_delta": _Reader.block_delta,
    "content_block_stop": _Reader.block_stop,
    "message_delta": _Reader.message_delta,
    "message_stop": _Reader.message_stop,
    "ping": ignore,
}

ANTHROPIC: Final = ChunkFormat("anthropic", _recognizes, _Reader)
