"""From control messages to the answer of a start request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._answers import Accepted, answer_from
from durable_proxy._errors import Refusal
from durable_proxy._lifecycle import Account, Ending, Event
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    ErrorCode,
    Rejected,
    StartPayload,
    TerminalCode,
    TerminalPayload,
)

START = StartPayload(status=201, content_type="text/plain", headers=[("x-a", "1")])
ACCOUNT = Account(started_at=1.0, ended_at=2.0)


def test_nothing_yet() -> None:
    assert answer_from([], 7) is None
    assert answer_from([ControlMessage(event="heartbeat"), ControlMessage(event="new")], 7) is None


def test_a_start_is_the_answer_whatever_comes_later() -> None:
    lost = Ending(Event.OWNER_GONE, "gone").record(3, ACCOUNT)
    assert answer_from([ControlMessage.start(START), lost], 7) == Accepted(START, 7)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Event.FORBIDDEN, ErrorCode.UPSTREAM_NOT_ALLOWED),
        (Event.UNREACHABLE, ErrorCode.UPSTREAM_UNREACHABLE),
        (Event.SILENT, ErrorCode.UPSTREAM_TIMEOUT),
        (Event.STORE_REFUSED, ErrorCode.STORAGE_UNAVAILABLE),
        (Event.OWNER_GONE, ErrorCode.GENERATION_LOST),
        (Event.STOPPED, ErrorCode.GENERATION_ABORTED),
    ],
)
def test_an_end_before_the_start_is_a_refusal(event: Event, code: ErrorCode) -> None:
    assert answer_from([Ending(event, "why").record(0, ACCOUNT)], 7) == Refusal(code, "why")


@given(
    st.integers(300, 599),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5))).map(tuple),
    st.binary(),
)
def test_a_rejection_survives_the_log(
    status: int, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    rejected = Rejected(status, headers, body)
    record = Ending(Event.REJECTED, "no", rejected).record(0, ACCOUNT)
    again = ControlMessage.model_validate_json(record.to_json())
    assert answer_from([again], 7) == rejected


@pytest.mark.parametrize(
    "response",
    [
        None,
        {},
        {"status": 429, "headers": [], "body": "not base64"},
        {"status": 429, "headers": [1], "body": ""},
        {"status": 429, "headers": [["a"]], "body": ""},
        {"status": "429", "headers": [], "body": ""},
    ],
)
def test_a_rejection_that_cannot_be_read_is_a_refusal(response: dict[str, Any] | None) -> None:
    payload = TerminalPayload(code=TerminalCode.UPSTREAM_REJECTED, message="why", response=response)
    record = ControlMessage.terminal(ControlEvent.ERROR, 0, payload)
    assert answer_from([record], 7) == Refusal(ErrorCode.GENERATION_LOST, "why")
