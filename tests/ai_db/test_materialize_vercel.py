"""Vercel's UI message chunks and histories, as the AI SDK itself reads them (in Node)."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_db.sessions import (
    CASES,
    RECORDED,
    answer_row,
    fixture_rows,
    materialized,
    stream,
    user_message,
)
from ai_db.test_materialize_links import DONE, asked, said_no, said_yes, tool_call
from durable_ai_db.materialize import ChunkRow, to_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parent.parent / "conformance" / "ui_messages.mjs"
SEEDS = range(60)


class _Answer:
    """Chunks of one answer, as the SDK may send them."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._count = 0

    def chunks(self) -> Iterator[dict[str, Any]]:
        yield {"type": "start", "messageMetadata": {"a": {"b": 1}}}
        for _ in range(self._draw.randint(1, 3)):
            yield from self._step()
        yield {"type": "finish", "messageMetadata": {"a": {"c": 2}}}

    def _step(self) -> Iterator[dict[str, Any]]:
        yield {"type": "start-step"}
        waiting = [
            list(self._draw.choice([self._text, self._tool, self._tool, self._other])())
            for _ in range(self._draw.randint(1, 4))
        ]
        # Parts of one step overlap; each keeps its own order.
        while waiting := [one for one in waiting if one]:
            yield self._draw.choice(waiting).pop(0)
        if self._draw.random() < 0.2:
            yield {"type": "reset-step"}
            yield from self._text()
        yield {"type": "finish-step"}

    def _text(self) -> Iterator[dict[str, Any]]:
        kind, text_id = self._draw.choice(["text", "reasoning"]), self._id()
        yield {"type": f"{kind}-start", "id": text_id}
        for _ in range(self._draw.randint(0, 4)):
            piece = self._draw.choice(["a", "ü ", "\U0001f600", "", "two words"])
            yield {"type": f"{kind}-delta", "id": text_id, "delta": piece}
        yield {"type": f"{kind}-end", "id": text_id, "providerMetadata": {"p": {"sig": text_id}}}

    def _tool(self) -> Iterator[dict[str, Any]]:
        call_id = self._id()
        name: dict[str, Any] = {"toolCallId": call_id, "toolName": "tool"}
        name |= self._draw.choice([{}, {"dynamic": True}, {"title": "T", "providerExecuted": True}])
        whole = self._draw.choice([{}, {"a": [1, "x"]}, "text", 7])
        if self._draw.random() < 0.7:
            yield {"type": "tool-input-start", **name}
            for piece in json.dumps(whole):
                yield {
                    "type": "tool-input-delta",
                    "toolCallId": call_id,
                    "inputTextDelta": piece,
                }
        yield {"type": "tool-input-available", **name, "input": whole}
        call = {"toolCallId": call_id}
        ends: list[list[dict[str, Any]]] = [
            [],
            [{"type": "tool-output-available", **call, "output": {"x": 1}}],
            [
                {"type": "tool-output-available", **call, "output": 1, "preliminary": True},
                {"type": "tool-output-available", **call, "output": 2},
            ],
            [{"type": "tool-output-error", **call, "errorText": "broken"}],
            [{"type": "tool-approval-request", **call, "approvalId": f"ok-{call_id}"}],
        ]
        yield from self._draw.choice(ends)

    def _other(self) -> Iterator[dict[str, Any]]:
        yield self._draw.choice(
            [
                {"type": "data-plan", "id": "p", "data": self._draw.randint(0, 9)},
                {"type": "data-note", "data": "x", "transient": self._draw.random() < 0.5},
                {"type": "source-url", "sourceId": self._id(), "url": "https://e.org"},
                {"type": "file", "url": "data:text/plain,x", "mediaType": "text/plain"},
                {"type": "message-metadata", "messageMetadata": {"a": {"d": [1]}}},
            ]
        )

    def _id(self) -> str:
        self._count += 1
        return f"id{self._count}"


def _streams() -> dict[str, list[dict[str, Any]]]:
    recorded = {name: one["chunks"] for name, one in RECORDED.items() if name.startswith("vercel")}
    return recorded | {f"seed {seed}": list(_Answer(seed).chunks()) for seed in SEEDS}


def _sessions() -> dict[str, list[ChunkRow]]:
    """Sessions of all formats, in all states, each with a user's message at its end."""
    answers = {name: stream("a1", one["chunks"]) for name, one in RECORDED.items()}
    answers |= {name: stream("a1", chunks) for name, chunks in _streams().items()}
    answers |= {name: fixture_rows(name) for name in CASES}
    pending = stream("a1", [tool_call(), asked(), DONE], at="2025-12-19T10:00:01Z")
    answers |= {
        "approved": [*pending, answer_row("r1", said_yes())],
        "denied": [*pending, answer_row("r1", said_no())],
    }
    last = user_message("zz", "and now?", at="2025-12-19T23:00:00.000Z")
    return {name: [*rows, last] for name, rows in answers.items()}


def _asked_of_the_sdk(unit: float, **given: Any) -> dict[str, Any]:
    done = subprocess.run(
        ["node", SCRIPT],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60 * unit,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _from_the_sdk(part: dict[str, Any]) -> Any:
    match part:
        case {"type": "text" | "reasoning" as kind, "text": text}:
            return kind, text, part.get("providerMetadata")
        case {"toolCallId": call_id}:
            kind = part["type"]
            name = part["toolName"] if kind == "dynamic-tool" else kind.removeprefix("tool-")
            whole = part.get("input", part.get("rawInput"))
            outcome = part.get("output"), part.get("errorText")
            return call_id, name, whole, outcome, part.get("approval", {}).get("id")
        case _:
            return part


def _from_us(part: dict[str, Any], results: dict[str, Any]) -> Any:
    match part:
        case {"type": "text" | "thinking" as kind, "content": text}:
            shown = "text" if kind == "text" else "reasoning"
            return shown, text, part.get("providerMetadata")
        case {"type": "tool-call", "id": call_id}:
            whole = json.loads(part["arguments"]) if part["arguments"] else None
            outcome = results.get(call_id, (None, None))
            return call_id, part["name"], whole, outcome, part.get("approval", {}).get("id")
        case _:
            return part


def test_the_sdk_reads_the_same_messages_and_takes_every_history(unit: float) -> None:
    streams = _streams()
    histories = {
        name: to_messages(materialized(rows), "vercel") for name, rows in _sessions().items()
    }
    answer = _asked_of_the_sdk(unit, streams=streams, histories=histories)

    for name, chunks in streams.items():
        row = materialized(stream("a1", chunks)).messages["a1"].to_json()
        results = {
            part["toolCallId"]: (part["content"], part.get("error"))
            for part in row["parts"]
            if part["type"] == "tool-result"
        }
        ours = [_from_us(part, results) for part in row["parts"] if part["type"] != "tool-result"]
        oracle = answer["messages"][name]
        assert ours == [_from_the_sdk(part) for part in oracle["parts"]], name
        assert row.get("metadata") == oracle.get("metadata"), name

    for name, prompt in answer["prompts"].items():
        parts = [
            part
            for message in prompt
            if isinstance(message["content"], list)
            for part in message["content"]
        ]
        calls = [part["toolCallId"] for part in parts if part["type"] == "tool-call"]
        closed = [part["toolCallId"] for part in parts if part["type"] == "tool-result"]
        assert sorted(calls) == sorted(closed), name
