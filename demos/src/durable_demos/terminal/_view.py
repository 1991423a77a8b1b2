"""What of a message is shown, as plain values. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from durable_ai_db.materialize import TextPart, ToolCallPart, ToolResultPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durable_ai_db.materialize import MessageRow

ARGUMENT_WIDTH = 300
"""So many characters of an argument are shown."""
RETRY = "Ctrl+R asks again."


@dataclass(frozen=True)
class Block:
    """One thing below the other: text in Markdown, thoughts, or the card of a tool call."""

    kind: Literal["text", "thinking", "tool", "question", "notice"]
    text: str


def blocks(message: MessageRow) -> list[Block]:
    """The message from top to bottom."""
    shown = [block for part in message.parts if (block := _block(part, message.parts)) is not None]
    if message.error is not None:
        shown.append(Block("notice", f"✗ {_reason(message.error)} {RETRY}"))
    elif message.interrupted:
        shown.append(Block("notice", f"■ stopped. {RETRY}"))
    return shown


def heading(message: MessageRow, me: str, names: Mapping[str, str]) -> str:
    """Who says it, and whether there is more to come."""
    who = "you" if message.actor_id == me else names.get(message.actor_id, message.actor_id)
    going = message.role == "assistant" and not message.is_complete
    return f"{who} is writing …" if going else who


def _block(part: Any, parts: Any) -> Block | None:
    match part:
        case TextPart(type="text"):
            return Block("text", part.content)
        case TextPart():
            return Block("thinking", part.content)
        case ToolCallPart():
            return _card(part, _result_of(part, parts))
        case _:
            return None


def _card(call: ToolCallPart, result: tuple[Any, str | None] | None) -> Block:
    lines = [f"⚙ {call.name}", *_arguments(call.arguments)]
    asked = call.approval is not None and "approved" not in call.approval and result is None
    if result is not None:
        output, error = result
        lines.append(f"✗ {error}" if error else f"→ {_short(output)}")
    elif asked and call.state == "approval-requested":
        lines.append("May it? Ctrl+Y allows it, Ctrl+N does not.")
        return Block("question", "\n".join(lines))
    elif call.approval is not None and "approved" in call.approval:
        lines.append("✓ allowed" if call.approval["approved"] else "✗ not allowed")
    else:
        lines.append("… running")
    return Block("tool", "\n".join(lines))


def _result_of(call: ToolCallPart, parts: Any) -> tuple[Any, str | None] | None:
    for part in parts:
        if isinstance(part, ToolResultPart) and part.tool_call_id == call.id:
            return part.content, part.error
    if call.outcome is not None:
        return call.outcome.get("output"), call.outcome.get("error")
    return None


def _arguments(text: str) -> list[str]:
    try:
        given = json.loads(text)
    except ValueError:
        return [f"  {_short(text)}"] if text else []
    if not isinstance(given, dict):
        return [f"  {_short(given)}"]
    return [f"  {name}: {_short(value)}" for name, value in given.items()]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= ARGUMENT_WIDTH else f"{text[:ARGUMENT_WIDTH]} …"


def _reason(error: Mapping[str, Any]) -> str:
    if error.get("code") == "orphaned":
        return "The server that wrote this is gone; what it had said is kept."
    return str(error.get("message") or "The answer failed.").rstrip(".") + "."
