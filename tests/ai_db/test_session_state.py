"""A session's log makes its collections, whatever is in it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_db.logs import RESET, answer, conversation, logged, present, reset
from ai_db.sessions import chunk_row, user_message
from durable_ai_db import state as protocol
from durable_ai_db._session_state import KEPT_TXIDS, MATERIALIZED, RowPatch, SessionState
from durable_ai_db.materialize import ChunkRow, Materializer
from durable_ai_db.materialize._rows import Collection


def taken(*messages: Any) -> SessionState:
    state = SessionState("s")
    state.take(messages)
    return state


def shown(state: SessionState) -> dict[str, Any]:
    """All collections as plain data."""
    all_of = state.collections
    names = [name for name in vars(all_of) if name != "session_meta"]
    return {name: dict(getattr(all_of, name).items()) for name in names}


def test_a_log_becomes_collections() -> None:
    agent = {"agentId": "bot", "endpoint": "http://a.test", "triggers": "all"}
    state = taken(
        *conversation(2),
        present("ada"),
        protocol.insert("agent", "bot", agent).to_json(),
    )
    rows = state.collections
    assert [message.text for message in rows.messages.values()] == [
        *("question 0", "word word word ", "question 1", "word word word "),
    ]
    assert rows.session_stats["s"].message_count == 4
    assert rows.presence["ada"].status == "online"
    assert rows.agents["bot"].to_json() == agent
    assert len(rows.chunks) == 10
    assert rows.session_meta["s"].to_json()["connectionStatus"] == "disconnected"
    assert list(rows.active_generations) == []


def test_a_piece_of_the_log_is_seen_at_once() -> None:
    state = SessionState("s")
    rows = state.collections
    seen: list[tuple[int, int, int, int]] = []

    def look(_: object) -> None:
        stats = rows.session_stats["s"]
        counts = (len(rows.chunks), len(rows.messages), stats.message_count, len(rows.presence))
        seen.append(counts)

    for one in (rows.chunks, rows.messages, rows.session_stats, rows.presence):
        one.subscribe(look)
    state.take([*conversation(1), present("ada")])
    assert seen == [(5, 2, 2, 1)] * 4


def test_messages_are_in_order_of_time_however_they_come() -> None:
    late = user_message("a", "late", at="2026-01-01T10:00:00.5Z")
    early = user_message("b", "early", at="2026-01-01T11:00:00+02:00")
    state = taken(*logged(late), *logged(early))
    assert list(state.collections.messages) == ["b", "a"]


def test_unknown_types_are_kept_aside() -> None:
    reaction = {"emoji": "x"}
    state = taken(
        protocol.insert("reaction", "1", reaction).to_json(),
        protocol.update("reaction", "2", 5).to_json(),
        protocol.upsert("other", "1", None).to_json(),
        protocol.delete("reaction", "2").to_json(),
    )
    assert dict(state.collections.others.items()) == {
        ("reaction", "1"): reaction,
        ("other", "1"): None,
    }


@pytest.mark.parametrize(
    "message",
    [
        *(None, 5, [], {}, {"headers": {"operation": "insert"}}),
        protocol.insert("chunk", "a:0", "text").to_json(),
        protocol.insert("chunk", "a:0", {"messageId": "a", "seq": "0"}).to_json(),
        protocol.insert("presence", "ada", {"status": "dancing"}).to_json(),
        protocol.insert("presence", "ada", ["online"]).to_json(),
        protocol.insert("presence", "ada", {"status": "online", "name": 5}).to_json(),
        protocol.insert("agent", "bot", {"endpoint": 5}).to_json(),
        protocol.insert("agent", "bot", None).to_json(),
    ],
)
def test_what_cannot_be_used_is_kept_with_the_reason_and_stops_nothing(message: Any) -> None:
    state = taken(message, *conversation(1))
    assert len(state.collections.messages) == 2
    (rejected,) = state.rejected
    assert rejected.message == message
    assert rejected.reason


def test_rows_that_are_inserted_again_change_nothing() -> None:
    state = taken(*conversation(2))
    before, changes = shown(state), list[object]()
    state.collections.messages.subscribe(changes.extend)
    state.take(conversation(2))
    assert (shown(state), changes) == (before, [])


def test_chunks_may_be_replaced_and_deleted() -> None:
    rows = answer("a", ["one ", "two ", "three "])
    state = taken(*logged(*rows))
    state.take([protocol.delete("chunk", "a:1").to_json()])
    assert state.collections.messages["a"].text == "one three "
    other = chunk_row("a", 0, {"type": "content", "delta": "zero "})
    state.take([protocol.update("chunk", "a:0", other.to_json()).to_json()])
    assert state.collections.messages["a"].text == "zero three "
    state.take([protocol.delete("chunk", row.key).to_json() for row in rows])
    assert list(state.collections.messages) == []


def test_presence_and_agents_come_and_go() -> None:
    state = taken(present("ada"), protocol.insert("agent", "bot", {}).to_json())
    state.take([present("ada", "away")])
    assert state.collections.presence["ada"].status == "away"
    state.take([protocol.delete(*one).to_json() for one in (("presence", "ada"), ("agent", "bot"))])
    assert (len(state.collections.presence), len(state.collections.agents)) == (0, 0)


def test_a_reset_makes_everything_before_it_void_in_one_batch() -> None:
    state = taken(*conversation(2), present("ada"))
    batches: list[int] = []
    state.collections.messages.subscribe(lambda changes: batches.append(len(changes)))
    piece = [present("bob"), *conversation(3)[-4:], RESET, *conversation(1)]
    state.take(piece)
    assert shown(state) == shown(taken(*conversation(1)))
    assert batches == [2]


def test_a_reset_with_an_offset_leads_there_once() -> None:
    state = SessionState("s")
    piece = [*conversation(1), reset("0005"), *conversation(2)]
    offsets = [f"{index:04}" for index in range(1, len(piece) + 1)]
    first = state.take(piece, offsets)
    assert (first.restart, first.cleared, list(state.collections.messages)) == ("0005", True, [])
    again = state.take(piece, offsets)
    assert (again.restart, again.cleared) == (None, False)
    assert len(state.collections.messages) == 4


def test_a_reset_that_leads_to_itself_restarts_nothing() -> None:
    taken_in = SessionState("s").take([reset("7")], ["7"])
    assert (taken_in.restart, taken_in.cleared) == (None, True)


def test_txids_are_told_and_remembered_for_a_while() -> None:
    state = SessionState("s")
    row = user_message("u", "hello")
    assert state.take(logged(row, txid="t1")).txids == ["t1"]
    # Also one of a message that is of no use otherwise: the write is in the log.
    assert state.take([protocol.insert("chunk", "x", None, txid="t2").to_json()]).txids == ["t2"]
    assert (state.has_seen("t1"), state.has_seen("t2"), state.has_seen("t3")) == (
        *(True, True),
        False,
    )
    for number in range(KEPT_TXIDS):
        state.take(logged(row, txid=f"n{number}"))
    assert (state.has_seen("t1"), state.has_seen("n0")) == (False, True)


def test_patches_are_shown_over_what_the_log_says() -> None:
    state = taken(*conversation(1))
    state.patches["message"].set(1, RowPatch("u0", lambda _: None))
    assert list(state.collections.messages) == ["a0"]
    state.patches["message"].delete(1)
    assert list(state.collections.messages) == ["u0", "a0"]


ROWS = st.one_of(
    st.sampled_from(conversation(2)),
    st.sampled_from([present("ada"), present("ada", "away"), RESET]),
    st.sampled_from(
        [
            *(protocol.delete("chunk", key).to_json() for key in ("u0:0", "a0:1", "a1:3")),
            protocol.delete("presence", "ada").to_json(),
            *logged(chunk_row("a0", 1, {"type": "content", "delta": "other"})),
        ]
    ),
)


@given(st.lists(st.lists(ROWS, max_size=5), max_size=8))
def test_in_whatever_pieces_a_log_comes_the_collections_are_those_of_its_rows(
    pieces: list[list[Any]],
) -> None:
    state = SessionState("s")
    for piece in pieces:
        state.take(piece)
    assert shown(state) == shown(taken(*(message for piece in pieces for message in piece)))
    made = Materializer(session_id="s")
    made.apply(state.collections.chunks.values())
    assert dict(made.messages) == dict(state.collections.messages.items())
    assert made.stats == state.collections.session_stats["s"]
    assert [row.id for row in made.timeline()] == list(state.collections.messages)


@given(st.lists(st.lists(ROWS, max_size=5), max_size=8))
def test_the_rows_that_are_reported_make_the_same_state(pieces: list[list[Any]]) -> None:
    """What a cache keeps of a log is as good as the log."""
    state = SessionState("s")
    kept: dict[tuple[str, str], Any] = {}
    for piece in pieces:
        took = state.take(piece)
        if took.cleared:
            kept.clear()
        for key, value in took.rows.items():
            kept.pop(key, None)
            if value is not None:
                kept[key] = value
    again = taken(*(protocol.upsert(*key, value).to_json() for key, value in kept.items()))
    assert shown(again) == shown(state)


def test_every_materialized_collection_is_there() -> None:
    assert set(MATERIALIZED) == set(get_args(Collection))
    assert isinstance(next(iter(taken(*conversation(1)).collections.chunks.values())), ChunkRow)
