"""``POST /v1/responses``: the shapes of OpenAI's responses API."""

from collections.abc import Iterator
from typing import Any

from emulator._openai_chat import CREATED, PROMPT_TOKENS
from emulator._script import Script, ToolCall
from emulator._sse import event_frame


def stream(script: Script, request: dict[str, Any]) -> Iterator[bytes]:
    """The frames of a streaming answer, numbered as the API numbers them."""
    for number, event in enumerate(_events(script, request)):
        yield event_frame(event | {"sequence_number": number})


def document(script: Script, request: dict[str, Any]) -> dict[str, Any]:
    """The answer in one piece."""
    return _response(script, request, "completed")


def _events(script: Script, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    started = _response(script, request, "in_progress")
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    yield from _message_events(script)
    for index, call in enumerate(script.tool_calls, start=1):
        yield from _tool_events(script, call, index)
    yield {"type": "response.completed", "response": document(script, request)}


def _message_events(script: Script) -> Iterator[dict[str, Any]]:
    at = {"output_index": 0}
    part_at = {"item_id": _message_id(script), "output_index": 0, "content_index": 0}
    empty = _message(script, "in_progress", [])
    yield {"type": "response.output_item.added", "item": empty} | at
    yield {"type": "response.content_part.added", "part": _part("")} | part_at
    for token in script.tokens:
        yield {"type": "response.output_text.delta", "delta": token, "logprobs": []} | part_at
    whole = _part(script.text)
    yield {"type": "response.output_text.done", "text": script.text, "logprobs": []} | part_at
    yield {"type": "response.content_part.done", "part": whole} | part_at
    done = _message(script, "completed", [whole])
    yield {"type": "response.output_item.done", "item": done} | at


def _tool_events(script: Script, call: ToolCall, index: int) -> Iterator[dict[str, Any]]:
    item = {"item_id": _call_id(script, call), "output_index": index}
    whole = "".join(call.arguments)
    added = _call(script, call, "in_progress", "")
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    for piece in call.arguments:
        yield {"type": "response.function_call_arguments.delta", "delta": piece} | item
    done = {"type": "response.function_call_arguments.done", "arguments": whole}
    yield done | {"name": call.name} | item
    finished = _call(script, call, "completed", whole)
    yield {"type": "response.output_item.done", "output_index": index, "item": finished}


def _message_id(script: Script) -> str:
    return f"msg_{script.id}"


def _call_id(script: Script, call: ToolCall) -> str:
    return f"fc_{script.id}_{call.id}"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(script: Script, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    item = {"id": _message_id(script), "type": "message", "role": "assistant"}
    return item | {"status": status, "content": content}


def _call(script: Script, call: ToolCall, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": _call_id(script, call),
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
    }


def _response(script: Script, request: dict[str, Any], status: str) -> dict[str, Any]:
    finished = status == "completed"
    output: list[dict[str, Any]] = []
    if finished:
        output.append(_message(script, status, [_part(script.text)]))
        calls = script.tool_calls
        output.extend(_call(script, call, status, "".join(call.arguments)) for call in calls)
    return {
        "id": f"resp_{script.id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": str(request.get("model", "")),
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _usage(script) if finished else None,
    }


def _usage(script: Script) -> dict[str, Any]:
    output = len(script.tokens) + sum(len(call.arguments) for call in script.tool_calls)
    return {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT_TOKENS + output,
    }
