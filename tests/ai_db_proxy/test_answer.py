"""An agent's answer, however its bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ai_db_proxy._answer import AnswerError, AnswerReader

EVENTS = (
    b'\xef\xbb\xbfdata:{"a":1}\r\n\r\n'
    b": nothing\n\n"
    b'event: chunk\ndata: {"b":\ndata: "\xe2\x82\xac"}\n\n'
    b"data: not json\r\r"
    b"data: two\ndata: lines\n\n"
    b'id: 7\ndata: {"c":"\xe2\x80\xa8"}\n\n'
    b"data: [DONE]\n\n"
    b"data:\n\n"
    b'data: {"last":true}'
)
CHUNKS = [
    '{"a":1}',
    '{"b":"€"}',
    "not json",
    "two\nlines",
    '{"c":"\u2028"}',
    '{"last":true}',
]
LINES = b'{"a":1}\r\n\n{"b":"\xe2\x82\xac"}\nnot json\n{"last":true}'


def read(kind: str, pieces: list[bytes]) -> list[str]:
    reader = AnswerReader(kind, 10_000)
    return [text for piece in pieces for text in reader.feed(piece)] + reader.end()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


def test_whole_and_byte_by_byte() -> None:
    kind = "text/event-stream; charset=utf-8"
    assert read(kind, [EVENTS]) == CHUNKS
    assert read(kind, [bytes([one]) for one in EVENTS]) == CHUNKS


@given(st.lists(st.integers(0, len(EVENTS))))
def test_events_cut_anywhere(places: list[int]) -> None:
    assert read("text/event-stream", cut(EVENTS, places)) == CHUNKS


@given(st.lists(st.integers(0, len(LINES))))
def test_lines_cut_anywhere(places: list[int]) -> None:
    expected = ['{"a":1}', '{"b":"€"}', "not json", '{"last":true}']
    assert read("application/x-ndjson", cut(LINES, places)) == expected


def test_what_is_no_answer() -> None:
    for kind in (None, "", "text/html", "application/json"):
        with pytest.raises(AnswerError) as refused:
            AnswerReader(kind, 100)
        assert refused.value.code == "agent_bad_answer"
    reader = AnswerReader("text/event-stream", 100)
    reader.feed(b"x" * 100)
    with pytest.raises(AnswerError) as too_large:
        reader.feed(b"x")
    assert too_large.value.code == "agent_answer_too_large"
