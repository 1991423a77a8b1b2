"""Structured output: a message's one part that is an object, not text. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from durable_ai_transport.tanstack._messages import (
    Change,
    Part,
    Parts,
    compact,
    find_structured,
    with_structured,
)


def object_extended(delta: str) -> Change:
    """Add text to it, with what can be said of the object so far."""

    def change(parts: Parts) -> Parts:
        old: Part = find_structured(parts) or {}
        part: Part = {"type": "structured-output", "status": "streaming"}
        part["raw"] = old.get("raw", "") + delta
        partial = _partial(part["raw"])
        partial = old.get("partial") if partial is None else partial
        if partial is not None:
            part["partial"] = partial
        if "reasoning" in old:
            part["reasoning"] = old["reasoning"]
        return with_structured(part)(parts)

    return change


def object_completed(value: Mapping[str, Any]) -> Change:
    """Put the object, as ``structured-output.complete`` says it."""

    def change(parts: Parts) -> Parts:
        raw = value.get("raw") or (find_structured(parts) or {}).get("raw", "")
        part: Part = {"type": "structured-output", "status": "complete", "raw": raw}
        if "object" in value:
            part |= {"data": value["object"], "partial": value["object"]}
            part["raw"] = raw or compact(value["object"])
        if "reasoning" in value:
            part["reasoning"] = value["reasoning"]
        return with_structured(part)(parts)

    return change


def object_failed(message: str) -> Change:
    """It will not be completed any more; one that is complete stays."""

    def change(parts: Parts) -> Parts:
        old: Part = find_structured(parts) or {"type": "structured-output", "raw": ""}
        if old.get("status") == "complete":
            return parts
        return with_structured({**old, "status": "error", "errorMessage": message})(parts)

    return change


def _partial(text: str) -> Any:
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return None
