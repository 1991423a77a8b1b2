"""Messages as a chat client sends them to a server: AG-UI's form (``RunAgentInput``). Pure.

An assistant's thoughts and tool results become messages of their own, next to it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from durable_ai_transport.tanstack._messages import (
    Part,
    Parts,
    UIMessage,
    compact,
    iso_time,
    mapping,
    tanstack_metadata,
    text_of,
)

_MEDIA: Final = ("image", "audio", "video", "document")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def run_input(
    messages: Iterable[UIMessage],
    *,
    thread_id: str,
    run_id: str,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body that `fetchServerSentEvents` of ``@tanstack/ai-client`` posts.

    Args:
        messages: The conversation, the user's new message last.
        thread_id: Names the conversation.
        run_id: Names this answer.
        data: What the application wants to tell its backend.
    """
    return {
        "threadId": thread_id,
        "runId": run_id,
        "state": {},
        "messages": to_wire(messages),
        "tools": [],
        "context": [],
        "forwardedProps": dict(data or {}),
        "data": dict(data or {}),
    }


def to_wire(messages: Iterable[UIMessage]) -> list[dict[str, Any]]:
    """Messages in AG-UI's form."""
    messages = list(messages)
    names = _Names({message["id"] for message in messages})
    sent: list[dict[str, Any]] = []
    for message in messages:
        parts = message["parts"]
        if message["role"] == "assistant":
            sent += [_thought(message, part, names) for part in parts if _is(part, "thinking")]
            sent.append(_anchor(message, _assistant(parts)))
            sent += _results(parts, names)
        elif message["role"] == "user":
            sent.append(_anchor(message, {"content": _user_content(parts)}))
        else:
            sent.append(_anchor(message, {"content": _text(parts)}))
    return sent


class _Names:
    """Ids that are used once."""

    def __init__(self, used: set[str]) -> None:
        self._used = used

    def take(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self._used:
            name, number = f"{wanted}-{number}", number + 1
        self._used.add(name)
        return name


def _is(part: Part, kind: str) -> bool:
    return part.get("type") == kind


def _text(parts: Parts) -> str:
    return "".join(
        text_of(part.get("content"))
        if _is(part, "text")
        else text_of(part.get("raw"))
        if _is(part, "structured-output") and part.get("status") == "complete"
        else ""
        for part in parts
    )


def _user_content(parts: Parts) -> str | Parts:
    if not any(part.get("type") in _MEDIA for part in parts):
        return _text(parts)
    return [
        {"type": "text", "text": part.get("content")} if _is(part, "text") else part
        for part in parts
        if part.get("type") in ("text", *_MEDIA)
    ]


def _assistant(parts: Parts) -> dict[str, Any]:
    text = _text(parts)
    calls = [_call(part) for part in parts if _is(part, "tool-call")]
    return {**({"content": text} if text else {}), **({"toolCalls": calls} if calls else {})}


def _call(part: Part) -> dict[str, Any]:
    call = {
        "id": part["id"],
        "type": "function",
        "function": {"name": part["name"], "arguments": part["arguments"]},
    }
    signature = text_of(mapping(part.get("metadata")).get("thoughtSignature"))
    return {**call, **({"encryptedValue": signature} if signature else {})}


def _thought(message: UIMessage, part: Part, names: _Names) -> dict[str, Any]:
    content = text_of(part.get("content"))
    own = part.get("id") or _short_hash(content)
    name = names.take(f"{message['id']}-reasoning-{own}")
    thought = {"role": "reasoning", "id": name, "content": content}
    signature = part.get("signature")
    return {**thought, **({"encryptedValue": signature} if signature else {})}


def _results(parts: Parts, names: _Names) -> list[dict[str, Any]]:
    explicit = {part["toolCallId"] for part in parts if _is(part, "tool-result")}
    results = []
    for part in parts:
        if _is(part, "tool-result"):
            results.append(_result(part, names))
        elif _is(part, "tool-call") and part["id"] not in explicit:
            results += _answer(part, names)
    return results


def _result(part: Part, names: _Names) -> dict[str, Any]:
    content = part["content"]
    owned: dict[str, Any] = {"id": part["id"]} if "id" in part else {}
    created = iso_time(part.get("createdAt"))
    owned |= {"createdAt": created} if created else {}
    owned |= {"content": content} if isinstance(content, list) else {}
    metadata = mapping(part.get("metadata"))
    ours = {key: value for key, value in tanstack_metadata(part).items() if key != "uiResources"}
    return {
        "role": "tool",
        "id": names.take(part.get("id") or f"tool-{part['toolCallId']}"),
        "toolCallId": part["toolCallId"],
        **{key: part[key] for key in ("name", "error") if key in part},
        "content": content if isinstance(content, str) else compact(content),
        "metadata": {**metadata, "tanstack": {**ours, "toolResult": owned}},
    }


def _answer(part: Part, names: _Names) -> list[dict[str, Any]]:
    """What the user or the client has answered to a call that has no result of its own."""
    approved = mapping(part.get("approval")).get("approved")
    if "output" in part:
        output = part["output"]
        content = output if isinstance(output, str) else compact(output)
    elif part.get("state") == "approval-responded" and approved is not None:
        content = compact(_decision(approved=approved))
    else:
        return []
    result = {
        "role": "tool",
        "id": names.take(f"tool-{part['id']}"),
        "toolCallId": part["id"],
        "content": content,
        "metadata": {"tanstack": {"toolResult": {}}},
    }
    return [result]


def _decision(*, approved: bool) -> dict[str, Any]:
    if approved:
        message = "User approved this action"
        return {"approved": True, "pendingExecution": True, "message": message}
    return {"approved": False, "message": "User denied this action"}


def _anchor(message: UIMessage, content: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _metadata(message)
    return {
        "id": message["id"],
        **({"name": message["name"]} if "name" in message else {}),
        **({"metadata": metadata} if metadata else {}),
        "role": message["role"],
        **content,
    }


def _metadata(message: UIMessage) -> dict[str, Any]:
    own = tanstack_metadata(message)
    ours: dict[str, Any] = {key: own[key] for key in ("model", "signature") if key in own}
    created = iso_time(message.get("createdAt"))
    if created:
        ours["createdAt"] = created
    calls = [part for part in message["parts"] if _is(part, "tool-call") and "metadata" in part]
    if calls:
        ours["toolCallMetadata"] = {part["id"]: part["metadata"] for part in calls}
    unfinished = [part for part in message["parts"] if _is(part, "structured-output")]
    unfinished = [part for part in unfinished if part.get("status") != "complete"]
    for part in unfinished[:1]:
        keys = ("status", "raw", "errorMessage")
        ours["structuredOutput"] = {key: part[key] for key in keys if key in part}
    resources = [part for part in message["parts"] if _is(part, "ui-resource")]
    if resources:
        ours["uiResources"] = resources
    rest = dict(message.get("metadata") or {})
    rest.pop("tanstack", None)
    return {**rest, "tanstack": ours} if ours else rest


def _short_hash(text: str) -> str:
    """A name for a thought, as the client makes it: of UTF-16 units, in base 36."""
    data = text.encode("utf-16-le", "surrogatepass")
    value = 0
    for at in range(0, len(data), 2):
        value = (value * 31 + int.from_bytes(data[at : at + 2], "little")) & 0xFFFFFFFF
    number = abs(value - (1 << 32) if value >> 31 else value)
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
