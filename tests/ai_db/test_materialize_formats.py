"""Chunk formats, by recorded answers, and by what the providers' own libraries make of them."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from ai_db.sessions import RECORDED, contains, materialized, seen, stream
from durable_ai_db.materialize import Materializer, MessageRow, ToolCallPart, to_messages
from emulator import Script, ToolCall
from emulator import _anthropic as anthropic_api
from emulator import _openai_chat as chat_api
from emulator import _openai_responses as responses_api

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER_VALUES: list[Any] = [None, 7, "x", [], {}, True]

SCRIPTS = [
    Script(),
    Script(tokens=()),
    Script(tokens=("Grüße ", "aus ", "Zürich ", "\U0001f600", "!")),
    Script(
        tokens=("Let me ", "look."),
        tool_calls=(
            ToolCall(name="weather", arguments=('{"in":', '"Rome"', "}"), id="c1"),
            ToolCall(name="time", arguments=("{", "}"), id="c2"),
        ),
    ),
]
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=["plain", "empty", "umlauts", "tools"])
REQUEST = {"model": "m-1", "stream_options": {"include_usage": True}}


def _events(frames: Iterable[bytes]) -> list[Any]:
    lines = b"".join(frames).decode().splitlines()
    texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in texts if text != "[DONE]"]


def _message(events: list[Any]) -> tuple[Materializer, MessageRow]:
    made = materialized(stream("a1", events))
    row = made.messages["a1"]
    assert row.skipped == ()
    assert row.is_complete
    assert made.active_generations == {}
    return made, row


def _calls(row: MessageRow) -> list[tuple[str, str, str]]:
    parts = [part for part in row.parts if isinstance(part, ToolCallPart)]
    assert all(part.state == "input-complete" for part in parts)
    return [(part.id, part.name, part.arguments) for part in parts]


def _tokens(made: Materializer) -> tuple[int, int, int]:
    stats = made.stats
    return stats.prompt_tokens, stats.completion_tokens, stats.total_tokens


@each_script
def test_chat_completions_are_as_the_openai_library_has_them(script: Script) -> None:
    events = _events(chat_api.stream(script, REQUEST))
    state: Any = ChatCompletionStreamState()
    for event in events:
        state.handle_chunk(ChatCompletionChunk.model_validate(event))
    oracle = state.get_final_completion()
    made, row = _message(events)
    message = oracle.choices[0].message
    assert row.text == (message.content or "")
    assert row.finish_reason == oracle.choices[0].finish_reason
    assert _calls(row) == [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
    ]
    usage = oracle.usage
    assert usage is not None
    assert _tokens(made) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    assert row.format == "openai-chat"


@each_script
def test_messages_are_as_the_anthropic_library_has_them(script: Script) -> None:
    events = _events(anthropic_api.stream(script, REQUEST))
    read: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    oracle: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        if event["type"] != "ping":
            oracle = accumulate_event(
                event=read.validate_python(event), current_snapshot=oracle, json_bufs=buffers
            )
    made, row = _message(events)
    texts = [block.text for block in oracle.content if block.type == "text"]
    uses = [block for block in oracle.content if block.type == "tool_use"]
    assert row.text == "".join(texts)
    assert row.finish_reason == oracle.stop_reason
    assert [(call[0], call[1], json.loads(call[2])) for call in _calls(row)] == [
        (use.id, use.name, use.input) for use in uses
    ]
    tokens = (oracle.usage.input_tokens, oracle.usage.output_tokens)
    assert _tokens(made) == (*tokens, sum(tokens))
    assert row.format == "anthropic"


@each_script
def test_responses_are_as_their_last_event_has_them(script: Script) -> None:
    events = _events(responses_api.stream(script, REQUEST))
    made, row = _message(events)
    whole = events[-1]["response"]
    texts = [part["text"] for item in whole["output"] for part in item.get("content", ())]
    assert row.text == "".join(texts)
    assert _calls(row) == [
        (item["call_id"], item["name"], item["arguments"])
        for item in whole["output"]
        if item["type"] == "function_call"
    ]
    usage = whole["usage"]
    assert _tokens(made) == tuple(
        usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")
    )
    assert row.format == "openai-responses"


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers(name: str) -> None:
    recorded = RECORDED[name]
    made = materialized(stream("a1", recorded["chunks"]))
    found = seen(made)
    assert contains(found, recorded["expected"]), json.dumps(found, indent=1)
    assert "skipped" not in found["messages"][0]


@pytest.mark.parametrize("name", RECORDED)
def test_any_part_and_any_order_of_an_answer_fails_nothing(name: str) -> None:
    rows = stream("a1", RECORDED[name]["chunks"])
    expected = seen(materialized(rows))
    for seed in range(10):
        shuffled = random.Random(seed).sample(rows, len(rows))
        one_by_one = Materializer(session_id="sess")
        for row in shuffled:
            one_by_one.apply([row])
        assert seen(one_by_one) == expected
        part = materialized(row for row in rows if random.Random(f"{seed}{row.seq}").random() < 0.7)
        json.dumps(seen(part), allow_nan=False)
        to_messages(part)


@pytest.mark.parametrize("name", RECORDED)
def test_broken_chunks_of_a_format_are_skipped_one_by_one(name: str) -> None:
    """Each field of each chunk is lost, or becomes something else."""
    chunks = RECORDED[name]["chunks"]
    for place, chunk in enumerate(chunks):
        for field, value in itertools.product(chunk, OTHER_VALUES):
            broken = [*chunks[:place], chunk | {field: value}, *chunks[place + 1 :]]
            json.dumps(seen(materialized(stream("a1", broken))), allow_nan=False)


def test_a_session_may_mix_formats() -> None:
    rows = [row for name, recorded in RECORDED.items() for row in stream(name, recorded["chunks"])]
    made = materialized(rows)
    for name in RECORDED:
        alone = materialized(stream(name, RECORDED[name]["chunks"])).messages[name]
        assert made.messages[name].text == alone.text
        assert made.messages[name].format == alone.format
    assert {row.format for row in made.messages.values()} == {
        *("tanstack", "ag-ui", "vercel", "openai-chat", "openai-responses", "anthropic"),
    }
