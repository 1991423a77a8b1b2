"""The merge core against an oracle, over every interleaving and split Hypothesis comes up with."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_transport._merge import Completed, Failed, Merge, MergeError, PastEndError
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    StartPayload,
    TerminalCode,
    TerminalPayload,
)

START = ControlMessage.start(StartPayload(status=200, content_type="text/plain"))


def terminal(position: int, code: str | None = None) -> ControlMessage:
    event = ControlEvent.DONE if code is None else ControlEvent.ERROR
    return ControlMessage.terminal(event, position, TerminalPayload(code=code))


@dataclass(frozen=True)
class Piece:
    """Body bytes from ``start`` to ``end``."""

    start: int
    end: int


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[bytes, int, ControlMessage, list[Piece | ControlMessage]]:
    """A body, a first position, and its two streams interleaved: data may repeat, never skip."""
    body = bytes(range(draw(st.integers(0, 60))))
    first = draw(st.integers(0, len(body)))
    code = draw(st.sampled_from([None, *TerminalCode]))
    end = terminal(len(body), code)
    pieces: list[Piece | ControlMessage] = []
    reached = first
    while reached < len(body):
        start = draw(st.integers(0, reached))  # any overlap with what was there before
        stop = min(len(body), reached + draw(st.integers(1, 20)))
        pieces.append(Piece(start, stop))
        reached = stop
        if draw(st.booleans()):  # the same again, or some of it
            pieces.append(Piece(start, draw(st.integers(start, reached))))
    heartbeat = ControlMessage(event="heartbeat")
    unknown = ControlMessage(event="progress", payload={"percent": 3})
    noise = draw(st.lists(st.sampled_from([START, heartbeat, unknown, end]), max_size=6))
    for message in [end, *noise]:
        pieces.insert(draw(st.integers(0, len(pieces))), message)
    return body, first, end, pieces


@given(deliveries())
def test_every_interleaving_gives_the_body_once_and_the_verdict_last(
    delivery: tuple[bytes, int, ControlMessage, list[Piece | ControlMessage]],
) -> None:
    body, first, end, events = delivery
    merge = Merge(first)
    out = b""
    told = False
    for event in events:
        if isinstance(event, Piece):
            out += merge.data(event.start, body[event.start : event.end])
        else:
            merge.control(event)
            told = told or event is end
        # the oracle: what was handed out is a prefix of the rest, and there is a verdict exactly
        # when the terminal has been seen and nothing is missing
        assert out == body[first : first + len(out)]
        assert merge.position == first + len(out)
        assert (merge.verdict is not None) == (told and merge.position == len(body))
        assert (merge.outcome is not None) == told
    assert out == body[first:]
    if end.event == ControlEvent.DONE:
        assert merge.verdict == Completed()
    else:
        assert isinstance(merge.verdict, Failed)
        assert merge.verdict.code == end.payload["code"]


@given(st.integers(0, 50), st.integers(1, 50), st.binary(max_size=20))
def test_a_gap_is_an_error_and_hands_out_nothing(have: int, gap: int, data: bytes) -> None:
    merge = Merge(have)
    with pytest.raises(MergeError, match="missing"):
        merge.data(have + gap, data)
    assert merge.position == have


def test_an_end_of_data_alone_is_no_verdict() -> None:
    merge = Merge()
    merge.control(START)
    assert merge.data(0, b"all there is") == b"all there is"
    assert merge.verdict is None


def test_two_terminals_that_differ_are_an_error() -> None:
    merge = Merge()
    merge.control(terminal(3))
    merge.control(terminal(3))
    with pytest.raises(MergeError, match="two different ways"):
        merge.control(terminal(3, "aborted"))
    with pytest.raises(MergeError, match="two different ways"):
        merge.control(terminal(4))


def test_data_after_the_end_is_an_error() -> None:
    merge = Merge()
    merge.control(terminal(3))
    with pytest.raises(MergeError, match="ends at 3"):
        merge.data(0, b"four")


def test_an_offset_past_the_end_is_told_apart() -> None:
    with pytest.raises(PastEndError):
        Merge(10).control(terminal(3))


@pytest.mark.parametrize(
    "message",
    [
        ControlMessage(event="done", data_offset="now"),
        ControlMessage(event="done", data_offset="12"),
        ControlMessage(event="error", data_offset=f"{0:020d}", payload={"code": {"no": "text"}}),
        ControlMessage(event="start", payload={"status": "?"}),
    ],
)
def test_malformed_messages_are_errors(message: ControlMessage) -> None:
    with pytest.raises(MergeError, match="malformed"):
        Merge().control(message)


def test_an_error_without_a_code_is_a_failure() -> None:
    merge = Merge()
    merge.control(ControlMessage(event="error"))
    assert isinstance(merge.verdict, Failed)
    assert merge.verdict.code == TerminalCode.UPSTREAM_ERROR
