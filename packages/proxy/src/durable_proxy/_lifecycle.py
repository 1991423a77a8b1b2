"""The life of a generation (DESIGN section 4), as one table. Pure.

A generation is one upstream response being written to the log. Its rules:

1.  It starts in `State.STARTING`, when its two streams exist and the upstream has not answered.
2.  `TRANSITIONS` has every pair of state and event that can happen; any other pair is a defect of
    ours and raises `IllegalTransitionError`.
3.  A terminal state is never left. A stop or a lost owner that comes after the end changes
    nothing; an upstream has nothing more to say after its end.
4.  Every way into a terminal state has one `TERMINAL_CODES` entry, and only `Event.ENDED`, the end
    the upstream had promised, is ``done``. Nothing that ended badly looks like success.
5.  The record of the end and the close of the data stream are one transaction, and the record
    names the data offset at which it holds: see `durable_transport.protocol.ControlMessage`.
6.  After `REPEATABLE` ends nothing has been generated, so the same ids may be used for another
    attempt. After any other end they may not: a paid request is never repeated silently.

    starting ──accepted──► streaming ──ended──► completed
        │                      │
        ├──────────────────────┼── rejected, forbidden, unreachable ─────────────────► failed
        │                      ├── broke ────────────────────────────────────────────► failed
        │                      ├── truncated ────────────────────────────────────────► truncated
        │                      ├── too large ────────────────────────────────────────► too_large
        ├──────────────────────┼── store refused ────────────────────────────────────► failed
        ├──────────────────────┼── silent, too long ─────────────────────────────────► timed_out
        ├──────────────────────┼── stopped ──────────────────────────────────────────► aborted
        └──────────────────────┴── owner gone ───────────────────────────────────────► orphaned
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType

from durable_transport.protocol import (
    ByteCounts,
    ControlEvent,
    ControlMessage,
    Rejected,
    StopPayload,
    TerminalCode,
    TerminalPayload,
    Timing,
)


class State(StrEnum):
    """Where a generation is."""

    STARTING = "starting"
    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    ORPHANED = "orphaned"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"

    @property
    def is_terminal(self) -> bool:
        """The generation is over."""
        return self not in (State.STARTING, State.STREAMING)


class Event(StrEnum):
    """What can happen to a generation."""

    ACCEPTED = "accepted"
    """The upstream answered 2xx: its body follows."""
    REJECTED = "rejected"
    """The upstream answered, and not with 2xx."""
    FORBIDDEN = "forbidden"
    """The upstream's name leads to an address that may not be called."""
    UNREACHABLE = "unreachable"
    """No connection to the upstream, or none that lasted until its headers."""
    ENDED = "ended"
    """The upstream's body ended as promised."""
    BROKE = "broke"
    """The upstream's connection broke in mid-body."""
    TRUNCATED = "truncated"
    """The upstream closed in good order, but before the end of the body it had promised."""
    TOO_LARGE = "too_large"
    """The upstream sent more than is taken."""
    SILENT = "silent"
    """No byte from the upstream within the limit."""
    TOO_LONG = "too_long"
    """The limit for the whole of it is over, and the upstream still sends."""
    STORE_REFUSED = "store_refused"
    """The log could not take a write."""
    STOPPED = "stopped"
    """Somebody called stop."""
    OWNER_GONE = "owner_gone"
    """The node that ran it is gone, or is going."""


_ANY_TIME = {
    Event.SILENT: State.TIMED_OUT,
    Event.TOO_LONG: State.TIMED_OUT,
    Event.STORE_REFUSED: State.FAILED,
    Event.STOPPED: State.ABORTED,
    Event.OWNER_GONE: State.ORPHANED,
}


def _stays(state: State) -> dict[Event, State]:
    return {Event.STOPPED: state, Event.OWNER_GONE: state}


TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.STARTING: {
            Event.ACCEPTED: State.STREAMING,
            Event.REJECTED: State.FAILED,
            Event.FORBIDDEN: State.FAILED,
            Event.UNREACHABLE: State.FAILED,
            **_ANY_TIME,
        },
        State.STREAMING: {
            Event.ENDED: State.COMPLETED,
            Event.BROKE: State.FAILED,
            Event.TRUNCATED: State.TRUNCATED,
            Event.TOO_LARGE: State.TOO_LARGE,
            **_ANY_TIME,
        },
        State.COMPLETED: _stays(State.COMPLETED),
        State.FAILED: _stays(State.FAILED),
        State.ABORTED: _stays(State.ABORTED),
        State.TIMED_OUT: _stays(State.TIMED_OUT),
        State.ORPHANED: _stays(State.ORPHANED),
        State.TRUNCATED: _stays(State.TRUNCATED),
        State.TOO_LARGE: _stays(State.TOO_LARGE),
    }
)

TERMINAL_CODES: Mapping[Event, TerminalCode | None] = MappingProxyType(
    {
        Event.ENDED: None,
        Event.REJECTED: TerminalCode.UPSTREAM_REJECTED,
        Event.FORBIDDEN: TerminalCode.UPSTREAM_NOT_ALLOWED,
        Event.UNREACHABLE: TerminalCode.UPSTREAM_UNREACHABLE,
        Event.BROKE: TerminalCode.UPSTREAM_ERROR,
        Event.TRUNCATED: TerminalCode.UPSTREAM_TRUNCATED,
        Event.TOO_LARGE: TerminalCode.TOO_LARGE,
        Event.SILENT: TerminalCode.UPSTREAM_TIMEOUT,
        Event.TOO_LONG: TerminalCode.UPSTREAM_TIMEOUT,
        Event.STORE_REFUSED: TerminalCode.STORAGE_ERROR,
        Event.STOPPED: TerminalCode.ABORTED,
        Event.OWNER_GONE: TerminalCode.ORPHANED,
    }
)
"""What the terminal record says after an event; None is ``done``."""

TERMINAL_STATES: Mapping[Event, State] = MappingProxyType(
    {
        event: row[event]
        for row in (TRANSITIONS[State.STARTING], TRANSITIONS[State.STREAMING])
        for event in row
        if row[event].is_terminal
    }
)
"""Where an event leads that ends a generation."""

REPEATABLE = frozenset(
    {
        TerminalCode.UPSTREAM_REJECTED,
        TerminalCode.UPSTREAM_NOT_ALLOWED,
        TerminalCode.UPSTREAM_UNREACHABLE,
    }
)
"""Ends before anything was generated."""


class IllegalTransitionError(Exception):
    """The event cannot happen in the state: a defect of ours."""

    def __init__(self, state: State, event: Event) -> None:
        self.state = state
        self.event = event
        super().__init__(state, event)

    def __str__(self) -> str:
        return f"a generation that is {self.state} cannot be told {self.event}"


def advance(state: State, event: Event) -> State:
    """The state after an event.

    Raises:
        IllegalTransitionError: the table does not have the pair.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a generation at its end; times are epoch seconds.

    Attributes:
        first_byte_at: Of the body; None when there was none, or nobody knows.
        received: Bytes of the body that came; None when nobody knows.
    """

    started_at: float
    ended_at: float
    first_byte_at: float | None = None
    received: int | None = None

    def timing(self) -> Timing:
        """As the terminal record has it."""
        first = self.first_byte_at
        return Timing(
            started_at=rfc3339(self.started_at),
            first_byte_at=None if first is None else rfc3339(first),
            ended_at=rfc3339(self.ended_at),
            first_byte_ms=None if first is None else _milliseconds(first - self.started_at),
            duration_ms=_milliseconds(self.ended_at - self.started_at),
        )


def rfc3339(epoch_seconds: float) -> str:
    """A time for people and programs, in UTC and to the millisecond."""
    time = datetime.fromtimestamp(epoch_seconds, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(seconds: float) -> int:
    # Two clocks, a node's and the one that ends it in its place, may disagree.
    return max(0, round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a generation ends: the event, and what its reader should be told.

    Attributes:
        rejected: The upstream's own answer, for `Event.REJECTED` only.
        reason: Why, in the words of whoever stopped it, for `Event.STOPPED` only.
        actor: Who stopped it, likewise.
    """

    event: Event
    message: str | None = None
    rejected: Rejected | None = None
    reason: str | None = None
    actor: str | None = None

    def record(self, position: int, account: Account) -> ControlMessage:
        """The terminal record of a generation whose data ends at byte ``position``."""
        code = TERMINAL_CODES[self.event]
        payload = TerminalPayload(
            code=code,
            state=TERMINAL_STATES[self.event],
            reason=self.reason or self.event,
            actor=self.actor,
            message=self.message,
            bytes=ByteCounts(stored=position, received=account.received),
            timing=account.timing(),
            finish_reason="complete" if code is None else None,
            response=None if self.rejected is None else self.rejected.to_payload(),
        )
        event = ControlEvent.DONE if code is None else ControlEvent.ERROR
        return ControlMessage.terminal(event, position, payload)


def stopped_by(stop: StopPayload) -> Ending:
    """How a generation ends that somebody asked to."""
    who = stop.actor or "somebody"
    why = f": {stop.reason}" if stop.reason else ""
    message = f"{who} stopped the generation{why}"
    return Ending(Event.STOPPED, message, reason=stop.reason, actor=stop.actor)


def state_of(record: ControlMessage) -> State:
    """The state that a terminal record tells, whatever version wrote it."""
    payload = record.terminal_payload()
    if payload.state is not None and payload.state in set(State):
        return State(payload.state)
    events = [event for event, code in TERMINAL_CODES.items() if code == payload.code]
    return TERMINAL_STATES[events[0]] if events else State.FAILED


def may_repeat(record: ControlMessage) -> bool:
    """The generation ended so that another attempt may use its ids (rule 6)."""
    return record.event == ControlEvent.ERROR and record.payload.get("code") in REPEATABLE
