"""What a chunk costs: the same, wherever it stands in its message and however long the session."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_db.sessions import chunk_row, materialized
from ai_db.test_materialize_links import content, tool_call
from durable_ai_db.materialize import ChunkRow, JsonPart, Materializer, Part
from durable_ai_db.materialize._parts import BLOCK, PartList, Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AT = "2025-12-19T10:00:00.000Z"
DONE = {"type": "done", "finishReason": "stop"}


def _calls_made(act: Callable[[], object]) -> int:
    """How many functions are called: unlike the time, the same on every machine."""
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def _text(seq: int) -> ChunkRow:
    return chunk_row("a1", seq, content("token "), at=AT)


def _tool(seq: int) -> ChunkRow:
    result = {"type": "tool_result", "toolCallId": f"c{seq - 1}", "content": "x"}
    return chunk_row("a1", seq, result if seq % 2 else tool_call(f"c{seq}"), at=AT)


def _session(messages: int) -> list[ChunkRow]:
    chunks = [*(content("token ") for _ in range(49)), DONE]
    return [
        chunk_row(f"m{number}", seq, chunk, at=AT)
        for number in range(messages)
        for seq, chunk in enumerate(chunks)
    ]


@pytest.mark.parametrize("kind", [_text, _tool], ids=["text", "tools"])
def test_the_ten_thousandth_chunk_costs_what_the_hundredth_did(
    kind: Callable[[int], ChunkRow],
) -> None:
    made = Materializer()
    costs = []
    for seq in range(10_000):
        row = kind(seq)
        if seq in {100, 9_900}:
            costs.append(_calls_made(lambda row=row: made.apply([row])))  # type: ignore[misc]
        else:
            made.apply([row])
    assert costs[1] <= costs[0] * 1.1


def test_a_long_session_makes_no_chunk_dearer() -> None:
    costs = []
    for messages in (1, 400):
        made = materialized(_session(messages))
        made.apply([_text(0)])
        costs.append(_calls_made(lambda made=made: made.apply([_text(1)])))  # type: ignore[misc]
    assert costs[1] <= costs[0]


def _cpu(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def _one_by_one(made: Materializer, rows: Iterable[ChunkRow]) -> float:
    return sum(_cpu(lambda row=row: made.apply([row])) for row in rows)  # type: ignore[misc]


def test_figures(unit: float) -> None:
    """The targets, in processor time; a tenth to a third of each is needed."""
    assert _one_by_one(Materializer(), [_text(seq) for seq in range(2_000)]) < 0.2 * unit
    made = Materializer()
    session = _session(200)
    assert _cpu(lambda: made.apply(session)) < 0.3 * unit
    assert _one_by_one(made, [_text(seq) for seq in range(100)]) / 100 < 0.0001 * unit
    cold = _session(400)
    assert _cpu(lambda: Materializer().apply(cold)) < 1.0 * unit


def test_reading_a_growing_text_after_each_chunk_stays_cheap(unit: float) -> None:
    made = Materializer()

    def follow() -> None:
        for seq in range(5_000):
            made.apply([_text(seq)])
            assert len(made.messages["a1"].text) == 6 * (seq + 1)

    assert _cpu(follow) < 2.0 * unit


def _part(number: int) -> Part:
    return JsonPart({"type": "data", "n": number})


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "set", "cut", "view"]), st.integers(0, 3 * BLOCK)),
        max_size=12,
    )
)
def test_parts_are_as_a_list_of_them(acts: list[tuple[str, int]]) -> None:
    parts, model, views = PartList(), list[Part](), list[tuple[Parts, tuple[Part, ...]]]()
    for number, (act, size) in enumerate(acts):
        match act:
            case "append":
                for at in range(size):
                    parts.append(_part(at))
                    model.append(_part(at))
            case "set" if size < len(model):
                parts.set(size, _part(-number))
                model[size] = _part(-number)
            case "cut" if size <= len(model):
                parts.cut(size)
                del model[size:]
            case _:
                views.append((parts.view(), tuple(model)))
    for view, whole in [*views, (parts.view(), tuple(model))]:
        assert view == whole
        assert (len(view), list(view), view[:2]) == (len(whole), list(whole), whole[:2])
        assert view == parts.view() or whole != tuple(model)
        assert repr(view) == repr(whole)
    assert len(parts) == len(model)


def test_rows_hash_and_compare_by_their_parts() -> None:
    first = materialized([_text(0)]).messages["a1"]
    second = materialized([_text(0)]).messages["a1"]
    assert first == second
    assert hash(first.parts) == hash(second.parts)
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
