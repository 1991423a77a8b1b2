"""Messages out of events: whatever comes, what the npm package makes of it, at every moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ai_transport.tanstack import node
from ai_transport.tanstack.streams import Answer
from durable_ai_transport.tanstack import StreamProcessor

if TYPE_CHECKING:
    from collections.abc import Mapping

SEEDS = range(int(os.environ.get("DURABLE_TANSTACK_STREAMS", "120")))
ORDERLY = {f"orderly {seed}": Answer(seed).orderly() for seed in SEEDS}
UNRULY = {f"unruly {seed}": Answer(1000 + seed).unruly() for seed in SEEDS}


def moments(events: list[dict[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The messages after each event, and after the end."""
    processor = StreamProcessor(new_id=lambda: "msg-0-", clock=lambda: 0.0)
    seen: list[list[Mapping[str, Any]]] = []
    for event in events:
        processor.process(event)
        seen.append([*processor.messages])
    processor.finish()
    return [*seen, [*processor.messages]]


@pytest.fixture(scope="module")
def theirs() -> Any:
    return node.run(
        "tanstack_messages.mjs", {"events": ORDERLY | UNRULY, "older": {}, "wires": {}}
    )["events"]


def test_every_moment_is_the_npm_packages(theirs: Any) -> None:
    for name, events in (ORDERLY | UNRULY).items():
        for number, (ours, expected) in enumerate(zip(moments(events), theirs[name], strict=True)):
            event = events[number] if number < len(events) else "the end"
            assert ours == expected, f"{name}, after {event}"


def test_the_streams_are_worth_it(theirs: Any) -> None:
    """They come to parts of every kind and to tool calls in every state."""
    parts = [
        part for seen in theirs.values() for said in seen for one in said for part in one["parts"]
    ]
    kinds = {part["type"] for part in parts}
    assert kinds >= {"text", "thinking", "tool-call", "tool-result", "structured-output"}
    states = {part["state"] for part in parts if part["type"] == "tool-call"}
    assert states >= {
        *("awaiting-input", "input-streaming", "input-complete", "approval-requested"),
        *("complete", "error"),
    }


def test_what_was_handed_out_does_not_change() -> None:
    events = Answer(3).orderly()
    processor = StreamProcessor()
    kept, copies = [], []
    for event in events:
        processor.process(event)
        kept.append(processor.messages)
        copies.append(repr(processor.messages))
    assert [repr(messages) for messages in kept] == copies
