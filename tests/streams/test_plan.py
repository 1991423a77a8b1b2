"""The rules of a log, each alone and in their order."""

from __future__ import annotations

from itertools import combinations, count
from typing import Any

import pytest

from durable_streams_server import (
    Append,
    Appended,
    ConfigMismatch,
    ContentTypeMismatch,
    Create,
    Created,
    Delete,
    Deleted,
    Duplicate,
    EpochNotAtZero,
    Exists,
    Expected,
    Gone,
    Heartbeat,
    Noted,
    NotFound,
    NotOwner,
    Operation,
    Outcome,
    Outdated,
    Producer,
    SequenceConflict,
    SequenceGap,
    StaleEpoch,
    StreamClosed,
    StreamInfo,
    Touch,
)
from durable_streams_server._plan import Effects, Planner, State, is_expired, paths_of
from streams.builders import NOW, stream

KNOWN = {(1, "p"): (3, 5)}
"""Producer p has written batch 5 of epoch 3."""


def _planner(*streams: StreamInfo, **state: Any) -> Planner:
    ids = count(100)
    known = {one.path: one for one in streams}
    return Planner(State(known, **state), NOW, lambda: next(ids))


def _one(planner: Planner, operation: Operation) -> Outcome:
    (outcome,) = planner.run((operation,))
    return outcome


# --------------------------------------------------------------------------- order

VIOLATIONS: list[tuple[type[Outcome], dict[str, Any], dict[str, Any]]] = [
    (NotFound, {}, {"path": "nowhere"}),
    (Gone, {"deleted": True, "forks": 1}, {}),
    (Outdated, {}, {"expected": Expected(2)}),
    (StreamClosed, {"closed": True}, {}),
    (NotOwner, {"owner": "a"}, {"owner": "b"}),
    (ContentTypeMismatch, {}, {"content_type": "text/html"}),
    (StaleEpoch, {}, {"producer": Producer("p", 2, 0)}),
    (SequenceConflict, {"seq": "b"}, {"seq": "b"}),
]
"""Each rule's outcome, and what in stream and append breaks it; in the order of the rules."""

SUBSETS = [
    subset
    for size in range(1, len(VIOLATIONS) + 1)
    for subset in combinations(range(len(VIOLATIONS)), size)
]


@pytest.mark.parametrize("broken", SUBSETS, ids=str)
def test_the_first_broken_rule_decides(broken: tuple[int, ...]) -> None:
    fields: dict[str, Any] = {}
    append: dict[str, Any] = {"path": "s", "data": b"x"}
    for index in broken:
        fields |= VIOLATIONS[index][1]
        append |= VIOLATIONS[index][2]
    planner = _planner(stream(**fields), producers=dict(KNOWN))
    outcome = _one(planner, Append(**append))
    assert type(outcome) is VIOLATIONS[broken[0]][0]
    assert planner.effects == Effects(), "a refusal changes nothing"


def test_what_breaks_no_rule_is_appended() -> None:
    planner = _planner(stream(tail=3, seq="a"), producers=dict(KNOWN))
    append = Append("s", b"xy", "TEXT/plain; charset=x", seq="b", producer=Producer("p", 3, 6))
    outcome = _one(planner, append)
    assert isinstance(outcome, Appended)
    assert (outcome.start, outcome.end, outcome.producer) == (3, 5, Producer("p", 3, 6))
    assert outcome.stream == stream(tail=5, seq="b")
    assert planner.effects.chunks == {1: [b"xy"]}
    assert planner.effects.producers == {(1, "p"): (3, 6)}


# --------------------------------------------------------------------------- closed

CLOSER = Producer("p", 3, 5)


@pytest.mark.parametrize(
    ("append", "expected"),
    [
        (Append("s", close=True), Duplicate),
        (Append("s", close=True, content_type="text/html"), Duplicate),
        (Append("s", b"x"), StreamClosed),
        (Append("s", b"x", close=True), StreamClosed),
        (Append("s", b"x", close=True, producer=CLOSER), Duplicate),
        (Append("s", close=True, producer=CLOSER), Duplicate),
        (Append("s", b"x", producer=CLOSER), StreamClosed),
        (Append("s", close=True, producer=CLOSER._replace(id="q")), StreamClosed),
        (Append("s", close=True, producer=CLOSER._replace(epoch=4, seq=0)), StreamClosed),
        (Append("s", close=True, producer=CLOSER._replace(epoch=2)), StreamClosed),
        (Append("s", close=True, producer=CLOSER._replace(seq=6)), StreamClosed),
        (Append("s", b"x", close=True, producer=CLOSER._replace(seq=4)), StreamClosed),
    ],
)
def test_a_closed_stream_knows_who_closed_it(append: Append, expected: type[Outcome]) -> None:
    planner = _planner(stream(closed=True, closed_by=CLOSER), producers=dict(KNOWN))
    assert type(_one(planner, append)) is expected


def test_an_append_that_closes_is_one_step() -> None:
    planner = _planner(stream(tail=2, owner="me"))
    outcome = _one(
        planner, Append("s", b"end", close=True, owner="me", producer=CLOSER._replace(seq=0))
    )
    assert isinstance(outcome, Appended)
    assert outcome.stream == stream(tail=5, closed=True, closed_by=CLOSER._replace(seq=0))
    assert planner.effects.chunks == {1: [b"end"]}


def test_a_close_without_bytes_writes_none() -> None:
    planner = _planner(stream(tail=2))
    assert isinstance(_one(planner, Append("s", close=True)), Appended)
    assert planner.effects.chunks == {}
    assert planner.effects.streams == {1: stream(tail=2, closed=True)}


def test_a_close_without_bytes_may_name_any_content_type() -> None:
    outcome = _one(_planner(stream()), Append("s", close=True, content_type="text/html"))
    assert isinstance(outcome, Appended)


# --------------------------------------------------------------------------- producers


@pytest.mark.parametrize(
    ("epoch", "seq", "expected"),
    [
        (3, 6, None),
        (3, 7, SequenceGap(expected=6, received=7)),
        (3, 5, Duplicate(stream(), Producer("p", 3, 5))),
        (3, 0, Duplicate(stream(), Producer("p", 3, 5))),
        (2, 6, StaleEpoch(current_epoch=3)),
        (0, 0, StaleEpoch(current_epoch=3)),
        (4, 0, None),
        (9, 0, None),
        (4, 1, EpochNotAtZero()),
        (4, 6, EpochNotAtZero()),
    ],
)
def test_a_known_producer(epoch: int, seq: int, expected: Outcome | None) -> None:
    planner = _planner(stream(), producers=dict(KNOWN))
    outcome = _one(planner, Append("s", b"x", producer=Producer("p", epoch, seq)))
    if expected is None:
        assert isinstance(outcome, Appended)
        assert planner.state.producers[1, "p"] == (epoch, seq)
    else:
        assert outcome == expected
        assert planner.state.producers == KNOWN


@pytest.mark.parametrize("epoch", [0, 7])
def test_a_new_producer_begins_at_any_epoch_with_batch_zero(epoch: int) -> None:
    planner = _planner(stream(), producers=dict(KNOWN))
    late = _one(planner, Append("s", b"x", producer=Producer("q", epoch, 1)))
    assert late == SequenceGap(expected=0, received=1)
    assert isinstance(_one(planner, Append("s", b"x", producer=Producer("q", epoch, 0))), Appended)


def test_producers_are_told_apart_by_stream() -> None:
    planner = _planner(stream(id=2, path="other"), stream(), producers=dict(KNOWN))
    outcome = _one(planner, Append("other", b"x", producer=Producer("p", 0, 0)))
    assert isinstance(outcome, Appended)


def test_one_batch_of_a_producer_sees_the_one_before_it() -> None:
    planner = _planner(stream())
    outcomes = [
        _one(planner, Append("s", b"%d" % seq, producer=Producer("p", 0, seq)))
        for seq in (0, 1, 1, 3, 2)
    ]
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Appended, Appended, Duplicate, SequenceGap, Appended]
    assert planner.effects.chunks == {1: [b"0", b"1", b"2"]}


# --------------------------------------------------------------------------- Stream-Seq


@pytest.mark.parametrize(
    ("last", "seq", "accepted"),
    [
        (None, "0", True),
        ("9", "10", False),
        ("09", "10", True),
        ("a", "a", False),
        ("a", "aa", True),
        ("a", "B", False),
        ("z", "\xe9", True),
    ],
)
def test_stream_seq_is_compared_byte_by_byte(last: str | None, seq: str, *, accepted: bool) -> None:
    outcome = _one(_planner(stream(seq=last)), Append("s", b"x", seq=seq))
    assert isinstance(outcome, Appended if accepted else SequenceConflict)


def test_an_append_without_seq_keeps_the_last_one() -> None:
    planner = _planner(stream(seq="m"))
    _one(planner, Append("s", b"x"))
    assert planner.state.streams["s"].seq == "m"


# --------------------------------------------------------------------------- owners


@pytest.mark.parametrize(
    ("append", "lease", "expected"),
    [
        (Append("s", b"x", owner="a"), NOW + 1, Appended),
        (Append("s", b"x"), NOW + 1, NotOwner),
        (Append("s", close=True), NOW - 1, NotOwner),
        (Append("s", b"x", owner="b"), NOW - 1, NotOwner),
        (Append("s", b"x", owner="a", reaping=True), NOW + 1, NotOwner),
        (Append("s", b"x", owner="a", reaping=True), NOW, Appended),
        (Append("s", b"x", owner="a", reaping=True), None, Appended),
        (Append("s", b"x", owner="b", reaping=True), None, NotOwner),
    ],
)
def test_an_owned_stream(append: Append, lease: float | None, expected: type[Outcome]) -> None:
    leases = {} if lease is None else {"a": lease}
    assert type(_one(_planner(stream(owner="a"), leases=leases), append)) is expected


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (Expected(1), Appended),
        (Expected(1, 3), Appended),
        (Expected(1, 2), Outdated),
        (Expected(2), Outdated),
        (Expected(2, 3), Outdated),
    ],
)
@pytest.mark.parametrize("close", [False, True])
def test_an_append_may_be_for_the_stream_that_its_caller_knows_alone(
    known: Expected, outcome: type[Outcome], *, close: bool
) -> None:
    planner = _planner(stream(id=1, tail=3))
    assert type(_one(planner, Append("s", b"x", close=close, expected=known))) is outcome
    closed = _planner(stream(id=1, tail=3, closed=True))
    again = _one(closed, Append("s", close=True, expected=known))
    assert type(again) is (Duplicate if outcome is Appended else Outdated)


def test_an_owner_is_fenced_by_whoever_ended_its_stream() -> None:
    planner = _planner(stream(owner="a"))
    _one(planner, Append("s", b"end", close=True, owner="a", reaping=True))
    assert isinstance(_one(planner, Append("s", b"late", owner="a")), StreamClosed)


def test_a_heartbeat_keeps_the_reaper_off() -> None:
    planner = _planner(stream(owner="a"))
    assert _one(planner, Heartbeat("a", NOW + 5)) == Noted()
    reap = Append("s", close=True, owner="a", reaping=True)
    assert isinstance(_one(planner, reap), NotOwner)
    assert planner.effects.leases == {"a": NOW + 5}


def test_an_unowned_stream_takes_appends_of_anybody() -> None:
    assert isinstance(_one(_planner(stream()), Append("s", b"x", owner="a")), Appended)


# --------------------------------------------------------------------------- create, delete, touch


def test_create_makes_what_was_asked_for() -> None:
    planner = _planner()
    create = Create("n", "text/x", b"abc", ttl_seconds=7, owner="a")
    expected = stream(id=100, path="n", content_type="text/x", tail=3, ttl_seconds=7, owner="a")
    assert _one(planner, create) == Created(expected)
    assert planner.effects.created == {100}
    assert planner.effects.chunks == {100: [b"abc"]}


def test_a_stream_created_closed_has_no_owner() -> None:
    outcome = _one(_planner(), Create("n", closed=True, owner="a"))
    assert isinstance(outcome, Created)
    assert outcome.stream.owner is None
    assert outcome.stream.closed


@pytest.mark.parametrize(
    ("create", "same"),
    [
        (Create("s", "text/plain", ttl_seconds=9), True),
        (Create("s", "TEXT/PLAIN;charset=utf-8", ttl_seconds=9), True),
        (Create("s", "text/plain", b"other bytes", ttl_seconds=9), True),
        (Create("s", "text/html", ttl_seconds=9), False),
        (Create("s", "text/plain", ttl_seconds=8), False),
        (Create("s", "text/plain"), False),
        (Create("s", "text/plain", expires_at=NOW + 9), False),
        (Create("s", "text/plain", ttl_seconds=9, closed=True), False),
    ],
)
def test_create_again_compares_the_configuration(create: Create, *, same: bool) -> None:
    existing = stream(tail=4, ttl_seconds=9)
    planner = _planner(existing)
    assert _one(planner, create) == (Exists(existing) if same else ConfigMismatch(existing))
    assert planner.effects == Effects()


def test_delete_takes_the_producers_along() -> None:
    planner = _planner(stream(), producers=dict(KNOWN))
    assert _one(planner, Delete("s")) == Deleted()
    assert planner.effects.deleted == {1: stream()}
    assert planner.state.producers == {}
    assert _one(planner, Delete("s")) == NotFound("s")


@pytest.mark.parametrize(("id_", "expected"), [(1, Deleted()), (2, NotFound("s"))])
def test_delete_of_one_incarnation(id_: int, expected: Outcome) -> None:
    assert _one(_planner(stream()), Delete("s", id_)) == expected


def test_create_and_delete_in_one_batch_leave_nothing_to_insert() -> None:
    planner = _planner()
    producer = Producer("p", 0, 0)
    for operation in (Create("n", data=b"a"), Append("n", b"b", producer=producer), Delete("n")):
        assert _one(planner, operation).ok
    effects = planner.effects
    assert effects == Effects(deleted={100: effects.deleted[100]})


def test_a_touch_moves_the_sliding_window_only() -> None:
    sliding = stream(ttl_seconds=10, touched_at=NOW - 9)
    planner = _planner(sliding, stream(id=2, path="fixed", expires_at=NOW + 1))
    assert _one(planner, Touch("s")) == Noted()
    assert _one(planner, Touch("fixed")) == Noted()
    assert planner.effects.streams == {1: sliding._replace(touched_at=NOW)}
    assert _one(planner, Touch("nowhere")) == NotFound("nowhere")


def test_an_append_moves_the_sliding_window_only() -> None:
    planner = _planner(
        stream(ttl_seconds=10, touched_at=NOW - 9),
        stream(id=2, path="fixed", expires_at=NOW + 1, touched_at=NOW - 9),
    )
    for path in ("s", "fixed"):
        assert _one(planner, Append(path, b"x")).ok
    assert planner.state.streams["s"].touched_at == NOW
    assert planner.state.streams["fixed"].touched_at == NOW - 9


# --------------------------------------------------------------------------- expiry


@pytest.mark.parametrize(
    ("fields", "expired"),
    [
        ({}, False),
        ({"expires_at": NOW}, True),
        ({"expires_at": NOW + 0.001}, False),
        ({"ttl_seconds": 10, "touched_at": NOW - 10}, True),
        ({"ttl_seconds": 10, "touched_at": NOW - 9.9}, False),
        ({"ttl_seconds": 0, "touched_at": NOW}, True),
    ],
)
def test_expiry(fields: dict[str, Any], *, expired: bool) -> None:
    assert is_expired(stream(**fields), NOW) is expired


@pytest.mark.parametrize(
    "operation", [Append("s", b"x"), Append("s", close=True), Touch("s"), Delete("s")]
)
def test_an_expired_stream_is_not_there_and_is_removed_on_sight(operation: Operation) -> None:
    planner = _planner(stream(expires_at=NOW))
    assert _one(planner, operation) == NotFound("s")
    assert set(planner.effects.deleted) == {1}


def test_an_expired_stream_gives_its_path_up() -> None:
    planner = _planner(stream(expires_at=NOW - 1, closed=True), producers=dict(KNOWN))
    outcome = _one(planner, Create("s", "text/html"))
    assert isinstance(outcome, Created)
    assert outcome.stream.id == 100
    assert set(planner.effects.deleted) == {1}
    assert planner.state.producers == {}


# --------------------------------------------------------------------------- groups


def test_a_group_with_a_refusal_does_not_happen() -> None:
    planner = _planner(stream(), stream(id=2, path="t", closed=True), producers=dict(KNOWN))
    before = _one(planner, Append("s", b"before", producer=Producer("p", 3, 6)))
    outcomes = planner.run(
        (
            Append("s", b"lost", producer=Producer("p", 3, 7)),
            Create("n", data=b"lost"),
            Heartbeat("a", NOW + 1),
            Delete("s"),
            Append("t", b"refused"),
        )
    )
    assert before.ok
    assert [outcome.ok for outcome in outcomes] == [True, True, True, True, False]
    assert set(planner.state.streams) == {"s", "t"}
    assert planner.state.streams["s"].tail == len(b"before")
    assert planner.state.producers == {(1, "p"): (3, 6)}
    assert planner.state.leases == {}
    assert planner.effects.chunks == {1: [b"before"]}
    assert (planner.effects.created, planner.effects.deleted) == (set(), {})
    assert planner.effects.leases == {}


def test_what_comes_after_a_refused_group_still_counts() -> None:
    planner = _planner(stream())
    planner.run((Append("s", b"lost"), Delete("nowhere")))
    assert _one(planner, Append("s", b"kept")).ok
    assert planner.effects.chunks == {1: [b"kept"]}
    assert planner.effects.streams[1].tail == len(b"kept")


def test_a_group_sees_its_own_operations() -> None:
    planner = _planner(stream())
    outcomes = planner.run((Delete("s", 1), Create("s", "text/html"), Append("s", b"x")))
    assert [type(outcome) for outcome in outcomes] == [Deleted, Created, Appended]
    assert planner.effects.created == {100}
    assert set(planner.effects.deleted) == {1}
    assert planner.effects.chunks == {100: [b"x"]}


def test_paths_of_a_batch() -> None:
    groups = [(Create("a"), Delete("b")), (Heartbeat("node", 1.0),), (Touch("a"),)]
    assert paths_of(groups) == {"a", "b"}


@pytest.mark.parametrize(("ttl", "expires_at"), [(5, NOW + 50), (50, NOW + 5)])
def test_of_two_ends_of_life_the_sooner_counts(ttl: int, expires_at: float) -> None:
    info = stream(ttl_seconds=ttl, expires_at=expires_at, touched_at=NOW)
    assert not is_expired(info, NOW + 4)
    assert is_expired(info, NOW + 5)
