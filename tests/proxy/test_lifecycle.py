"""The lifecycle table: every pair of state and event, and what the end says."""

from __future__ import annotations

from itertools import product

import pytest

from durable_proxy._lifecycle import (
    REPEATABLE,
    TERMINAL_CODES,
    TRANSITIONS,
    Ending,
    Event,
    IllegalTransitionError,
    State,
    advance,
    may_repeat,
)
from durable_transport.protocol import ControlEvent, TerminalCode

# Written out once more and by hand, row by row, so that a slip in the table is seen.
EXPECTED = {
    State.STARTING: "accepted>streaming rejected>failed forbidden>failed unreachable>failed "
    "silent>timed_out store_refused>failed stopped>aborted owner_gone>orphaned",
    State.STREAMING: "ended>completed broke>failed truncated>failed silent>timed_out "
    "store_refused>failed stopped>aborted owner_gone>orphaned",
    State.COMPLETED: "stopped>completed owner_gone>completed",
    State.FAILED: "stopped>failed owner_gone>failed",
    State.ABORTED: "stopped>aborted owner_gone>aborted",
    State.TIMED_OUT: "stopped>timed_out owner_gone>timed_out",
    State.ORPHANED: "stopped>orphaned owner_gone>orphaned",
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_state_and_event(state: State, event: Event) -> None:
    rows = dict(pair.split(">") for pair in EXPECTED[state].split())
    if event.value in rows:
        assert advance(state, event) is State(rows[event.value])
    else:
        with pytest.raises(IllegalTransitionError, match=f"{state}.*{event}"):
            advance(state, event)


def test_a_terminal_state_is_never_left() -> None:
    for state in State:
        if state.is_terminal:
            assert set(TRANSITIONS[state].values()) == {state}


def test_every_way_to_an_end_has_a_code_and_only_the_promised_end_is_done() -> None:
    ways = {
        event
        for state, row in TRANSITIONS.items()
        for event, after in row.items()
        if after.is_terminal and not state.is_terminal
    }
    assert ways == set(TERMINAL_CODES)
    assert [event for event, code in TERMINAL_CODES.items() if code is None] == [Event.ENDED]
    assert advance(State.STREAMING, Event.ENDED) is State.COMPLETED


def test_every_terminal_code_of_the_wire_is_reachable() -> None:
    assert {code for code in TERMINAL_CODES.values() if code} == set(TerminalCode)


def test_what_may_be_repeated_ended_before_anything_was_generated() -> None:
    for event, code in TERMINAL_CODES.items():
        if code in REPEATABLE:
            assert event in TRANSITIONS[State.STARTING]
            assert event not in TRANSITIONS[State.STREAMING]


@pytest.mark.parametrize("event", sorted(TERMINAL_CODES))
def test_the_record_of_an_end(event: Event) -> None:
    record = Ending(event, "why").record(1234)
    assert record.is_terminal
    assert record.data_position == 1234
    if event is Event.ENDED:
        assert record.event == ControlEvent.DONE
        assert record.payload == {"finishReason": "complete"}
    else:
        assert record.event == ControlEvent.ERROR
        assert record.payload == {"code": TERMINAL_CODES[event], "message": "why"}
    assert may_repeat(record) == (event in (Event.REJECTED, Event.FORBIDDEN, Event.UNREACHABLE))
