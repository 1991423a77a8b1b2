"""UI messages of TanStack AI, as they are in JSON, and how their parts change. Pure.

A message is never changed in place: whoever kept one keeps it as it was.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, cast

Part = dict[str, Any]
"""One part of a message: ``text``, ``thinking``, ``tool-call``, ``tool-result``,
``structured-output``, ``ui-resource``, or media (``image``, ``audio``, ``video``, ``document``).
"""
Parts = list[Part]
Change = Callable[[Parts], Parts]


class _Named(TypedDict):
    id: str
    role: Literal["user", "assistant", "system"]
    parts: Parts


class UIMessage(_Named, total=False):
    """A message as ``useChat`` shows it and as it is stored.

    ``createdAt`` is an ISO time in UTC.
    """

    createdAt: str
    name: str
    metadata: dict[str, Any]


def changed(message: UIMessage, **fields: Any) -> UIMessage:
    """The message with other values in some fields."""
    return cast("UIMessage", {**message, **fields})


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """The value if it is text, else none."""
    return value if isinstance(value, str) else ""


def parse_json(text: Any) -> tuple[bool, Any]:
    """Whether a text is JSON, and what it says."""
    try:
        return True, json.loads(text, parse_constant=_refuse)
    except (TypeError, ValueError, RecursionError):
        return False, None


def parsed_or_text(text: Any) -> Any:
    """What a text says in JSON, or the text itself."""
    good, value = parse_json(text)
    return value if good else text


def compact(value: Any) -> str:
    """The value as JSON text, as JavaScript writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def iso_time(value: Any) -> str | None:
    """An ISO time as JavaScript writes it (UTC, milliseconds), None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return in_iso(moment.timestamp())


def in_iso(seconds: float) -> str:
    """A moment in epoch seconds as JavaScript writes it."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tanstack_metadata(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """``metadata.tanstack`` of an event or a message."""
    return mapping(mapping(value.get("metadata")).get("tanstack"))


def merge_metadata(
    current: Mapping[str, Any] | None, incoming: Mapping[str, Any]
) -> dict[str, Any]:
    """Later keys win; TanStack's own bag is merged key by key."""
    merged = {**(current or {}), **incoming}
    old, new = (current or {}).get("tanstack"), incoming.get("tanstack")
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        merged["tanstack"] = {**old, **new}
    return merged


# ---------------------------------------------------------------------- changes of parts


def with_text(content: str) -> Change:
    """Make this the text at the end: of the present part, or of a new one behind other parts."""
    part = {"type": "text", "content": content}

    def change(parts: Parts) -> Parts:
        if parts and parts[-1].get("type") == "text":
            return [*parts[:-1], part]
        return [*parts, part]

    return change


def with_thinking(step: str, content: str, signature: str | None) -> Change:
    """Make this the thinking of a step."""
    part = {"type": "thinking", "content": content, "stepId": step}
    if signature:
        part["signature"] = signature
    return _put(part, "stepId")


def with_call(call: Mapping[str, Any]) -> Change:
    """Put a tool call, or what is new about it: approval, output and metadata stay."""

    def change(parts: Parts) -> Parts:
        old: Mapping[str, Any] = find_call(parts, call["id"]) or {}
        part = {
            "type": "tool-call",
            **{key: call[key] for key in ("id", "name", "arguments", "state")},
        }
        if old.get("approval"):
            part["approval"] = old["approval"]
        if "output" in old:
            part["output"] = old["output"]
        for key in ("input", "metadata"):
            value = call.get(key)
            if value is not None:
                part[key] = value
            elif key in old:
                part[key] = old[key]
        return _put(part, "id")(parts)

    return change


def with_result(call_id: str, content: Any, state: str, error: str | None) -> Change:
    """Put the result of a tool call, for the model's history."""
    part = {"type": "tool-result", "toolCallId": call_id, "content": content, "state": state}
    if error:
        part["error"] = error
    return _put(part, "toolCallId")


def on_call(call_id: str, fields: Mapping[str, Any]) -> Change:
    """Set fields of a tool call, if it is there."""

    def change(parts: Parts) -> Parts:
        call = find_call(parts, call_id)
        return parts if call is None else _swap(parts, call, {**call, **fields})

    return change


def on_approval(approval_id: str, *, approved: bool) -> Change:
    """Answer the approval that a tool call waits for, if there is one of that id."""

    def change(parts: Parts) -> Parts:
        for part in parts:
            approval = mapping(part.get("approval"))
            if part.get("type") == "tool-call" and approval.get("id") == approval_id:
                answered = {"approval": {**approval, "approved": approved}}
                return _swap(parts, part, {**part, **answered, "state": "approval-responded"})
        return parts

    return change


def find_call(parts: Parts, call_id: Any) -> Part | None:
    """A tool call among the parts."""
    for part in parts:
        if part.get("type") == "tool-call" and part.get("id") == call_id:
            return part
    return None


def find_structured(parts: Parts) -> Part | None:
    """The structured output among the parts."""
    return next((part for part in parts if part.get("type") == "structured-output"), None)


def with_structured(part: Part) -> Change:
    """Put the structured output: a message has one."""

    def change(parts: Parts) -> Parts:
        old = find_structured(parts)
        return [*parts, part] if old is None else _swap(parts, old, part)

    return change


def _put(part: Part, key: str) -> Change:
    def change(parts: Parts) -> Parts:
        for old in parts:
            if old.get("type") == part["type"] and old.get(key) == part[key]:
                return _swap(parts, old, part)
        return [*parts, part]

    return change


def _swap(parts: Parts, old: Part, new: Part) -> Parts:
    return [new if part is old else part for part in parts]


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
