"""Which node sends which wake when, decided in the store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from durable_streams_server import Create, Delete, Heartbeat
from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._subscription import (
    Ack,
    Parcel,
    Reported,
)
from durable_streams_server._wake import Phase, Wake
from streams.builders import NOW
from streams.desk import LEASE, WEBHOOK, Desk
from streams.test_store import closing, one

if TYPE_CHECKING:
    from pathlib import Path


# --------------------------------------------------------------------------- deliveries


def delivered(desk: Desk, parcel: Parcel, *, done: bool) -> None:
    desk.do(work.delivered, parcel, desk.moment(), done=done)


def undelivered(desk: Desk, parcel: Parcel) -> None:
    desk.do(work.undelivered, parcel, desk.moment(), "no")


def test_of_two_nodes_one_sends(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    assert isinstance(desk.visit("a"), Parcel)
    assert desk.visit("b") is None
    assert desk.visit("a") is None


def test_what_a_dead_node_was_sending_is_sent_by_another(desk: Desk) -> None:
    desk.create(**WEBHOOK, lease_ttl_ms=600_000)
    desk.write("e/a")
    first = desk.visit("a")
    one(desk.store, Heartbeat("a", NOW + 10), NOW)
    desk.now += 9
    assert "s" not in desk.do(rows.due, desk.now, "b")
    assert desk.visit("b") is None
    desk.now += 1
    assert desk.do(rows.due, desk.now, "b") == ["s"]
    second = desk.visit("b")
    assert second.subscription.wake.wake_id == first.subscription.wake.wake_id
    undelivered(desk, first)
    assert desk.stored().wake.deliverer == "b", "what the dead node thinks of it does not count"
    delivered(desk, second, done=True)
    assert desk.positions() == {"e/a": 1}


def test_done_acknowledges_what_was_told_and_no_more(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a", b"123")
    parcel = desk.visit()
    desk.write("e/a", b"4")
    delivered(desk, parcel, done=True)
    assert desk.positions() == {"e/a": 3}
    wake = desk.stored().wake
    assert (wake.phase, wake.generation) == (Phase.DUE, 2)


def test_done_is_nothing_once_the_wake_is_over(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a", b"123")
    parcel = desk.visit()
    desk.now += LEASE
    desk.visit("b")
    delivered(desk, parcel, done=True)
    assert desk.positions() == {"e/a": 0}


def test_done_says_nothing_about_a_stream_that_is_another_by_now(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a", b"123")
    parcel = desk.visit()
    one(desk.store, Delete("e/a"), NOW)
    desk.write("e/a", b"4567")
    delivered(desk, parcel, done=True)
    assert desk.positions() == {"e/a": 0}


def test_a_failure_is_tried_again_when_its_time_has_come(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    for seconds in (1, 2, 4):
        parcel = desk.visit()
        assert parcel.subscription.wake.generation == 1
        undelivered(desk, parcel)
        assert desk.stored().wake.failure == "no"
        assert desk.do(rows.next_time, desk.now) == desk.now + seconds
        desk.now += seconds - 0.1
        assert desk.visit() is None
        desk.now += 0.1
    delivered(desk, desk.visit(), done=False)
    assert desk.stored().wake.retries == 0


def test_a_callback_may_come_before_the_answer_of_the_call(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a", b"123")
    parcel = desk.visit()
    assert desk.report(parcel.subscription, Ack("e/a", 3)) == Reported(next_wake=False)
    undelivered(desk, parcel)
    wake = desk.stored().wake
    assert (wake.phase, wake.retries) == (Phase.SENT, 0), "who calls back has got the wake"
    done = desk.report(parcel.subscription, done=True)
    assert done == Reported(next_wake=False)
    delivered(desk, parcel, done=True)
    assert desk.stored().wake.phase is Phase.IDLE


def test_a_receiver_that_never_calls_back_is_woken_again_after_its_lease(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    delivered(desk, desk.visit(), done=False)
    desk.now += LEASE - 0.1
    assert desk.visit() is None
    desk.now += 0.1
    assert desk.do(rows.due, desk.now, "a") == ["s"]
    assert desk.visit().subscription.wake.generation == 2


def test_nothing_is_sent_about_work_that_has_gone(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    undelivered(desk, desk.visit())
    one(desk.store, Delete("e/a"), NOW)
    desk.now += 1
    assert desk.visit() is None
    assert desk.stored().wake == Wake(generation=1)
    assert desk.do(rows.due, desk.now + 1000, "a") == []


def test_a_full_node_leaves_the_wake_to_others(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    assert desk.visit("a", sending=False) is None
    assert isinstance(desk.visit("b"), Parcel)


def test_a_wake_names_a_thousand_streams_and_the_next_one_the_rest(desk: Desk) -> None:
    desk.create(**WEBHOOK, pattern="**")
    operations = [Create(f"e/{number:04}", data=b"x") for number in range(1003)]
    desk.store.commit([operations], NOW)
    first = desk.visit(everything=True)
    assert len(first.links) == 1000
    delivered(desk, first, done=True)
    second = desk.visit()
    assert [link.path for link in second.links] == ["e/1000", "e/1001", "e/1002"]


def test_everything_is_as_it_was_after_a_restart(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        before = Desk(store)
        before.create(**WEBHOOK, description="d", streams=("x",))
        before.write("e/a", b"123")
        before.alive("a")
        undelivered(before, before.visit())
        kept, links = before.stored(), before.links()
    with closing(SqliteStore(tmp_path / "store")) as store:
        after = Desk(store)
        assert (after.stored(), after.links()) == (kept, links)
        assert after.visit() is None, "the schedule holds over a restart"
        after.now += 1
        assert isinstance(after.visit(), Parcel)


def test_a_delivery_that_a_restart_cut_is_made_again_at_once(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "store")) as store:
        before = Desk(store)
        before.create(**WEBHOOK)
        before.write("e/a")
        before.alive("a")
        assert isinstance(before.visit("a"), Parcel)
    with closing(SqliteStore(tmp_path / "store")) as store:
        after = Desk(store)
        after.alive("b")
        assert after.do(rows.due, NOW, "b") == ["s"]
        assert isinstance(after.visit("b"), Parcel)


def test_secrets_are_made_once(desk: Desk) -> None:
    assert desk.do(rows.secret, "name", b"first", NOW) == b"first"
    assert desk.do(rows.secret, "name", b"second", NOW) == b"first"
    assert desk.do(partial(rows.secret, name="other", value=b"x", now=NOW)) == b"x"


def test_a_node_that_knows_nothing_of_its_delivery_sends_again(desk: Desk) -> None:
    desk.create(**WEBHOOK)
    desk.write("e/a")
    first = desk.visit("a")
    assert desk.visit("a", under_way=True) is None
    second = desk.visit("a", under_way=False)
    assert second.subscription.wake.wake_id == first.subscription.wake.wake_id
