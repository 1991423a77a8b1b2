"""What clients ask of subscriptions, decided in the store: leases, fencing, positions."""

from __future__ import annotations

from typing import Any

import pytest

from durable_streams_server import Create, Delete, Fork
from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._subscription import (
    Ack,
    AlreadyClaimed,
    Claimed,
    Delivery,
    Done,
    Fenced,
    InvalidAck,
    NoPendingWork,
    NoSubscription,
    OtherConfig,
    Reported,
    Stored,
    TokenInvalid,
    WrongDelivery,
)
from durable_streams_server._tokens import Grant
from durable_streams_server._wake import Phase, Wake
from streams.builders import NOW
from streams.desk import LEASE, WEBHOOK, Desk
from streams.test_store import one

# --------------------------------------------------------------------------- membership


def test_the_same_configuration_confirms_and_another_is_refused(desk: Desk) -> None:
    assert desk.create().created
    again = desk.create()
    assert isinstance(again, Stored)
    assert not again.created
    for other in (
        {"pattern": "f/*"},
        {"streams": ("x",)},
        {"lease_ttl_ms": 1000},
        {"description": "d"},
        {"wake_stream": "other"},
        WEBHOOK,
    ):
        assert desk.create(**other) == OtherConfig(), other


def test_what_was_there_before_is_not_replayed_and_what_comes_later_is_whole(desk: Desk) -> None:
    desk.write("e/old", b"12345")
    desk.write("other/old", b"12345")
    desk.create()
    assert desk.positions() == {"e/old": 5}
    assert isinstance(desk.claim(), NoPendingWork)
    desk.write("e/new", b"123")
    desk.write("other/new", b"123")
    desk.write("e/old", b"6")
    assert desk.positions() == {"e/new": 0, "e/old": 5}
    claimed = desk.claim()
    assert [(link.path, link.acked, link.tail) for link in claimed.links] == [
        ("e/new", 0, 3),
        ("e/old", 5, 6),
    ]


def test_a_stream_that_nobody_told_of_is_found_by_a_survey(desk: Desk) -> None:
    desk.create()
    one(desk.store, Create("e/lost", data=b"abc"), NOW)
    assert desk.visit() is None
    parcel = desk.visit(everything=True)
    assert [link.path for link in parcel.links] == ["e/lost"]


def test_a_claim_counts_what_was_written_a_moment_ago(desk: Desk) -> None:
    desk.create()
    one(desk.store, Create("e/a", data=b"abc"), NOW)
    assert isinstance(desk.claim(), NoPendingWork)
    assert isinstance(desk.claim(fresh=("e/a", "other")), Claimed)
    assert set(desk.links()) == {"e/a"}


def test_named_streams_come_and_go_beside_the_pattern(desk: Desk) -> None:
    desk.write("e/a", b"12")
    desk.write("x/a", b"12")
    desk.create(streams=("x/none",))
    assert isinstance(desk.do(work.link, "s", ["x/a", "e/a", "x/a"]), Done)
    assert {path: link.explicit for path, link in desk.links().items()} == {
        "e/a": True,
        "x/a": True,
        "x/none": True,
    }
    assert desk.positions() == {"e/a": 2, "x/a": 2, "x/none": 0}
    for path in ("e/a", "x/a", "x/none", "x/none", "never"):
        assert isinstance(desk.do(work.unlink, "s", path), Done)
    assert {path: link.explicit for path, link in desk.links().items()} == {"e/a": False}
    assert desk.positions() == {"e/a": 2}, "the pattern's link stays where it was"


def test_naming_a_stream_again_moves_nothing(desk: Desk) -> None:
    desk.create(pattern=None, streams=("x",))
    desk.write("x", b"12345")
    desk.do(work.link, "s", ["x"])
    assert desk.positions() == {"x": 0}


def test_a_position_belongs_to_one_incarnation_of_a_stream(desk: Desk) -> None:
    desk.write("e/a", b"12345")
    desk.create(streams=("x",))
    one(desk.store, Delete("e/a"), NOW)
    assert set(desk.links()) == {"x"}
    desk.write("e/a", b"67")
    assert desk.positions() == {"e/a": 0, "x": 0}
    assert desk.links()["e/a"].pending


def test_a_deleted_stream_that_forks_need_is_no_work(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"12345")
    one(desk.store, Create("fork", fork=Fork("e/a")), NOW)
    one(desk.store, Delete("e/a"), NOW)
    assert isinstance(desk.claim(), NoPendingWork)


def test_dead_links_are_forgotten_by_a_survey(desk: Desk) -> None:
    desk.create(streams=("x",))
    desk.write("e/a")
    one(desk.store, Delete("e/a"), NOW)
    desk.visit(everything=True)
    assert desk.do(rows.subscribers, ["e/a", "x"]) == {"s"}
    assert desk.do(rows.subscribers, ["e/a"]) == set()


def test_the_wake_stream_is_never_work(desk: Desk) -> None:
    desk.write("wake")
    desk.create(pattern="**")
    desk.write("wake")
    desk.visit(everything=True)
    assert "wake" not in desk.links()


def test_a_deleted_subscription_takes_nothing_and_leaves_nothing(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"123")
    claimed = desk.claim().subscription
    assert isinstance(desk.do(work.remove, "s"), Done)
    ack = Ack("e/a", 3)
    assert desk.report(claimed, ack) == NoSubscription()
    for answer in (desk.claim(), desk.do(work.show, "s"), desk.do(work.link, "s", ["x"])):
        assert answer == NoSubscription()
    desk.create()
    assert desk.report(claimed, ack) == TokenInvalid(), "an old token for a new subscription"
    assert desk.stored().wake == Wake()


# --------------------------------------------------------------------------- claims


def test_one_worker_at_a_time(desk: Desk) -> None:
    desk.create()
    assert isinstance(desk.claim(), NoPendingWork)
    desk.write("e/a", b"123")
    first = desk.claim("one")
    assert isinstance(first, Claimed)
    assert desk.claim("two") == AlreadyClaimed("one", 1)
    assert desk.report(first.subscription, Ack("e/a", 3), done=True) == Reported(next_wake=False)
    assert isinstance(desk.claim("two"), NoPendingWork)
    assert desk.positions() == {"e/a": 3}


def test_a_heartbeat_extends_the_lease_and_silence_ends_it(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"123")
    first = desk.claim("one").subscription
    desk.now += LEASE - 1
    assert desk.report(first) == Reported(next_wake=False)
    desk.now += LEASE - 1
    assert isinstance(desk.claim("two"), AlreadyClaimed)
    desk.now += 1
    second = desk.claim("two").subscription
    assert second.wake.generation == first.wake.generation + 1
    assert desk.report(first, Ack("e/a", 3), done=True) == Fenced()
    assert desk.positions() == {"e/a": 0}
    assert desk.report(second, Ack("e/a", 3), done=True) == Reported(next_wake=False)


def test_a_worker_whose_lease_ran_out_is_fenced_even_when_nobody_came_after(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"123")
    claimed = desk.claim().subscription
    desk.now += LEASE
    assert desk.report(claimed, Ack("e/a", 3)) == Fenced()
    assert desk.positions() == {"e/a": 0}


@pytest.mark.parametrize(
    "said",
    [{"said": {"wake_id": "other"}}, {"said": {"generation": 2}}, {"grant": "older"}],
    ids=["wake", "generation", "token"],
)
def test_each_part_of_what_names_a_wake_is_checked(desk: Desk, said: dict[str, Any]) -> None:
    desk.create()
    desk.write("e/a", b"123")
    claimed = desk.claim().subscription
    if "grant" in said:
        said = {"grant": Grant(claimed.incarnation, 0)}
    assert desk.report(claimed, Ack("e/a", 3), **said) == Fenced()
    assert desk.positions() == {"e/a": 0}
    assert desk.report(claimed, Ack("e/a", 3)) == Reported(next_wake=False)


def test_an_acknowledgement_that_cannot_be_takes_the_others_with_it(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"123")
    desk.write("e/b", b"123")
    claimed = desk.claim().subscription
    desk.report(claimed, Ack("e/b", 2))
    for wrong in (Ack("e/b", 1), Ack("e/b", 4), Ack("e/none", 0)):
        answer = desk.report(claimed, Ack("e/a", 3), wrong, done=True)
        assert isinstance(answer, InvalidAck), wrong
    assert desk.positions() == {"e/a": 0, "e/b": 2}
    assert desk.stored().wake.holder == "worker"


def test_what_was_written_meanwhile_is_the_next_wake(desk: Desk) -> None:
    desk.create()
    desk.write("e/a", b"123")
    claimed = desk.claim().subscription
    desk.write("e/a", b"4")
    assert desk.report(claimed, Ack("e/a", 3), done=True) == Reported(next_wake=True)
    wake = desk.stored().wake
    assert (wake.phase, wake.generation) == (Phase.DUE, 2)
    assert desk.visit().links[0].tail == 4


def test_each_delivery_has_its_own_ways_to_report(desk: Desk) -> None:
    desk.create()
    desk.write("e/a")
    claimed = desk.claim().subscription
    wrong = desk.report(claimed, needed=Delivery.WEBHOOK)
    assert wrong == WrongDelivery(Delivery.WEBHOOK)
    desk.do(work.remove, "s")
    desk.create(**WEBHOOK)
    assert desk.claim() == WrongDelivery(Delivery.PULL_WAKE)
