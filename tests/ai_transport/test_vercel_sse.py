"""UI message streams as bytes, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_transport.sdk import CHUNKS
from durable_ai_transport.vercel import (
    ChunkOutOfOrder,
    DataChunk,
    InvalidChunk,
    TextDeltaChunk,
    ToolInputStartChunk,
    UIMessageReader,
    UIMessageStreamDecoder,
    UnknownChunk,
    encode_event,
    parse_chunk,
    text_of,
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(chunks=st.lists(CHUNKS, max_size=6), cuts=st.lists(st.integers(1, 60), max_size=8))
def test_what_was_encoded_is_decoded_wherever_it_is_cut(chunks: list[Any], cuts: list[int]) -> None:
    whole = b"".join(map(encode_event, chunks)) + b"data: [DONE]\n\n"
    decoder, found = UIMessageStreamDecoder(), []
    for cut in cuts:
        found += decoder.feed(whole[:cut])
        whole = whole[cut:]
    found += decoder.feed(whole)
    # Half of a surrogate pair is no text that bytes can carry.
    text = json.dumps(chunks).replace('"\\ud83d"', '"\\ufffd"').replace('"\\ude00"', '"\\ufffd"')
    assert [chunk.to_json() for chunk in found] == json.loads(text)
    assert decoder.done


def test_every_line_end_and_comments() -> None:
    decoder = UIMessageStreamDecoder()
    data = b': keep-alive\r\n\r\ndata:{"type":"abort"}\r\rid: 7\ndata: {"type":\ndata: "abort"}\n\n'
    assert [chunk.type for chunk in decoder.feed(data)] == ["abort", "abort"]
    assert not decoder.done


def test_fields_are_pythons_and_on_the_wire_javascripts() -> None:
    chunk = ToolInputStartChunk(tool_call_id="1", tool_name="t", dynamic=True)
    wire = {"type": "tool-input-start", "toolCallId": "1", "toolName": "t", "dynamic": True}
    assert chunk.to_json() == wire
    assert parse_chunk(wire) == chunk
    assert parse_chunk(chunk) is chunk


def test_what_is_newer_than_this_is_kept() -> None:
    newer = {"type": "hologram", "depth": 3}
    chunk = parse_chunk(newer)
    assert isinstance(chunk, UnknownChunk)
    assert chunk.to_json() == newer
    more = {"type": "text-delta", "id": "1", "delta": "x", "tone": "warm"}
    known = parse_chunk(more)
    assert isinstance(known, TextDeltaChunk)
    assert known.to_json() == more
    assert isinstance(parse_chunk({"type": "data-plan", "data": [1]}), DataChunk)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"data: {oops}\n\n", "no JSON"),
        (b'data: {"type":"text-delta","id":"1","delta":NaN}\n\n', "no JSON"),
        (b"data: [1]\n\n", "no object with a type"),
        (b'data: {"id":1}\n\n', "no object with a type"),
        (b'data: {"type":"text-delta","id":"1"}\n\n', "delta: Field required"),
        (b'data: {"type":"text-delta","id":7,"delta":""}\n\n', "id: Input should be"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "no JSON"),
    ],
    ids=["text", "NaN", "array", "no type", "missing", "kind", "deep"],
)
def test_what_is_no_chunk(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidChunk, match=reason) as caught:
        UIMessageStreamDecoder().feed(data)
    assert "Check what the backend sends" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_chunk_out_of_order_says_what_is_missing() -> None:
    reader = UIMessageReader()
    with pytest.raises(ChunkOutOfOrder, match="text-start with this id first") as caught:
        reader.read({"type": "text-delta", "id": "t1", "delta": "x"})
    assert (caught.value.chunk_type, caught.value.chunk_id) == ("text-delta", "t1")


def test_a_message_that_is_gone_on_with_is_left_alone() -> None:
    before: Any = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "a"}]}
    reader = UIMessageReader(before)
    reader.read({"type": "text-start", "id": "1"})
    reader.read({"type": "text-delta", "id": "1", "delta": "b"})
    assert text_of(reader.message) == "ab"
    assert text_of(before) == "a"


def test_a_replay_begins_the_message_anew() -> None:
    half: Any = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "a"}]}
    reader = UIMessageReader(half, reset_on_start=True)
    for chunk in (
        {"type": "start"},
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "ab"},
        {"type": "finish", "finishReason": "stop"},
    ):
        reader.read(chunk)
    assert text_of(reader.message) == "ab"
    assert reader.message["id"] == "m"
    assert reader.ended
    assert reader.finish_reason == "stop"
