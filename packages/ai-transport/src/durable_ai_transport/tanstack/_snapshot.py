"""``MESSAGES_SNAPSHOT``: what a server says the conversation is. Pure.

Messages come in the protocol's form (``content``, ``toolCalls``, a message of its own for each tool
result and each thought) or as UI messages already. What the client knows of a tool call and the
protocol cannot say is kept.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from durable_ai_transport.tanstack._messages import (
    Part,
    Parts,
    UIMessage,
    changed,
    find_call,
    iso_time,
    mapping,
    parse_json,
    parsed_or_text,
    tanstack_metadata,
    text_of,
)

_POORER = ("input-complete", "input-streaming", "awaiting-input")
_KNOWN_ONLY_HERE = ("output", "approval", "metadata")
_STRUCTURED = ("partial", "data", "reasoning", "errorMessage")


def apply_snapshot(
    snapshot: Iterable[Any], before: Iterable[UIMessage], new_id: Callable[[], str]
) -> list[UIMessage]:
    """The conversation after a snapshot, given the one before it.

    Args:
        snapshot: The event's messages; what is no JSON object among them is left out.
        before: The messages shown until now.
        new_id: Names a message that has no id.
    """
    known = list(before)
    metadata = {message["id"]: message.get("metadata") for message in known}
    messages = [to_ui_message(message, new_id) for message in snapshot if mapping(message)]
    anchored = _anchor_results(_fold_thinking(messages), _calls(known))
    return [
        changed(message, metadata=metadata[message["id"]])
        if message.get("metadata") is None and metadata.get(message["id"]) is not None
        else message
        for message in anchored
    ]


def to_ui_message(message: Mapping[str, Any], new_id: Callable[[], str]) -> UIMessage:
    """One message of the protocol, or a UI message, as a UI message."""
    name = text_of(message.get("id")) or new_id()
    if isinstance(message.get("parts"), list):
        return _finish(message, {**message, "id": name})
    role = message.get("role")
    shown = role if role in ("user", "system") else "assistant"
    if role == "developer":
        shown = "system"
    if role == "tool":
        name = text_of(message.get("id")) or name
    return _finish(message, {"id": name, "role": shown, "parts": _parts(message, role)})


def _parts(message: Mapping[str, Any], role: Any) -> Parts:
    content = message.get("content")
    match role:
        case "assistant":
            return [*_assistant_content(message), *_assistant_calls(message)]
        case "tool":
            return [_tool_result(message)]
        case "user" | "system" | "developer":
            return _user_content(content)
        case "reasoning":
            signature = message.get("encryptedValue") or tanstack_metadata(message).get("signature")
            part: Part = {"type": "thinking", "content": text_of(content)}
            if isinstance(signature, str) and signature:
                part["signature"] = signature
            return [part] if part["content"] or "signature" in part else []
        case _:
            return []


def _user_content(content: Any) -> Parts:
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    parts: Parts = []
    for part in content if isinstance(content, list) else []:
        if mapping(part).get("type") == "text":
            parts.append({"type": "text", "content": part.get("text")})
        elif mapping(part).get("type") != "binary":
            parts.append(part)
    return parts


def _assistant_content(message: Mapping[str, Any]) -> Parts:
    content = message.get("content")
    structured = _structured(mapping(tanstack_metadata(message).get("structuredOutput")))
    if structured is not None:
        raw = structured["raw"]
        text = content if isinstance(content, str) and content != raw else ""
        text = text[: -len(raw)] if raw and text.endswith(raw) else text
        return [*([{"type": "text", "content": text}] if text else []), structured]
    if isinstance(content, list):
        return list(content)
    return [{"type": "text", "content": content}] if isinstance(content, str) and content else []


def _structured(value: Mapping[str, Any]) -> Part | None:
    if value.get("status") not in ("streaming", "complete", "error"):
        return None
    if not isinstance(value.get("raw"), str):
        return None
    part = {"type": "structured-output", "status": value["status"], "raw": value["raw"]}
    return {**part, **{key: value[key] for key in _STRUCTURED if key in value}}


def _assistant_calls(message: Mapping[str, Any]) -> Parts:
    metadata = mapping(tanstack_metadata(message).get("toolCallMetadata"))
    return [
        _call(call, metadata.get(call.get("id")))
        for call in message.get("toolCalls") or []
        if mapping(call)
    ]


def _call(call: Mapping[str, Any], metadata: Any) -> Part:
    function = mapping(call.get("function"))
    arguments = text_of(function.get("arguments"))
    part: Part = {
        "type": "tool-call",
        "id": call.get("id"),
        "name": function.get("name"),
        "arguments": arguments,
        "state": "input-complete",
    }
    good, value = parse_json(arguments)
    if good:
        part["input"] = value
    if metadata is not None or "metadata" in call:
        part["metadata"] = metadata if metadata is not None else call["metadata"]
    return part


def _tool_result(message: Mapping[str, Any]) -> Part:
    owned = mapping(tanstack_metadata(message).get("toolResult"))
    content = owned.get("content", message.get("content"))
    part: Part = {
        "type": "tool-result",
        "toolCallId": message.get("toolCallId"),
        "content": content if isinstance(content, list) else text_of(content),
        "state": "error" if "error" in message else "complete",
    }
    part.update({key: message[key] for key in ("id", "name", "error") if key in message})
    metadata = _without_tool_result(mapping(message.get("metadata")))
    if owned:
        part.pop("id", None)
        part.update({key: owned[key] for key in ("id",) if key in owned})
    if metadata:
        part["metadata"] = metadata
    created = iso_time(owned.get("createdAt") if owned else message.get("createdAt"))
    if created:
        part["createdAt"] = created
    return part


def _without_tool_result(metadata: Mapping[str, Any]) -> dict[str, Any]:
    ours = dict(mapping(metadata.get("tanstack")))
    ours.pop("toolResult", None)
    rest = {key: value for key, value in metadata.items() if key != "tanstack"}
    return {**rest, "tanstack": ours} if ours else rest


def _finish(source: Mapping[str, Any], message: Mapping[str, Any]) -> UIMessage:
    """Take over name, metadata and time."""
    done = dict(message)
    if isinstance(source.get("name"), str):
        done["name"] = source["name"]
    metadata = mapping(source.get("metadata"))
    if metadata:
        if source.get("role") == "tool" and "parts" not in source:
            metadata = _without_tool_result(metadata)
        done.pop("metadata", None)
        if metadata:
            done["metadata"] = dict(metadata)
    created = iso_time(done.get("createdAt")) or iso_time(
        tanstack_metadata(source).get("createdAt")
    )
    done.pop("createdAt", None)
    if created:
        done["createdAt"] = created
    return cast("UIMessage", done)


# ---------------------------------------------------------------------- putting together


def _fold_thinking(messages: Iterable[UIMessage]) -> list[UIMessage]:
    """Thoughts come as messages of their own, in front of the message they belong to."""
    folded: list[UIMessage] = []
    waiting: list[UIMessage] = []
    for message in messages:
        if _only(message, "thinking"):
            waiting.append(message)
        elif message["role"] == "assistant" and waiting and not _is_result(message):
            thoughts = [part for one in waiting for part in one["parts"]]
            folded.append(changed(message, parts=[*thoughts, *message["parts"]]))
            waiting = []
        else:
            folded += [*waiting, message]
            waiting = []
    return [*folded, *waiting]


def _anchor_results(messages: Iterable[UIMessage], before: Mapping[Any, Part]) -> list[UIMessage]:
    """Put every result behind its call, and a call that the snapshot lacks in front of it."""
    messages = list(messages)
    present = set(_calls(messages))
    placed: list[UIMessage] = []
    for message in messages:
        results = [part for part in message["parts"] if part.get("type") == "tool-result"]
        at = None
        if _is_result(message) and len(results) == 1:
            at = _home(placed, results[0].get("toolCallId"))
        if at is None:
            placed.append(message)
            continue
        call_id = results[0].get("toolCallId")
        missing = call_id not in present and call_id in before
        carried = [before[call_id]] if missing else []
        present |= {call_id} if missing else set()
        parts = [*placed[at]["parts"], *carried, *message["parts"]]
        placed[at] = changed(placed[at], parts=parts)
    return _complete_calls(placed, before)


def _home(placed: list[UIMessage], call_id: Any) -> int | None:
    backwards = range(len(placed) - 1, -1, -1)
    for at in backwards:
        if find_call(placed[at]["parts"], call_id) is not None:
            return at
    for at in backwards:
        parts = placed[at]["parts"]
        alone = len(parts) == 1 and parts[0].get("type") == "tool-result"
        if placed[at]["role"] == "assistant" and not alone:
            return at
    return None


def _complete_calls(messages: list[UIMessage], before: Mapping[Any, Part]) -> list[UIMessage]:
    """Give calls what their results say, and what was known of them."""
    results = {
        part.get("toolCallId"): part
        for message in messages
        for part in message["parts"]
        if part.get("type") == "tool-result"
    }

    def complete(part: Part) -> Part:
        if part.get("type") != "tool-call":
            return part
        old, result = before.get(part.get("id")), results.get(part.get("id"))
        if old is not None and _knows_more(old, part):
            known: Part = {key: old[key] for key in _KNOWN_ONLY_HERE if key in old}
            part = {**part, **known, "state": old.get("state")}
        if result is not None and "output" not in part:
            part = {**part, **_outcome(result)}
        return part

    return [
        changed(message, parts=[complete(part) for part in message["parts"]])
        for message in messages
    ]


def _knows_more(old: Part, part: Part) -> bool:
    ended = "output" in old or old.get("state") in ("complete", "error")
    return ended and ("output" not in part or part.get("state") in _POORER)


def _outcome(result: Part) -> Part:
    content = result.get("content")
    output = content if isinstance(content, list) else parsed_or_text(content)
    if result.get("state") == "error":
        return {"output": {"error": error_text(output)}, "state": "error"}
    return {"output": output, "state": "complete"}


def error_text(output: Any) -> str:
    """What a tool's output says about its failure."""
    said = mapping(output).get("error")
    if isinstance(said, str):
        return said
    return output if isinstance(output, str) else "Tool execution failed"


def _calls(messages: Iterable[UIMessage]) -> dict[Any, Part]:
    return {
        part.get("id"): part
        for message in messages
        for part in message.get("parts", [])
        if part.get("type") == "tool-call"
    }


def _only(message: UIMessage, kind: str) -> bool:
    parts = message["parts"]
    return (
        message["role"] == "assistant"
        and bool(parts)
        and all(part.get("type") == kind for part in parts)
    )


def _is_result(message: UIMessage) -> bool:
    kinds = {part.get("type") for part in message["parts"]}
    known = kinds <= {"tool-result", "ui-resource"}
    return message["role"] == "assistant" and "tool-result" in kinds and known
