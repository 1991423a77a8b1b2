"""The reference sessions: as the original has them, but for the ten decisions of their README."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from ai_db.sessions import CASES, contains, fixture, fixture_rows, materialized, seen
from durable_ai_db.materialize import Materializer

if TYPE_CHECKING:
    from collections.abc import Callable

each_case = pytest.mark.parametrize("name", CASES)


def _texts_without_delta(one: dict[str, Any]) -> None:
    one["messages"][1]["parts"][0]["content"] = "Hi there"


def _thoughts_without_delta(one: dict[str, Any]) -> None:
    one["messages"][1]["parts"][0]["content"] = "Let me think"


def _kept_message(one: dict[str, Any]) -> None:
    kept = {
        "id": "a1",
        "role": "assistant",
        "parts": [{"type": "text", "content": "Hi"}],
        "actorId": "agent-1",
        "isComplete": True,
        "createdAt": "2025-12-19T10:00:00.010Z",
        "skippedCount": 1,
    }
    one["messages"].append(kept)
    one["stats"] |= {"messageCount": 2, "assistantMessageCount": 1, "skippedChunkCount": 1}
    one["stats"]["lastMessageAt"] = kept["createdAt"]


def _counted_once(one: dict[str, Any]) -> None:
    one["messages"][1]["parts"][0]["content"] = "One two"
    one["messages"][1]["parts"][1]["arguments"] = '{"a":1}'
    one["toolCalls"][0] |= {"arguments": '{"a":1}', "input": {"a": 1}, "state": "complete"}
    del one["toolResults"][1]
    one["stats"] |= {"totalTokens": 14, "promptTokens": 10, "completionTokens": 4}


def _not_glued(one: dict[str, Any]) -> None:
    one["messages"][1]["parts"][3]["content"] = "A more"
    one["toolCalls"][0]["state"] = "complete"


def _kept_approval(one: dict[str, Any]) -> None:
    one["messages"][1]["parts"][0] |= {
        "state": "approval-requested",
        "approval": {"id": "appr_1", "needsApproval": True},
    }


def _answered(one: dict[str, Any]) -> None:
    del one["messages"][2:]
    one["messages"][1]["parts"][0]["approval"]["approved"] = True
    one["toolCalls"][0]["state"] = "complete"
    one["toolResults"] = [
        {
            "id": "r2:call_1",
            "toolCallId": "call_1",
            "messageId": "r2",
            "output": {"ok": True},
            "error": None,
            "actorId": "user-1",
            "createdAt": "2025-12-19T10:00:00.050Z",
        }
    ]
    one["approvals"][0] |= {
        "status": "approved",
        "respondedBy": "user-1",
        "respondedAt": "2025-12-19T10:00:00.040Z",
    }
    one["activeGenerations"] = []
    one["stats"] |= {"messageCount": 2, "userMessageCount": 1, "activeGenerationCount": 0}
    one["stats"]["lastMessageAt"] = "2025-12-19T10:00:00.010Z"


def _told(error: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    def change(one: dict[str, Any]) -> None:
        one["messages"][1] |= {"error": error, "interrupted": True}

    return change


def _earliest_first(one: dict[str, Any]) -> None:
    one["messages"].reverse()


DECISIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "text-content-without-delta-key": _texts_without_delta,
    "thinking-without-delta-key": _thoughts_without_delta,
    "malformed-chunk-first": _kept_message,
    "duplicate-rows": _counted_once,
    "tool-result-then-text-prefix": _not_glued,
    "approval-before-done": _kept_approval,
    "approval-then-response-and-client-result": _answered,
    "error-mid-stream": _told({"message": "overloaded", "code": "529"}),
    "error-proxy-shape": _told({"message": "Agent request failed: 500 Internal Server Error"}),
    "out-of-order-createdAt": _earliest_first,
}

ADDITIONS = {"error-mid-stream", "error-proxy-shape"}
"""Here the original is right as far as it goes."""

PREFIXES_AS_THE_ORIGINAL = [
    name for name in CASES if name not in DECISIONS and name != "tool-input-available-unknown-call"
]


@each_case
def test_a_session_is_as_it_is_meant_to_be(name: str) -> None:
    expected = fixture(name, "expected")
    if name in DECISIONS:
        DECISIONS[name](expected)
    found = seen(materialized(fixture_rows(name)))
    assert contains(found, expected), found


@each_case
def test_the_decisions_are_needed(name: str) -> None:
    found = seen(materialized(fixture_rows(name)))
    assert contains(found, fixture(name, "expected")) == (name not in DECISIONS.keys() - ADDITIONS)


@pytest.mark.parametrize("name", PREFIXES_AS_THE_ORIGINAL)
def test_each_prefix_is_as_the_original_has_it(name: str) -> None:
    rows = fixture_rows(name)
    made = Materializer(session_id="sess")
    for row, prefix in zip(rows, fixture(name, "prefixes"), strict=True):
        made.apply([row])
        found = seen(made)
        assert contains(found["messages"], prefix["messages"]), prefix
        assert contains(found["toolCalls"], prefix["toolCalls"]), prefix


@each_case
def test_any_prefix_again_changes_nothing(name: str) -> None:
    rows = fixture_rows(name)
    made = materialized(rows)
    before = seen(made)
    for end in range(len(rows) + 1):
        assert made.apply(rows[:end]) == []
    assert seen(made) == before


@each_case
def test_the_rows_may_come_in_any_order(name: str) -> None:
    rows = fixture_rows(name)
    expected = seen(materialized(rows))
    for seed in range(20):
        shuffled = random.Random(seed).sample(rows, len(rows))
        together, single = materialized(shuffled), Materializer(session_id="sess")
        for row in shuffled:
            single.apply([row])
        assert seen(together) == expected, seed
        assert seen(single) == expected, seed


@each_case
def test_two_halves_with_a_snapshot_between(name: str) -> None:
    rows = fixture_rows(name)
    expected = seen(materialized(rows))
    for cut in range(len(rows) + 1):
        first = materialized(rows[:cut])
        second = Materializer(session_id="sess")
        second.restore(first.export())
        assert seen(second) == seen(first)
        second.apply(rows[cut:])
        assert seen(second) == expected, cut
