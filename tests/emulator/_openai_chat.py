"""``POST /v1/chat/completions``: the shapes of OpenAI's chat completions API."""

from collections.abc import Iterator
from typing import Any

from emulator._script import Script, ToolCall
from emulator._sse import data_frame

CREATED = 1_750_000_000
PROMPT_TOKENS = 11


def stream(script: Script, request: dict[str, Any]) -> Iterator[bytes]:
    """The frames of a streaming answer."""
    model = str(request.get("model", ""))
    for delta in _deltas(script):
        yield data_frame(_chunk(script, model, [_choice(delta, None)]))
    yield data_frame(_chunk(script, model, [_choice({}, _finish_reason(script))]))
    if (request.get("stream_options") or {}).get("include_usage"):
        yield data_frame(_chunk(script, model, [], usage=_usage(script)))
    yield b"data: [DONE]\n\n"


def document(script: Script, request: dict[str, Any]) -> dict[str, Any]:
    """The answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": script.text, "refusal": None}
    if script.tool_calls:
        message["tool_calls"] = [_whole_tool_call(call) for call in script.tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(script)}
    return {
        "id": f"chatcmpl-{script.id}",
        "object": "chat.completion",
        "created": CREATED,
        "model": str(request.get("model", "")),
        "choices": [choice | {"logprobs": None}],
        "usage": _usage(script),
    }


def error(status: int, message: str) -> dict[str, Any]:
    """OpenAI's error body."""
    kinds = {401: "invalid_request_error", 429: "rate_limit_error"}
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    kind = kinds.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _deltas(script: Script) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "", "refusal": None}
    for token in script.tokens:
        yield {"content": token}
    for index, call in enumerate(script.tool_calls):
        head = {"name": call.name, "arguments": ""}
        yield _tool_delta(index, {"id": call.id, "type": "function", "function": head})
        for piece in call.arguments:
            yield _tool_delta(index, {"function": {"arguments": piece}})


def _tool_delta(index: int, fields: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": index} | fields]}


def _whole_tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": "".join(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _finish_reason(script: Script) -> str:
    return "tool_calls" if script.tool_calls else "stop"


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _chunk(
    script: Script, model: str, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{script.id}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_emulator",
        "choices": choices,
        "usage": usage,
    }


def _usage(script: Script) -> dict[str, Any]:
    completion = len(script.tokens) + sum(len(call.arguments) for call in script.tool_calls)
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": completion,
        "total_tokens": PROMPT_TOKENS + completion,
    }
