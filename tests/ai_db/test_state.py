"""Messages of the State Protocol: read, written, and refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_ai_db import state
from durable_ai_db.state import ChangeMessage, Control, ControlMessage, Malformed, Operation

JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)
NAMES = st.text(min_size=1)
HEADERS = st.dictionaries(
    st.text().filter(lambda name: name not in ("operation", "txid", "timestamp")), JSON
)
CHANGES = st.builds(
    ChangeMessage,
    type=NAMES,
    key=NAMES,
    operation=st.sampled_from([Operation.INSERT, Operation.UPDATE, Operation.UPSERT]),
    value=JSON,
    txid=st.none() | NAMES,
    timestamp=st.none() | st.text(),
    old_value=JSON,
    headers=HEADERS,
)


@given(CHANGES)
def test_a_change_that_is_written_is_read_again(change: ChangeMessage) -> None:
    assert state.parse(change.to_json()) == change


@given(st.builds(ControlMessage, st.sampled_from(Control), st.none() | st.text()))
def test_a_control_message_that_is_written_is_read_again(message: ControlMessage) -> None:
    assert state.parse(message.to_json()) == message


@given(JSON)
def test_anything_else_is_kept_with_the_reason(message: Any) -> None:
    read = state.parse(message)
    assert isinstance(read, Malformed)
    assert (read.message, bool(read.reason)) == (message, True)


def test_the_messages_of_the_protocols_own_text() -> None:
    user = {"name": "Alice"}
    insert = {
        "type": "user",
        "key": "user:123",
        "value": user,
        "headers": {"operation": "insert", "timestamp": "2025-01-15T10:30:00Z"},
    }
    assert state.parse(insert) == ChangeMessage(
        "user", "user:123", Operation.INSERT, user, timestamp="2025-01-15T10:30:00Z"
    )
    for value in ({}, {"value": None}, {"value": user}):
        deletion = {"type": "user", "key": "1", **value, "headers": {"operation": "delete"}}
        assert state.parse(deletion) == ChangeMessage("user", "1", Operation.DELETE)
    reset = {"headers": {"control": "reset", "offset": "123456_000"}}
    assert state.parse(reset) == ControlMessage(Control.RESET, "123456_000")


@pytest.mark.parametrize(
    "message",
    [
        *(None, [], "insert", {}, {"headers": []}, {"headers": {}}),
        {"type": "a", "key": "b", "value": 1, "headers": {"operation": "replace"}},
        {"type": "a", "key": "b", "value": 1, "headers": {"operation": ["insert"]}},
        {"type": "a", "key": "b", "headers": {"operation": "insert"}},
        {"type": "", "key": "b", "value": 1, "headers": {"operation": "insert"}},
        {"type": "a", "key": 5, "value": 1, "headers": {"operation": "insert"}},
        {"headers": {"control": "pause"}},
        {"headers": {"control": {}}},
    ],
)
def test_what_is_no_message(message: Any) -> None:
    assert isinstance(state.parse(message), Malformed)


def test_messages_in_short() -> None:
    assert state.insert("a", "b", 1, txid="t").to_json() == {
        "type": "a",
        "key": "b",
        "value": 1,
        "headers": {"operation": "insert", "txid": "t"},
    }
    assert state.update("a", "b", None).to_json()["value"] is None
    assert state.upsert("a", "b", 1).to_json()["headers"] == {"operation": "upsert"}
    assert "value" not in state.delete("a", "b").to_json()


def test_a_txid_that_is_no_text_is_none() -> None:
    message = {"type": "a", "key": "b", "value": 1, "headers": {"operation": "insert", "txid": 5}}
    read = state.parse(message)
    assert isinstance(read, ChangeMessage)
    assert read.txid is None
