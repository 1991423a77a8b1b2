"""Chunks of OpenAI's chat completions, and of the many servers that speak them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from durable_ai_db.materialize._draft import Call, Draft
from durable_ai_db.materialize._format import (
    Chunk,
    ChunkError,
    ChunkFormat,
    mapping_or_empty,
    text_or_none,
)
from durable_ai_db.materialize._session_chunks import failure


def _recognizes(chunk: Chunk) -> bool:
    if chunk.get("object") == "chat.completion.chunk":
        return True
    return "type" not in chunk and isinstance(chunk.get("choices", chunk.get("error")), list | dict)


class _Reader:
    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], Call] = {}

    def read(self, chunk: Chunk, draft: Draft) -> None:
        if chunk.get("error"):
            draft.fail(*failure(chunk))
            return
        answer_id = text_or_none(chunk, "id") or ""
        for choice in _mappings(chunk.get("choices")):
            if choice.get("index", 0) == 0:
                self._choice(answer_id, choice, draft)
        # Comes in a chunk of its own after the end, or grows with every chunk.
        draft.count(chunk.get("usage"), answer_id)

    def _choice(self, answer_id: str, choice: Chunk, draft: Draft) -> None:
        delta = mapping_or_empty(choice, "delta")
        thought = text_or_none(delta, "reasoning_content") or text_or_none(delta, "reasoning")
        if thought:
            draft.text(thought, kind="thinking")
        for name in ("content", "refusal"):
            piece = text_or_none(delta, name)
            if piece:
                draft.text(piece)
        for call in _mappings(delta.get("tool_calls")):
            self._call(answer_id, call, draft)
        if isinstance(delta.get("function_call"), Mapping):
            self._call(answer_id, {"index": 0, "function": delta["function_call"]}, draft)
        for annotation in _mappings(delta.get("annotations")):
            cite(annotation.get("url_citation"), draft)
        reason = text_or_none(choice, "finish_reason")
        if reason:
            draft.finish(reason)

    def _call(self, answer_id: str, delta: Chunk, draft: Draft) -> None:
        index = delta.get("index", 0)
        if not isinstance(index, int):
            raise ChunkError("tool_calls.index: not a number")
        function = mapping_or_empty(delta, "function")
        key = (answer_id, index)
        call = self._calls.get(key)
        if call is None:
            call_id = text_or_none(delta, "id") or f"{answer_id}:{index}"
            name = text_or_none(function, "name") or ""
            call = self._calls[key] = draft.call(call_id, name)
        draft.arguments(call, text_or_none(function, "arguments") or "")


def _mappings(value: Any) -> Iterable[Chunk]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def cite(citation: Any, draft: Draft) -> None:
    """Put the source of an answer, once."""
    if isinstance(citation, Mapping) and isinstance(citation.get("url"), str):
        url = citation["url"]
        part = {"type": "source-url", "sourceId": url, "url": url}
        title = text_or_none(citation, "title")
        draft.put_json(part | ({"title": title} if title else {}), f"source:{url}")


OPENAI_CHAT: Final = ChunkFormat("openai-chat", _recognizes, _Reader)
