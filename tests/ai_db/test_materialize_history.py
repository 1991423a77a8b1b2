"""Histories that can be sent to a model again: every call has one result, behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ai_db.sessions import answer_row, chunk_row, materialized, stream, user_message
from ai_db.test_materialize_links import DONE, asked, content, said_no, said_yes, tool_call
from durable_ai_db.materialize import (
    HISTORY_STYLES,
    HistoryStyle,
    Materializer,
    to_messages,
    to_resume,
)

RESULT = {"type": "tool_result", "toolCallId": "c1", "content": "12 degrees"}
STOP = {"type": "stop", "reason": "aborted"}

AT = [f"2025-12-19T10:0{minute}:00.000Z" for minute in range(10)]


def _asked_and_called(*after: Any) -> list[Any]:
    return [
        user_message("u1", "weather?", at=AT[0]),
        *stream(
            "a1", [content("Looking."), tool_call(arguments='{"in":"Rome"}'), *after], at=AT[1]
        ),
    ]


def _openai(made: Materializer, **options: Any) -> list[tuple[str, Any]]:
    """Role, and what is said: texts, calls as (id, arguments), results as (id, text)."""
    shown: list[tuple[str, Any]] = []
    for message in to_messages(made, "openai", **options):
        calls = [
            (call["id"], call["function"]["arguments"]) for call in message.get("tool_calls", [])
        ]
        if message["role"] == "tool":
            shown.append(("tool", (message["tool_call_id"], message["content"])))
        else:
            shown.append((message["role"], message["content"]))
            shown += [("call", call) for call in calls]
    return shown


def test_a_run_with_a_tool_is_two_answers_of_the_model() -> None:
    made = materialized(_asked_and_called(DONE, RESULT, content("It is cold."), {"type": "done"}))
    assert _openai(made) == [
        ("user", "weather?"),
        ("assistant", "Looking."),
        ("call", ("c1", '{"in": "Rome"}')),
        ("tool", ("c1", "12 degrees")),
        ("assistant", "It is cold."),
    ]


def test_the_call_of_an_interrupted_run_is_closed() -> None:
    rows = [
        user_message("u1", "weather?", at=AT[0]),
        *stream("a1", [content("Loo"), tool_call(arguments='{"in":"Ro'), STOP], at=AT[1]),
        user_message("u2", "again, please", at=AT[2]),
    ]
    assert _openai(materialized(rows)) == [
        ("user", "weather?"),
        ("assistant", "Loo"),
        ("call", ("c1", "{}")),
        ("tool", ("c1", "No result: the call was interrupted.")),
        ("user", "again, please"),
    ]


def test_a_result_in_a_message_of_its_own_stands_behind_its_call() -> None:
    result = {"type": "tool-result", "toolCallId": "c1", "output": {"t": 12}, "error": None}
    rows = [*_asked_and_called(DONE), answer_row("r1", result, at=AT[2])]
    assert _openai(materialized(rows))[-1] == ("tool", ("c1", '{"t": 12}'))
    failed = {"type": "tool-result", "toolCallId": "c1", "output": None, "error": "no network"}
    rows[-1] = answer_row("r1", failed, at=AT[2])
    assert _openai(materialized(rows))[-1] == ("tool", ("c1", "no network"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "No result: nobody said whether this call is allowed."),
        (said_no(), "The user did not allow this call."),
        (said_no(reason="Too costly."), "The user did not allow this call. Too costly."),
    ],
    ids=["unanswered", "denied", "denied-why"],
)
def test_a_call_that_may_not_be_made_is_closed(answer: Any, said: str) -> None:
    rows = _asked_and_called(asked(), DONE)
    made = materialized([*rows, *([answer_row("r1", answer, at=AT[2])] if answer else [])])
    assert _openai(made)[-1] == ("tool", ("c1", said))


def test_an_approved_call_is_open_for_the_agent_until_a_user_goes_on() -> None:
    made = materialized([*_asked_and_called(asked(), DONE), answer_row("r1", said_yes(), at=AT[2])])
    assert _openai(made)[-1] == ("call", ("c1", '{"in": "Rome"}'))
    assert to_messages(made, "vercel")[-1]["parts"][-1] == {
        "type": "tool-rm",
        "toolCallId": "c1",
        "input": {"in": "Rome"},
        "approval": {"id": "ok1", "approved": True},
        "state": "approval-responded",
    }
    assert to_messages(made, "tanstack")[-1]["parts"][-1]["state"] == "approval-responded"
    made.apply([user_message("u2", "forget it", at=AT[3])])
    assert ("tool", ("c1", "No result: the call was interrupted.")) in _openai(made)


def test_an_agent_of_ag_ui_is_told_what_was_allowed() -> None:
    made = materialized(_asked_and_called(asked(), DONE))
    assert to_resume(made) == []
    made.apply([answer_row("r1", said_yes(), at=AT[2])])
    told = {"interruptId": "ok1", "status": "resolved", "payload": {"approved": True}}
    assert to_resume(made) == [told]
    assert to_resume(made, messages=[made.messages["u1"]]) == []
    made.apply([user_message("u2", "forget it", at=AT[3])])
    assert to_resume(made) == []


def test_a_caller_may_keep_calls_open() -> None:
    made = materialized(_asked_and_called(DONE))
    assert _openai(made)[-1][0] == "tool"
    assert _openai(made, keep_open={"c1"})[-1][0] == "call"


def test_the_run_that_carries_a_call_out_does_not_tell_of_it_twice() -> None:
    again = [tool_call(arguments='{"in":"Rome"}'), RESULT, content("Cold."), {"type": "done"}]
    rows = [
        *_asked_and_called(asked(), DONE),
        answer_row("r1", said_yes(), at=AT[2]),
        *stream("a2", again, at=AT[3]),
    ]
    assert _openai(materialized(rows))[1:] == [
        ("assistant", "Looking."),
        ("call", ("c1", '{"in": "Rome"}')),
        ("tool", ("c1", "12 degrees")),
        ("assistant", "Cold."),
    ]


def test_ids_that_repeat_become_different() -> None:
    rows = [
        *_asked_and_called(DONE, RESULT),
        *stream("a2", [tool_call(arguments='{"in":"Oslo"}')], at=AT[3]),
    ]
    assert [one for one in _openai(materialized(rows)) if one[0] in {"call", "tool"}] == [
        ("call", ("c1", '{"in": "Rome"}')),
        ("tool", ("c1", "12 degrees")),
        ("call", ("a2:c1", '{"in": "Oslo"}')),
        ("tool", ("a2:c1", "No result: the call was interrupted.")),
    ]


def test_a_part_of_the_messages() -> None:
    made = materialized([*_asked_and_called(DONE, RESULT), user_message("u2", "more", at=AT[2])])
    assert to_messages(made, messages=[made.messages["u2"]]) == [
        {"role": "user", "content": "more"}
    ]


def test_messages_of_nothing_are_left_out() -> None:
    rows = [
        user_message("u1", "", at=AT[0]),
        *stream("a1", [{"type": "error", "error": "500"}], at=AT[1]),
    ]
    for style in HISTORY_STYLES:
        assert to_messages(materialized(rows), style) == []


def test_files_and_roles() -> None:
    png = {"type": "file", "url": "data:image/png;base64,AA==", "mediaType": "image/png"}
    pdf = {"type": "file", "url": "https://e.org/a.pdf", "mediaType": "application/pdf"}
    parts = [{"type": "text", "text": "look"}, png, pdf]
    message: dict[str, Any] = {"id": "u1", "role": "user", "parts": parts}
    system: dict[str, Any] = {
        "id": "s1",
        "role": "system",
        "parts": [{"type": "text", "content": "be nice"}],
    }
    made = materialized(
        chunk_row(one["id"], 0, {"type": "user-message", "message": one}, role=one["role"], at=at)
        for one, at in ((system, AT[0]), (message, AT[1]))
    )
    assert to_messages(made) == [
        {"role": "system", "content": "be nice"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": png["url"]}},
                {"type": "file", "file": {"filename": "file", "file_data": pdf["url"]}},
            ],
        },
    ]
    assert to_messages(made, "vercel")[1]["parts"][1:] == [png, pdf]
    assert to_messages(made, "ag-ui")[1]["content"][1:] == [
        {
            "type": "image",
            "source": {"type": "data", "value": "AA==", "mimeType": "image/png"},
        },
        {
            "type": "document",
            "source": {"type": "url", "value": pdf["url"], "mimeType": "application/pdf"},
        },
    ]


@pytest.mark.parametrize("style", HISTORY_STYLES)
def test_every_call_of_any_history_has_its_result_right_behind_it(style: HistoryStyle) -> None:
    made = materialized(
        [
            *_asked_and_called(tool_call("c2"), DONE, RESULT),
            user_message("u2", "and?", at=AT[2]),
            *stream("a2", [tool_call("c3"), asked("ok3", "c3"), STOP], at=AT[3]),
        ]
    )
    told = to_messages(made, style)
    json.dumps(told)
    calls, results = _calls_and_results(told)
    assert calls == results == ["c1", "c2", "c3"]


def _calls_and_results(told: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    calls, results = [], []
    for message in told:
        told_calls = message.get("tool_calls", message.get("toolCalls", ()))
        calls += [call["id"] for call in told_calls]
        if message["role"] == "tool":
            results.append(message.get("tool_call_id") or message["toolCallId"])
        for part in message.get("parts", ()):
            if part["type"] == "tool-call":
                calls.append(part["id"])
            elif part["type"] == "tool-result":
                results.append(part["toolCallId"])
            elif part["type"].startswith("tool-"):
                calls.append(part["toolCallId"])
                assert part["state"] in {"output-available", "output-error", "output-denied"}
                results.append(part["toolCallId"])
    return calls, results
