"""The lifecycle table: every pair of state and event, and what the end says."""

from __future__ import annotations

from itertools import product

import pytest

from durable_proxy._lifecycle import (
    REPEATABLE,
    TERMINAL_CODES,
    TERMINAL_STATES,
    TRANSITIONS,
    Account,
    Ending,
    Event,
    IllegalTransitionError,
    State,
    advance,
    may_repeat,
    state_of,
    stopped_by,
)
from durable_transport.protocol import ControlEvent, StopPayload, TerminalCode

# Written out once more and by hand, row by row, so that a slip in the table is seen.
EXPECTED = {
    State.STARTING: "accepted>streaming rejected>failed forbidden>failed unreachable>failed "
    "silent>timed_out too_long>timed_out store_refused>failed stopped>aborted owner_gone>orphaned",
    State.STREAMING: "ended>completed broke>failed truncated>truncated too_large>too_large "
    "silent>timed_out too_long>timed_out store_refused>failed stopped>aborted owner_gone>orphaned",
    State.COMPLETED: "stopped>completed owner_gone>completed",
    State.FAILED: "stopped>failed owner_gone>failed",
    State.ABORTED: "stopped>aborted owner_gone>aborted",
    State.TIMED_OUT: "stopped>timed_out owner_gone>timed_out",
    State.ORPHANED: "stopped>orphaned owner_gone>orphaned",
    State.TRUNCATED: "stopped>truncated owner_gone>truncated",
    State.TOO_LARGE: "stopped>too_large owner_gone>too_large",
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
    account = Account(1000.0, 1012.5, first_byte_at=1000.25, received=2000)
    record = Ending(event, "why", reason="because", actor="me").record(1234, account)
    assert record.is_terminal
    assert record.data_position == 1234
    told = {
        "state": TERMINAL_STATES[event],
        "message": "why",
        "reason": "because",
        "actor": "me",
        "bytes": {"stored": 1234, "received": 2000},
        "timing": {
            "startedAt": "1970-01-01T00:16:40.000Z",
            "firstByteAt": "1970-01-01T00:16:40.250Z",
            "endedAt": "1970-01-01T00:16:52.500Z",
            "firstByteMs": 250,
            "durationMs": 12500,
        },
    }
    if event is Event.ENDED:
        assert record.event == ControlEvent.DONE
        assert record.payload == told | {"finishReason": "complete"}
    else:
        assert record.event == ControlEvent.ERROR
        assert record.payload == told | {"code": TERMINAL_CODES[event]}
    assert may_repeat(record) == (event in (Event.REJECTED, Event.FORBIDDEN, Event.UNREACHABLE))


def test_a_record_that_says_little() -> None:
    account = Account(started_at=20.0, ended_at=19.0)
    record = Ending(Event.OWNER_GONE).record(0, account)
    assert record.payload == {
        "code": "orphaned",
        "state": "orphaned",
        "reason": "owner_gone",
        "bytes": {"stored": 0},
        # The clock of whoever ended it was behind.
        "timing": {
            "startedAt": "1970-01-01T00:00:20.000Z",
            "endedAt": "1970-01-01T00:00:19.000Z",
            "durationMs": 0,
        },
    }


@pytest.mark.parametrize("event", sorted(TERMINAL_CODES))
def test_the_state_of_a_record_of_whatever_version(event: Event) -> None:
    account = Account(1.0, 2.0)
    record = Ending(event).record(0, account)
    assert state_of(record) is TERMINAL_STATES[event]
    record.payload.pop("state")
    assert state_of(record) is TERMINAL_STATES[event]
    unknown = record.model_copy(update={"payload": {"code": "of_the_future"}})
    assert state_of(unknown) is State.FAILED


@pytest.mark.parametrize(
    ("actor", "reason", "message"),
    [
        ("alice", "enough", "alice stopped the generation: enough"),
        ("alice", None, "alice stopped the generation"),
        (None, "enough", "somebody stopped the generation: enough"),
        (None, None, "somebody stopped the generation"),
    ],
)
def test_a_stop_says_who_and_why(actor: str | None, reason: str | None, message: str) -> None:
    ending = stopped_by(StopPayload(actor=actor, reason=reason))
    payload = ending.record(0, Account(1.0, 2.0)).terminal_payload()
    assert payload.message == message
    assert (payload.actor, payload.reason) == (actor, reason or "stopped")
