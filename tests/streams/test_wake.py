"""The life of a wake: every step from every phase, and whatever order they come in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._wake import (
    MAX_RETRY_SECONDS,
    Phase,
    Wake,
    abandon,
    begin,
    claim,
    expire,
    extend,
    failed,
    finish,
    issue,
    retry_delay,
    sent,
)
from streams.builders import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE = Wake(generation=6)
DUE = issue(IDLE, "w7", NOW)
SENDING = begin(DUE, "node", NOW + 30)
SENT = sent(SENDING)
CLAIMED = claim(DUE, "worker", NOW + 30)
ALL = {wake.phase: wake for wake in (IDLE, DUE, SENDING, SENT, CLAIMED)}

STEPS: dict[str, tuple[Callable[[Wake], Wake], dict[Phase, Phase]]] = {
    "issue": (lambda wake: issue(wake, "w8", NOW), {Phase.IDLE: Phase.DUE}),
    "begin": (lambda wake: begin(wake, "node", None), {Phase.DUE: Phase.SENDING}),
    "abandon": (lambda wake: abandon(wake, NOW), {Phase.SENDING: Phase.DUE}),
    "sent": (sent, {Phase.SENDING: Phase.SENT}),
    "failed": (lambda wake: failed(wake, NOW, 0.5, "why"), {Phase.SENDING: Phase.DUE}),
    "claim": (
        lambda wake: claim(wake, "worker", NOW + 9),
        dict.fromkeys([Phase.DUE, Phase.SENDING, Phase.SENT], Phase.CLAIMED),
    ),
    "extend": (
        lambda wake: extend(wake, NOW + 9),
        {
            **dict.fromkeys([Phase.DUE, Phase.SENDING, Phase.SENT], Phase.SENT),
            Phase.CLAIMED: Phase.CLAIMED,
        },
    ),
    "finish": (finish, dict.fromkeys(Phase, Phase.IDLE)),
}


def test_the_examples_cover_every_phase() -> None:
    assert set(ALL) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("name", STEPS)
def test_each_step_from_each_phase(name: str, phase: Phase) -> None:
    step, table = STEPS[name]
    if phase in table:
        assert step(ALL[phase]).phase is table[phase]
    else:
        with pytest.raises(ValueError, match=phase.name):
            step(ALL[phase])


@pytest.mark.parametrize("wake", ALL.values(), ids=lambda wake: wake.phase.name)
def test_a_lease_that_runs_ends_nothing(wake: Wake) -> None:
    assert expire(wake, NOW + 29.9, 0.5) == wake


@pytest.mark.parametrize("wake", [SENDING, SENT, CLAIMED], ids=lambda wake: wake.phase.name)
def test_a_lease_that_ran_out_ends_its_wake(wake: Wake) -> None:
    ended = expire(wake, NOW + 30, 0.5)
    assert (ended.phase, ended.generation, ended.lease_until) == (Phase.IDLE, 7, None)
    assert not ended.is_of(7, "w7")


def test_a_webhook_that_is_silent_for_its_lease_is_not_asked_again_at_once() -> None:
    ended = expire(SENDING, NOW + 30, 0.5)
    assert ended.retries == 1
    assert not ended.may_be_issued(NOW + 30.9)
    assert ended.may_be_issued(NOW + 31)


def test_a_back_off_outlives_the_wake_it_began_with() -> None:
    waiting = failed(replace(SENDING, retries=9), NOW, 0.5, "why")
    ended = expire(waiting, NOW + 30, 0.5)
    assert ended.phase is Phase.IDLE
    assert not ended.may_be_issued(NOW + MAX_RETRY_SECONDS - 0.1)
    again = issue(ended, "w8", NOW + MAX_RETRY_SECONDS)
    assert again.may_be_sent(NOW + MAX_RETRY_SECONDS)
    assert (again.generation, again.retries) == (8, 10)


def test_an_answer_ends_the_back_off() -> None:
    waiting = failed(replace(SENDING, retries=9), NOW, 0.5, "why")
    assert extend(waiting, NOW + 30) == replace(SENT, lease_until=NOW + 30)
    assert sent(replace(SENDING, retries=9, failure="why")) == SENT
    assert finish(waiting) == Wake(generation=7)


def test_retries_wait_from_one_second_to_a_minute_with_a_fifth_of_jitter() -> None:
    middle = [retry_delay(retries, 0.5) for retries in range(1, 9)]
    assert middle == [1, 2, 4, 8, 16, 32, 60, 60]
    assert retry_delay(10_000, 0.0) == pytest.approx(48)
    assert retry_delay(10_000, 1.0) == pytest.approx(72)


@given(
    st.lists(st.tuples(st.sampled_from([*STEPS, "expire"]), st.floats(0, 40)), max_size=60),
)
def test_in_whatever_order_generations_only_grow_and_one_holds_the_lease(
    steps: list[tuple[str, float]],
) -> None:
    wake, now, issued = Wake(), NOW, 0
    for name, seconds in steps:
        now += seconds
        before = wake
        if name == "expire":
            wake = expire(wake, now, 0.5)
        elif before.phase in STEPS[name][1]:
            wake = STEPS[name][0](before)
        issued += name == "issue" and wake is not before
        assert wake.generation == issued
        assert (wake.wake_id is None) == (wake.phase is Phase.IDLE)
        assert wake.holder is None or wake.deliverer is None
        if wake.phase is Phase.IDLE:
            assert (wake.holder, wake.deliverer, wake.lease_until) == (None, None, None)
