"""Sessions as chunk rows, and what is seen of a materializer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable_ai_db.materialize import ChunkRow, Materializer

if TYPE_CHECKING:
    from collections.abc import Iterable

FIXTURES = Path(__file__).parent / "fixtures" / "materialize"
CASES = sorted(path.name.removesuffix(".input.json") for path in FIXTURES.glob("*.input.json"))


RECORDED: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "fixtures" / "formats").glob("*.json"))
}
"""Answers as agents send them (``chunks``), and what they come to (``expected``)."""


def fixture(name: str, kind: str) -> Any:
    return json.loads((FIXTURES / f"{name}.{kind}.json").read_text())


def fixture_rows(name: str) -> list[ChunkRow]:
    return [ChunkRow.from_json(row) for row in fixture(name, "input")]


def chunk_row(
    message_id: str,
    seq: int,
    chunk: object,
    *,
    actor: str = "agent-1",
    role: str = "assistant",
    at: str | None = None,
) -> ChunkRow:
    text = chunk if isinstance(chunk, str) else json.dumps(chunk)
    created_at = at or f"2025-12-19T10:{seq // 60:02}:{seq % 60:02}.000Z"
    return ChunkRow(message_id, actor, role, text, seq, created_at)


def stream(message_id: str, chunks: Iterable[object], **fields: Any) -> list[ChunkRow]:
    return [chunk_row(message_id, seq, chunk, **fields) for seq, chunk in enumerate(chunks)]


def user_message(message_id: str, text: str, **fields: Any) -> ChunkRow:
    message = {"id": message_id, "role": "user", "parts": [{"type": "text", "content": text}]}
    chunk = {"type": "user-message", "message": message}
    return chunk_row(message_id, 0, chunk, actor="user-1", role="user", **fields)


def answer_row(message_id: str, chunk: object, **fields: Any) -> ChunkRow:
    return chunk_row(message_id, 0, chunk, actor="user-1", role="user", **fields)


def materialized(rows: Iterable[ChunkRow], **options: Any) -> Materializer:
    made = Materializer(session_id="sess", **options)
    made.apply(rows)
    return made


def seen(made: Materializer) -> dict[str, Any]:
    return made.document()


def contains(whole: Any, part: Any) -> bool:
    """Objects may have more fields; everything else is equal."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return (
            isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
        )
    return bool(whole == part) and type(whole) is type(part)


class Mirror:
    """Keeps rows by the changes alone, as a collection does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Any] = {}

    def take(self, changes: Iterable[Any]) -> None:
        for collection, key, row in changes:
            if row is None:
                del self.rows[collection, key]
            else:
                self.rows[collection, key] = row

    def agrees_with(self, made: Materializer) -> bool:
        views = {
            "message": made.messages,
            "tool_call": made.tool_calls,
            "tool_result": made.tool_results,
            "approval": made.approvals,
            "active_generation": made.active_generations,
        }
        whole = {(name, key): row for name, view in views.items() for key, row in view.items()}
        stats = {key: row for key, row in self.rows.items() if key[0] == "stats"}
        assert all(row == made.stats for row in stats.values())
        return {key: row for key, row in self.rows.items() if key[0] != "stats"} == whole
