"""Texts and files of a message, whichever format they came in. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from durable_ai_db.materialize._rows import JsonPart, MessageRow, Part, TextPart


class File(NamedTuple):
    """A file that a message holds or names."""

    url: str
    media_type: str
    name: str | None


def text_of(part: Part) -> str | None:
    """The text of a text part, None of any other."""
    match part:
        case TextPart(type="text"):
            return part.content
        case JsonPart(value={"type": "text", "text": str(found)}):
            return found
        case JsonPart(value={"type": "text", "content": str(found)}):
            return found
        case _:
            return None


def thinking_of(part: Part) -> str | None:
    """The text of a reasoning part, None of any other."""
    match part:
        case TextPart(type="thinking"):
            return part.content
        case JsonPart(value={"type": "reasoning", "text": str(found)}):
            return found
        case JsonPart(value={"type": "thinking", "content": str(found)}):
            return found
        case _:
            return None


def file_of(part: Part) -> File | None:
    """The file of a part, None when it is none."""
    match part:
        case JsonPart(value={"type": "file", "url": str(url)} as value):
            return File(url, str(value.get("mediaType", "")), _name(value))
        case JsonPart(value={"type": "image" | "audio" | "video" | "document" as kind} as value):
            return _source_file(kind, value)
        case _:
            return None


def _source_file(kind: str, value: Mapping[str, Any]) -> File | None:
    """TanStack's and AG-UI's shape: ``source`` with a ``url``, or with ``data`` in base64."""
    match value.get("source"):
        case {"type": "url", "value": str(url)} | {"url": str(url)}:
            return File(url, f"{kind}/*", _name(value))
        case {"type": "data", "value": str(data), **rest}:
            media_type = str(rest.get("mimeType", f"{kind}/*"))
            return File(f"data:{media_type};base64,{data}", media_type, _name(value))
        case _:
            return None


def _name(value: Mapping[str, Any]) -> str | None:
    name = value.get("filename")
    return name if isinstance(name, str) else None


def texts(row: MessageRow) -> Iterator[str]:
    """The texts of a message."""
    return (found for part in row.parts if (found := text_of(part)))


def files(row: MessageRow) -> Iterator[File]:
    """The files of a message."""
    return (found for part in row.parts if (found := file_of(part)))
