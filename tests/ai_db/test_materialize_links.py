"""What messages say about each other, in whatever order they come; bad chunks; what changes."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from ai_db.sessions import (
    Mirror,
    answer_row,
    chunk_row,
    fixture_rows,
    materialized,
    seen,
    stream,
    user_message,
)
from durable_ai_db.materialize import (
    DEFAULT_FORMATS,
    ChunkFormat,
    ChunkRow,
    Materializer,
    StatsRow,
    Text,
)

if TYPE_CHECKING:
    from durable_ai_db.materialize import Draft


def tool_call(call_id: str = "c1", arguments: str = "{}", name: str = "rm") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"type": "tool_call", "toolCall": {"id": call_id, "function": function}}


def asked(approval_id: str = "ok1", call_id: str = "c1") -> dict[str, Any]:
    approval = {"id": approval_id, "needsApproval": True}
    return {"type": "approval-requested", "toolCallId": call_id, "approval": approval}


def said_yes(approval_id: str = "ok1", **more: Any) -> dict[str, Any]:
    return {"type": "approval-response", "approvalId": approval_id, "approved": True, **more}


def said_no(approval_id: str = "ok1", **more: Any) -> dict[str, Any]:
    return said_yes(approval_id, **more) | {"approved": False}


DONE = {"type": "done", "finishReason": "tool_calls"}


def content(delta: str) -> dict[str, Any]:
    return {"type": "content", "delta": delta}


def test_the_first_answer_counts() -> None:
    rows = [
        *stream("a1", [tool_call(), asked(), DONE]),
        answer_row("r1", said_no(reason="too risky"), at="2025-12-19T11:00:00.000Z"),
        answer_row("r2", said_yes(), at="2025-12-19T11:00:01.000Z"),
    ]
    for order in itertools.permutations(range(5)):
        made = materialized(rows[at] for at in order)
        approval = made.approvals["ok1"]
        assert (approval.status, approval.reason) == ("denied", "too risky")
        assert approval.responded_at == "2025-12-19T11:00:00.000Z"
        assert made.messages["a1"].parts[0].to_json()["approval"]["approved"] is False
        assert list(made.messages) == ["a1"]


def test_an_answer_reaches_the_part_whichever_message_asked() -> None:
    made = materialized(stream("a1", [tool_call(), DONE]))
    assert made.messages["a1"].parts[0].to_json()["state"] == "input-complete"
    made.apply(stream("a2", [asked()], at="2025-12-19T11:00:00.000Z"))
    assert made.messages["a1"].parts[0].to_json()["state"] == "approval-requested"
    made.apply([answer_row("r1", said_yes())])
    assert made.messages["a1"].parts[0].to_json()["approval"]["approved"] is True


def test_an_answer_to_nothing_is_no_message() -> None:
    made = materialized([answer_row("r1", said_yes("unknown"))])
    assert made.approvals == {}
    assert made.messages == {}
    assert made.active_generations == {}
    assert made.stats == StatsRow("sess")


def test_several_calls_at_once_each_with_their_answer() -> None:
    made = materialized(
        [
            *stream("a1", [tool_call("c1"), tool_call("c2"), asked("ok1"), asked("ok2", "c2")]),
            answer_row("r1", said_yes("ok2")),
            answer_row("r2", said_no("ok1")),
        ]
    )
    assert {one.id: one.status for one in made.approvals.values()} == {
        "ok1": "denied",
        "ok2": "approved",
    }


def test_ids_that_repeat_do_not_mix_up_calls() -> None:
    result = {"type": "tool_result", "toolCallId": "c1", "content": "first"}
    first = stream("a1", [tool_call(arguments="[1]"), result, DONE], at="2025-12-19T10:00:00Z")
    second = stream("a2", [tool_call(arguments="[2]")], at="2025-12-19T11:00:00Z")
    for rows in ([*first, *second], [*second, *first]):
        mirror, made = Mirror(), Materializer(session_id="sess")
        for row in rows:
            mirror.take(made.apply([row]))
        assert mirror.agrees_with(made)
        assert {key: row.input for key, row in made.tool_calls.items()} == {
            "c1": [1],
            "a2:c1": [2],
        }
        assert made.tool_calls["c1"].state == "complete"
        assert made.tool_calls["a2:c1"].state == "pending"


def test_a_later_run_that_tells_of_a_call_again_completes_it() -> None:
    made = materialized(stream("a1", [tool_call(), DONE], at="2025-12-19T10:00:00Z"))
    result = {"type": "tool_result", "toolCallId": "c1", "content": "done"}
    made.apply(stream("a2", [tool_call(), result], at="2025-12-19T11:00:00Z"))
    assert {row.state for row in made.tool_calls.values()} == {"complete"}


@pytest.mark.parametrize(
    "chunk",
    [
        *("", "not json", "[]", "7", "null", '{"type":"content"', "[" * 100_000),
        *('{"type":"content"}', '{"type":"content","delta":7}', '{"type":"tool_call"}'),
        *('{"type":"tool_call","toolCall":{"id":"","function":{}}}', '{"x":NaN}', '{"x":1e999}'),
        *('{"type":"tool_result","toolCallId":"c","content":' + "[" * 300 + "]" * 300 + "}",),
        *('{"type":"done","usage":1e999}', '{"type":["content"]}'),
        *('{"type":"user-message"}', '{"type":"user-message","message":{"parts":[7]}}'),
    ],
)
def test_a_chunk_that_cannot_be_used_is_skipped_and_told_of(chunk: str) -> None:
    rows = stream("a1", [content("It "), chunk, content("works"), {"type": "done"}])
    for order in itertools.permutations(rows):
        made = materialized(order)
        row = made.messages["a1"]
        assert (row.text, row.is_complete) == ("It works", True)
        assert [(one.seq, bool(one.reason)) for one in row.skipped] == [(1, True)]
        assert row.to_json()["skippedCount"] == made.stats.skipped_chunk_count == 1
        json.dumps(seen(made), allow_nan=False)


def test_a_bad_answer_is_visible_and_not_loading() -> None:
    made = materialized([answer_row("r1", {"type": "approval-response", "approvalId": "x"})])
    assert made.messages["r1"].is_complete
    assert made.messages["r1"].skipped[0].reason == "approved: neither true nor false"


def test_a_stream_whose_first_chunk_says_nothing_is_generating() -> None:
    made = materialized([chunk_row("a1", 0, "bad", role="user")])
    states = [made.messages["a1"].is_complete]
    made.apply([chunk_row("a1", 1, content(""), role="user")])
    states.append(made.messages["a1"].is_complete)
    assert states == [True, False]
    assert "a1" in made.active_generations


def test_many_bad_chunks_are_counted() -> None:
    made = materialized(stream("a1", ["bad"] * 1000))
    assert len(made.messages["a1"].skipped) == 20
    assert made.messages["a1"].skipped_count == 1000


def test_the_session_s_own_ends() -> None:
    stopped = materialized(stream("a1", [content("It "), {"type": "stop", "reason": "aborted"}]))
    row = stopped.messages["a1"]
    assert (row.is_complete, row.interrupted, row.finish_reason) == (True, True, "aborted")
    failed = materialized(stream("a1", [{"type": "error", "error": {"message": "m", "code": 7}}]))
    assert failed.messages["a1"].error == {"message": "m", "code": "7"}
    assert failed.active_generations == {}


def test_an_agent_that_goes_on_after_its_tools_is_generating_again() -> None:
    made = materialized(stream("a1", [tool_call(), DONE]))
    assert made.active_generations == {}
    made.apply([chunk_row("a1", 2, {"type": "tool_result", "toolCallId": "c1", "content": ""})])
    assert made.active_generations == {}
    made.apply([chunk_row("a1", 3, content("Gone."))])
    assert made.active_generations["a1"].last_chunk_seq == 3
    made.apply([chunk_row("a1", 4, {"type": "done", "finishReason": "stop"})])
    assert made.active_generations == {}


def test_rows_that_go_are_as_if_they_had_never_come() -> None:
    rows = fixture_rows("approval-then-response-and-client-result")
    for gone in itertools.chain.from_iterable(
        itertools.combinations(rows, count) for count in range(len(rows) + 1)
    ):
        mirror, made = Mirror(), Materializer(session_id="sess")
        mirror.take(made.apply(rows))
        mirror.take(made.discard((row.message_id, row.seq) for row in gone))
        assert seen(made) == seen(materialized(row for row in rows if row not in gone))
        assert mirror.agrees_with(made)
        mirror.take(made.reset())
        assert mirror.agrees_with(made)
        assert seen(made) == seen(materialized([]))


def test_rows_are_not_changed_by_what_comes_later() -> None:
    made = Materializer()
    rows = []
    for row in stream("a1", [content(piece) for piece in ("Ünd ", "so ", "weiter")]):
        made.apply([row])
        rows.append(made.messages["a1"])
    assert [row.text for row in reversed(rows)] == ["Ünd so weiter", "Ünd so ", "Ünd "]


def test_half_a_character_waits_for_its_other_half() -> None:
    made = Materializer()
    rows = []
    for row in stream("a1", ['{"type":"content","delta":"x\\ud83d"}', content("\ude00y")]):
        made.apply([row])
        rows.append(made.messages["a1"].text)
    assert rows == ["x", "x\U0001f600y"]
    lone = materialized(stream("a1", [content("\ude00a\ud83d"), content("b")]))
    assert lone.messages["a1"].text == "\ufffda\ufffdb"


def test_what_comes_out_can_be_encoded() -> None:
    half = "\ud83d"
    chunks = [
        content(f"a{half}"),
        tool_call(f"c{half}", f'{{"x":"{half}"}}', half),
        {"type": "tool_result", "toolCallId": f"c{half}", "content": {half: [half]}},
        {"type": half, half: half},
        {"type": "error", "error": {"message": half, "code": half}},
    ]
    made = materialized(stream("a1", chunks))
    assert len(made.tool_results) == 1
    json.dumps(seen(made), ensure_ascii=False).encode()
    message = {"id": half, "role": "user", "parts": [{"type": "x", "text": half}]}
    whole = materialized([chunk_row("u1", 0, {"type": "user-message", "message": message})])
    json.dumps(seen(whole), ensure_ascii=False).encode()


@pytest.mark.parametrize("arguments", ["[" * 300 + "]" * 300, "NaN", "[1e999]", "{", ""])
def test_arguments_that_nobody_else_could_read_are_no_input(arguments: str) -> None:
    made = materialized(stream("a1", [tool_call("c1", arguments)]))
    assert made.tool_calls["c1"].input is None
    assert made.tool_calls["c1"].arguments == arguments
    shallow = "[" + ",".join(["[1]"] * 300) + "]"
    made.apply(stream("a2", [tool_call("c2", shallow)]))
    assert made.tool_calls["c2"].input == [[1]] * 300


def test_texts_compare_as_their_strings() -> None:
    assert Text.of("a") == Text.of("a")
    assert Text.of("a") != Text.of("b")
    assert Text.of("a") != "a"
    assert len({Text.of("a"), Text.of("a")}) == 1
    assert Text.of("abc").since(1) == "bc"


def test_a_format_of_one_s_own() -> None:
    class Shout:
        def read(self, chunk: Any, draft: Draft) -> None:
            draft.text(chunk["shout"].upper())

    shout = ChunkFormat("shout", lambda chunk: "shout" in chunk, Shout)
    made = Materializer((*DEFAULT_FORMATS, shout))
    made.apply(stream("a1", [{"shout": "hey"}, {"shout": 7}, {"whisper": ""}, {"shout": "!"}]))
    row = made.messages["a1"]
    assert (row.text, row.format, row.skipped_count) == ("HEY!", "shout", 2)


def test_a_snapshot_is_json_and_another_version_is_refused() -> None:
    made = materialized([user_message("u1", "hello"), *stream("a1", [content("Hi")])])
    snapshot = json.loads(json.dumps(made.export()))
    again = Materializer(session_id="sess")
    assert {change.collection for change in again.restore(snapshot)} == {
        "message",
        "active_generation",
        "stats",
    }
    assert seen(again) == seen(made)
    with pytest.raises(ValueError, match="version 9"):
        again.restore({"version": 9})


def test_a_row_says_where_it_stands() -> None:
    row = ChunkRow.from_json(user_message("u1", "x").to_json())
    assert row.key == "u1:0"


def test_whole_messages_bring_their_tools() -> None:
    parts = [
        {"type": "text", "content": "Looking."},
        {"type": "tool-call", "id": "c1", "name": "get", "arguments": '{"a":1}', "state": "x"},
        {"type": "tool-result", "toolCallId": "c1", "content": "7", "state": "complete"},
        {"type": "file", "url": "https://example.org/a.png"},
    ]
    message = {"id": "m1", "role": "assistant", "parts": parts}
    made = materialized([chunk_row("m1", 0, {"type": "user-message", "message": message})])
    assert made.tool_calls["c1"].state == "complete"
    assert [part.type for part in made.messages["m1"].parts] == [one["type"] for one in parts]
    assert made.messages["m1"].is_complete
