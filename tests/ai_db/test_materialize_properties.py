"""Whatever a session's rows are, and however they arrive: one and the same state."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ai_db.sessions import Mirror, seen
from durable_ai_db.materialize import HISTORY_STYLES, ChunkRow, Materializer, to_messages

IDS = st.sampled_from(["c1", "c2", "c3"])
TEXTS = st.text(max_size=6) | st.sampled_from(["\ud83d", "\ude00", "{", '{"a":1}'])


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def _call(function: dict[str, str], call_id: str) -> dict[str, Any]:
    return {"type": "tool_call", "toolCall": {"id": call_id, "function": function}}


TANSTACK = st.one_of(
    _object(type=st.just("content"), delta=TEXTS),
    _object(type=st.just("content"), content=TEXTS),
    _object(type=st.just("thinking"), delta=TEXTS),
    st.builds(_call, _object(name=st.just("get"), arguments=TEXTS), IDS),
    _object(type=st.just("tool_result"), toolCallId=IDS, content=TEXTS),
    _object(
        type=st.just("approval-requested"),
        toolCallId=IDS,
        approval=_object(id=IDS, needsApproval=st.just(True)),
    ),
    _object(
        type=st.just("done"),
        finishReason=st.sampled_from(["stop", "tool_calls"]),
        usage=st.none() | _object(prompt_tokens=st.integers(0, 9), outputTokens=st.integers(0, 9)),
    ),
)
OWN = st.one_of(
    _object(type=st.just("stop")),
    _object(type=st.just("error"), error=TEXTS),
    _object(type=st.just("tool-result"), toolCallId=IDS, output=TEXTS),
    _object(type=st.just("approval-response"), approvalId=IDS, approved=st.booleans()),
    _object(
        type=st.just("user-message"),
        message=_object(id=st.just("u"), parts=st.lists(_object(type=TEXTS), max_size=2)),
    ),
)
BAD: st.SearchStrategy[Any] = st.sampled_from(
    [7, None, [], {}, {"type": "new"}, {"type": "content"}, {"type": []}]
)


@st.composite
def sessions(draw: st.DrawFn) -> list[ChunkRow]:
    """Rows of a few messages, each key once."""
    rows = []
    for number in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["user", "assistant", "assistant"]))
        for seq, chunk in enumerate(draw(st.lists(TANSTACK | OWN | BAD, max_size=8))):
            minute = draw(st.integers(0, 3))
            at = f"2025-12-19T10:0{minute}:00.000Z"
            rows.append(ChunkRow(f"m{number}", f"by{number}", role, json.dumps(chunk), seq, at))
    return rows


@settings(max_examples=300, deadline=None)
@given(rows=sessions(), data=st.data())
def test_any_order_in_any_batches_with_repeats_and_a_snapshot(
    rows: list[ChunkRow], data: st.DataObject
) -> None:
    expected = Materializer(session_id="sess")
    expected.apply(rows)

    again = data.draw(st.lists(st.sampled_from(rows), max_size=6)) if rows else []
    arriving = data.draw(st.permutations([*rows, *again]))
    made, mirror = Materializer(session_id="sess"), Mirror()
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        mirror.take(made.apply(arriving[:size]))
        del arriving[:size]
        assert mirror.agrees_with(made)
        if data.draw(st.booleans()):
            restored = Materializer(session_id="sess")
            restored.restore(json.loads(json.dumps(made.export())))
            assert seen(restored) == seen(made)
            made = restored
    assert seen(made) == seen(expected)
    assert made.apply(rows) == []
    for style in HISTORY_STYLES:
        told = [to_messages(made, style), seen(made)]
        json.dumps(told, allow_nan=False, ensure_ascii=False).encode()


@settings(max_examples=100, deadline=None)
@given(rows=sessions(), data=st.data())
def test_rows_that_went_leave_nothing_behind(rows: list[ChunkRow], data: st.DataObject) -> None:
    gone = data.draw(st.lists(st.sampled_from(rows), max_size=9)) if rows else []
    made, mirror = Materializer(session_id="sess"), Mirror()
    mirror.take(made.apply(rows))
    mirror.take(made.discard((row.message_id, row.seq) for row in gone))
    expected = Materializer(session_id="sess")
    expected.apply(row for row in rows if row not in gone)
    assert seen(made) == seen(expected)
    assert mirror.agrees_with(made)
