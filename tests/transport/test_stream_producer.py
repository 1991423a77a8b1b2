"""The idempotent producer's decisions, against a server that keeps the protocol's rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_transport import ProducerFenced, ProducerGap, StreamClosed, StreamRefused
from durable_transport._stream._calls import Appended
from durable_transport._stream._link import Failure
from durable_transport._stream._producer import (
    Accepted,
    AfterPredecessor,
    BackOff,
    Done,
    Failed,
    ProducerBatch,
    ProducerState,
    Resend,
    bumped,
    producer_key,
)

URL = "http://h/s"
LOST = Failure("lost", uncertain=True)
REFUSED = Failure("busy", uncertain=False)


@dataclass
class Server:
    """PROTOCOL section 5.2.1, for one producer id."""

    epoch: int | None = None
    last: int = -1
    stored: list[bytes] = field(default_factory=list)

    def post(self, epoch: int, batch: ProducerBatch) -> Any:
        if self.epoch is not None and epoch < self.epoch:
            return ProducerFenced(URL, epoch=self.epoch)
        if self.epoch is None or epoch > self.epoch:
            if batch.number != 0:
                # A server that does not know the epoch yet: 400 for a new one, a gap for the first.
                return StreamRefused(URL, "a new epoch starts with 0", status=400)
            self.epoch, self.last = epoch, -1
        if batch.number <= self.last:
            return Accepted(Appended(f"{len(self.stored):05d}", closed=False), new=False)
        if batch.number > self.last + 1:
            return ProducerGap(URL, expected=self.last + 1, received=batch.number)
        self.last = batch.number
        self.stored += batch.parts
        return Accepted(Appended(f"{len(self.stored):05d}", closed=False), new=True)


def state(**options: Any) -> ProducerState:
    made = {"epoch": 0, "auto_claim": False, "max_in_flight": 3, "max_batch_bytes": 4, **options}
    return ProducerState(**made)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), parts=st.lists(st.binary(min_size=1, max_size=3), max_size=20))
def test_everything_is_stored_once_and_in_order(data: Any, parts: list[bytes]) -> None:
    """Requests overtake each other, are lost before or after the server has stored them."""
    server = Server(epoch=data.draw(st.none() | st.integers(0, 3)))
    subject = state(auto_claim=True, max_in_flight=data.draw(st.integers(1, 4)))
    to_add, sent = list(parts), list[ProducerBatch]()
    troubles, parked = 40, list[ProducerBatch]()
    while to_add or not subject.idle:
        if to_add and data.draw(st.booleans()):
            subject.add(to_add.pop(0))
        while (batch := subject.next_batch()) is not None:
            sent.append(batch)
        sent += [one for one in parked if subject.may_follow(one)]
        parked = [one for one in parked if not subject.may_follow(one)]
        if not sent:
            continue
        batch = sent.pop(data.draw(st.integers(0, len(sent) - 1)))
        subject.sending(batch)
        fate = data.draw(st.sampled_from(["ok", "lost before", "lost after", "refused"]))
        troubles -= fate != "ok"
        outcome: Any = REFUSED
        if fate != "refused" or troubles < 0:
            outcome = LOST
            if fate != "lost before" or troubles < 0:
                answer = server.post(subject.epoch, batch)
                outcome = answer if fate != "lost after" or troubles < 0 else LOST
        verdict = subject.judge(batch, outcome)
        match verdict:
            case Done():
                pass
            case AfterPredecessor():
                parked.append(batch)
            case Failed(error):
                # Only this: it was uncertain whether the batch had arrived under the old epoch.
                assert isinstance(error, ProducerFenced)
                assert batch.uncertain
                return
            case _:
                sent.append(batch)
    assert server.stored == parts
    assert subject.unacknowledged() == []
    assert subject.pending_bytes == 0
    assert subject.offset == (f"{len(parts):05d}" if parts else None)


def test_nothing_is_pipelined_before_the_epoch_is_acknowledged() -> None:
    subject = state()
    for part in (b"aaaa", b"bbbb", b"cccc"):
        subject.add(part)
    first = subject.next_batch()
    assert first is not None
    assert subject.next_batch() is None
    subject.sending(first)
    accept(subject, first, "1")
    assert [subject.next_batch() is not None for _ in range(3)] == [True, True, False]


def accept(
    subject: ProducerState, batch: ProducerBatch, offset: str | None, *, new: bool = True
) -> None:
    verdict = subject.judge(batch, Accepted(Appended(offset, closed=False), new=new))
    assert isinstance(verdict, Done)


def three_in_flight() -> tuple[ProducerState, list[ProducerBatch]]:
    subject = state()
    for part in (b"aaaa", b"bbbb", b"cccc", b"dddd"):
        subject.add(part)
    first = subject.next_batch()
    assert first is not None
    accept(subject, first, "1")
    rest = [batch for _ in range(3) if (batch := subject.next_batch())]
    for batch in rest:
        subject.sending(batch)
    return subject, rest


def test_answers_out_of_order_do_not_move_the_offset_back() -> None:
    subject, (one, two, three) = three_in_flight()
    accept(subject, three, "4")
    accept(subject, one, "2")
    assert subject.offset == "4"
    two.uncertain = True
    accept(subject, two, None, new=False)
    assert subject.offset == "4"
    assert subject.idle


def test_a_batch_that_overtook_another_waits_for_it() -> None:
    subject, (one, two, _) = three_in_flight()
    gap = ProducerGap(URL, expected=1, received=2)
    assert isinstance(subject.judge(two, gap), AfterPredecessor)
    accept(subject, one, "2")
    assert isinstance(subject.judge(two, gap), Resend)
    subject.sending(two)
    assert isinstance(subject.judge(two, gap), Failed)
    assert subject.unacknowledged() == [b"cccc", b"dddd"]


@pytest.mark.parametrize("auto_claim", [True, False])
def test_a_batch_that_the_server_knows_before_it_was_sent_is_another_producers(
    auto_claim: bool,  # noqa: FBT001
) -> None:
    subject = state(auto_claim=auto_claim)
    subject.add(b"a")
    batch = subject.next_batch()
    assert batch is not None
    verdict = subject.judge(batch, Accepted(Appended("1", closed=False), new=False))
    if auto_claim:
        assert isinstance(verdict, Resend)
        assert subject.epoch == 1
    else:
        assert isinstance(verdict, Failed)
        assert isinstance(verdict.error, ProducerFenced)
    assert subject.unacknowledged() == [b"a"]


def test_an_epoch_is_claimed_at_the_start_only() -> None:
    subject, (one, *_) = three_in_flight()
    subject.auto_claim = True
    assert isinstance(subject.judge(one, ProducerFenced(URL, epoch=7)), Failed)
    assert subject.next_batch() is None


def test_a_batch_that_may_have_arrived_is_not_sent_under_another_epoch() -> None:
    subject = state(auto_claim=True)
    subject.add(b"a")
    batch = subject.next_batch()
    assert batch is not None
    assert isinstance(subject.judge(batch, LOST), BackOff)
    assert isinstance(subject.judge(batch, ProducerFenced(URL, epoch=7)), Failed)


def test_the_first_error_counts_and_stops_everything() -> None:
    subject, (one, two, _) = three_in_flight()
    closed = StreamClosed(URL)
    assert subject.judge(one, closed) == Failed(closed)
    assert subject.judge(two, StreamRefused(URL)) == Failed(closed)
    subject.add(b"more")
    assert subject.next_batch() is None
    assert subject.unacknowledged() == [b"bbbb", b"cccc", b"dddd", b"more"]


def test_batches_are_bounded_and_a_close_is_the_last() -> None:
    subject = state(max_batch_bytes=4)
    for part in (b"aa", b"bb", b"c", b"longer than that"):
        subject.add(part)
    subject.add(None, close=True)
    sent = []
    while (batch := subject.next_batch()) is not None:
        sent.append((batch.number, batch.parts, batch.close))
        accept(subject, batch, None)
    assert sent == [
        (0, [b"aa", b"bb"], False),
        (1, [b"c"], False),
        (2, [b"longer than that"], True),
    ]


def test_a_close_waits_until_all_before_it_is_stored() -> None:
    """Of a closed stream, the server does not say any more whether it has an earlier batch."""
    subject, in_flight = three_in_flight()
    subject.add(b"last", close=True)
    for batch in in_flight:
        assert subject.next_batch() is None
        accept(subject, batch, None)
    last = subject.next_batch()
    assert last is not None
    assert (last.parts, last.close) == ([b"last"], True)


def test_stored_epochs_count_up_and_heal() -> None:
    seen: list[int] = []
    key = producer_key(URL, "p")
    entry = bumped(key, seen.append)(None)
    entry = bumped(key, seen.append)(entry)
    assert seen == [0, 1]
    others = bumped(producer_key(URL, "q"), seen.append)(None)
    for bad in (b"{", b"[]", b"[" * 100_000, others, entry.replace(b"1}", b"-7}")):
        bumped(key, seen.append)(bad)
    assert seen == [0, 1, 0, 0, 0, 0, 0, 0]
