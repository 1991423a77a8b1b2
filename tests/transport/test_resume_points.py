"""A stored offset is one at which a new parser can begin."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_transport._resume_points import ResumePoints

SSE = "text/event-stream; charset=utf-8"
_TWO_LINE_ENDS = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


def oracle(data: bytes) -> int:
    """The end of the last blank line, line ends taken from the left as a parser takes them."""
    ends = [0]
    at = 0
    while found := _TWO_LINE_ENDS.search(data, at):
        ends.append(found.end())
        # the second line end may also be the first of the next pair
        at = found.start() + (2 if data[found.start() : found.start() + 2] == b"\r\n" else 1)
    return ends[-1]


line_ends = st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b"", b"\xe2\x80\xa8", b"y"])


@given(st.lists(line_ends, max_size=12).map(b"".join), st.data())
def test_sse_offsets_are_ends_of_events_however_the_bytes_are_cut(
    body: bytes, data: st.DataObject
) -> None:
    points = ResumePoints(SSE, 100)
    cut = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    for start, end in zip([0, *cut], [*cut, len(body)], strict=True):
        safe = points.feed(body[start:end])
        assert safe <= points.position
    # A body cut between CR and LF may be resumed with the LF: one more blank line, no event lost.
    assert points.safe - 100 == oracle(body) or body[points.safe - 100 :] == b"\n"


def test_sse_in_the_middle_of_an_event() -> None:
    points = ResumePoints(SSE)
    assert points.feed(b"data: 1\n\ndata: 2\n") == 9
    assert points.feed(b"\n") == 18
    assert points.feed(b"dat") == 18


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl"])
def test_lines(media_type: str) -> None:
    points = ResumePoints(media_type)
    assert points.feed(b'{"a": 1}') == 0
    assert points.feed(b'\n{"b') == 9


@pytest.mark.parametrize("media_type", ["application/json", "application/problem+json"])
def test_a_document_has_only_its_beginning(media_type: str) -> None:
    points = ResumePoints(media_type)
    assert points.feed(b'{"a":\n\n') == 0
    assert points.feed(b"1}") == 0


@pytest.mark.parametrize("media_type", [None, "", "application/octet-stream", "text/plain"])
def test_any_byte_of_anything_else(media_type: str | None) -> None:
    points = ResumePoints(media_type, 5)
    assert points.feed(b"abc") == 8
