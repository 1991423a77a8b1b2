"""``POST /v1/messages``: the shapes of Anthropic's messages API."""

import json
from collections.abc import Iterator
from typing import Any

from emulator._script import Script, ToolCall
from emulator._sse import event_frame

INPUT_TOKENS = 13
PING_EVERY = 8


def stream(script: Script, request: dict[str, Any]) -> Iterator[bytes]:
    """The frames of a streaming answer, with a ping now and then."""
    for event in _events(script, request):
        yield event_frame(event)


def document(script: Script, request: dict[str, Any]) -> dict[str, Any]:
    """The answer in one piece."""
    content: list[dict[str, Any]] = [{"type": "text", "text": script.text, "citations": None}]
    content.extend(_tool_block(call, json.loads(_arguments(call))) for call in script.tool_calls)
    usage = _usage(_output_tokens(script))
    return _message(script, request, content, _stop_reason(script), usage)


def error(status: int, message: str) -> dict[str, Any]:
    """Anthropic's error body."""
    kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
    kind = kinds.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_0001"}


def _events(script: Script, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    start = _message(script, request, [], None, _usage(1))
    yield {"type": "message_start", "message": start}
    yield from _text_block(script)
    for index, call in enumerate(script.tool_calls, start=1):
        yield from _tool_use_block(call, index)
    delta = {"stop_reason": _stop_reason(script), "stop_sequence": None}
    usage = {"output_tokens": _output_tokens(script)}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _text_block(script: Script) -> Iterator[dict[str, Any]]:
    block = {"type": "text", "text": "", "citations": None}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for count, token in enumerate(script.tokens):
        if count % PING_EVERY == 0:
            yield {"type": "ping"}
        delta = {"type": "text_delta", "text": token}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}


def _tool_use_block(call: ToolCall, index: int) -> Iterator[dict[str, Any]]:
    block = _tool_block(call, {})
    yield {"type": "content_block_start", "index": index, "content_block": block}
    for piece in call.arguments:
        delta = {"type": "input_json_delta", "partial_json": piece}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _tool_block(call: ToolCall, value: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": value}


def _arguments(call: ToolCall) -> str:
    return "".join(call.arguments)


def _stop_reason(script: Script) -> str:
    return "tool_use" if script.tool_calls else "end_turn"


def _output_tokens(script: Script) -> int:
    return len(script.tokens) + sum(len(call.arguments) for call in script.tool_calls)


def _usage(output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": INPUT_TOKENS,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _message(
    script: Script,
    request: dict[str, Any],
    content: list[dict[str, Any]],
    stop_reason: str | None,
    usage: dict[str, Any],
) -> dict[str, Any]:
    return {
        "id": f"msg_{script.id}",
        "type": "message",
        "role": "assistant",
        "model": str(request.get("model", "")),
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }
