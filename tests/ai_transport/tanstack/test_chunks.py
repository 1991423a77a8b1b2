"""Chunks: typed, on the wire, and out of bytes wherever they are cut."""

from __future__ import annotations

from typing import Any

import pytest
from ag_ui.core import RunFinishedEvent, TextMessageContentEvent

from ai_transport.tanstack import node
from ai_transport.tanstack.streams import Answer
from durable_ai_transport.tanstack import (
    ChunkDecoder,
    ChunkError,
    StreamProcessor,
    UIMessage,
    decode,
    encode,
    to_wire,
    typed,
    wire,
)
from durable_ai_transport.tanstack._legacy import ContentChunk, DoneChunk, ToolCallChunk
from durable_transport.sse import EventDecoder

EVENTS = [one for seed in range(6) for one in Answer(seed).orderly()]
HEAD = {"id": "x", "model": "m", "timestamp": 1}
OLDER: list[dict[str, Any]] = [
    {**HEAD, "type": "thinking", "delta": "Let me ", "content": "Let me "},
    {**HEAD, "type": "thinking", "delta": "see", "content": "Let me see"},
    {**HEAD, "type": "content", "delta": "I ", "content": "I ", "role": "assistant"},
    {**HEAD, "type": "content", "delta": "look.", "content": "I look."},
    *(
        {
            **HEAD,
            "type": "tool_call",
            "index": 0,
            "toolCall": {
                "id": "c1",
                "type": "function",
                "function": {"name": "look", "arguments": piece},
            },
        }
        for piece in ('{"ci', 'ty": "Bern"}')
    ),
    {**HEAD, "type": "done", "finishReason": "tool_calls"},
    {**HEAD, "type": "tool_result", "toolCallId": "c1", "content": "sunny"},
    {**HEAD, "id": "y", "type": "content", "delta": "Sunny", "content": "Sunny"},
    {**HEAD, "id": "y", "type": "content", "delta": "!", "content": "Sunny!"},
    {**HEAD, "type": "done", "finishReason": "stop", "usage": {"totalTokens": 3}},
]
PENDING = [
    *OLDER[:6],
    {
        **HEAD,
        "type": "approval-requested",
        "toolCallId": "c1",
        "toolName": "look",
        "input": {"city": "Bern"},
        "approval": {"id": "a1", "needsApproval": True},
    },
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10**6])
def test_chunks_come_out_of_bytes_however_they_are_cut(size: int) -> None:
    body = b"".join(encode(event, id=f"{number}") for number, event in enumerate(EVENTS))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert decode(pieces) == EVENTS


def test_a_position_is_where_another_decoder_begins() -> None:
    body = b": hello\r\n\r\n" + b"".join(encode(event) for event in EVENTS[:20])
    received = ChunkDecoder().feed(body)
    for number, one in enumerate(received, 1):
        rest = ChunkDecoder(one.position)
        assert [two.chunk for two in rest.feed(body[one.position :])] == EVENTS[number:20]
        assert rest.position == len(body)
        assert not rest.incomplete


def test_an_answer_that_is_cut_inside_an_event_is_seen() -> None:
    decoder = ChunkDecoder()
    decoder.feed(encode(EVENTS[0])[:-1])
    assert decoder.incomplete


def test_done_is_an_event() -> None:
    chunks = decode([encode({"type": "RUN_STARTED", "threadId": "t", "runId": "r"})])
    chunks += decode([b"data: [DONE]\n\n"])
    assert chunks[1] == {
        "type": "RUN_FINISHED",
        "threadId": "",
        "runId": "",
        "finishReason": "stop",
    }


@pytest.mark.parametrize("data", [b"<html>", b"3", b"{}", b'"x"', b"[1]", b"\xff"])
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(ChunkError, match="not a chunk"):
        decode([b"data: " + data + b"\n\n"])


def test_an_id_is_the_events() -> None:
    (event,) = EventDecoder().feed(encode(EVENTS[0], id="0042/7"))
    assert encode(EVENTS[0], id="0042/7").startswith(b"id: 0042/7\n")
    assert wire(EVENTS[0])["type"] in event.data.decode()
    for bad in ("a\nb", " a", "a\0"):
        with pytest.raises(ChunkError, match="an id"):
            encode(EVENTS[0], id=bad)


def test_events_have_types_and_keep_what_these_do_not_know() -> None:
    text = typed({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x", "model": "gpt"})
    assert isinstance(text, TextMessageContentEvent)
    assert (text.message_id, wire(text)["model"]) == ("m", "gpt")
    usage = {"promptTokens": 3, "completionTokens": 4, "totalTokens": 7}
    end = typed({"type": "RUN_FINISHED", "threadId": "t", "runId": "r", "usage": usage})
    assert isinstance(end, RunFinishedEvent)
    assert end.usage is not None
    assert end.usage[0].input_tokens == 3


def test_older_chunks_have_types() -> None:
    kinds = [type(typed(chunk)) for chunk in OLDER]
    assert {ContentChunk, ToolCallChunk, DoneChunk} <= set(kinds)
    call = typed(OLDER[4])
    assert isinstance(call, ToolCallChunk)
    assert call.tool_call.function.name == "look"
    assert wire(call)["toolCall"]["id"] == "c1"


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        ({"type": "NEVER_HEARD_OF"}, "NEVER_HEARD_OF"),
        ({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m"}, "delta"),
        ({"type": "tool_call"}, "toolCall"),
        ({}, "not a chunk"),
    ],
)
def test_what_has_no_type_says_why(chunk: dict[str, Any], said: str) -> None:
    with pytest.raises(ChunkError, match=said):
        typed(chunk)


def test_older_chunks_come_to_what_the_release_before_made_of_them() -> None:
    """The npm package up to AG-UI, over the same chunks: the same text, thoughts, and calls."""
    streams = {"whole": OLDER, "pending": PENDING, "cumulative": _cumulative(OLDER)}
    given = {"events": {}, "older": streams | {"cumulative": OLDER}, "wires": {}}
    older = node.run("tanstack_messages.mjs", given)["older"]
    for name, chunks in streams.items():
        processor = StreamProcessor()
        for chunk in chunks:
            processor.process(chunk)
        processor.finish()
        (message,) = processor.messages
        assert _gist(message["parts"]) == _gist(older[name]), name
        waiting = [part for part in message["parts"] if part.get("state") == "approval-requested"]
        assert len(waiting) == (name == "pending")


def _cumulative(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As servers sent them that knew no deltas."""
    return [{key: value for key, value in one.items() if key != "delta"} for one in chunks]


def _gist(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What both releases say, in whatever order and under whatever names."""
    calls = [part for part in parts if part["type"] == "tool-call"]
    return {
        "texts": [part["content"] for part in parts if part["type"] == "text"],
        "thinking": [part["content"] for part in parts if part["type"] == "thinking"],
        "calls": [(one["id"], one["name"], one["arguments"]) for one in calls],
        "results": [part["content"] for part in parts if part["type"] == "tool-result"],
    }


def test_messages_are_sent_as_the_npm_client_sends_them() -> None:
    wires: dict[str, list[UIMessage]] = {}
    for seed in range(60):
        processor = StreamProcessor(new_id=lambda: "made-up", clock=lambda: 0.0)
        processor.add_user_message("Hello", "u1")
        for event in Answer(seed).orderly():
            processor.process(event)
        processor.finish()
        for message in processor.messages:
            for part in message["parts"]:
                if part["type"] == "tool-call" and "approval" in part:
                    processor.respond_to_approval(part["approval"]["id"], approved=seed % 2 == 0)
        image = {"type": "image", "source": {"type": "url", "value": "https://example.com/a.png"}}
        processor.add_user_message([{"type": "text", "content": "See"}, image], "u2")
        wires[str(seed)] = processor.messages
    theirs = node.run("tanstack_messages.mjs", {"events": {}, "older": {}, "wires": wires})["wires"]
    for name, messages in wires.items():
        assert to_wire(messages) == theirs[name], name
