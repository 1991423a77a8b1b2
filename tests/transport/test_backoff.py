from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_transport._backoff import Backoff, parse_retry_after


def backoff(random: float = 1.0, give_up_after: float = 100.0) -> Backoff:
    return Backoff(first=1.0, limit=8.0, give_up_after=give_up_after, random=lambda: random)


def test_delays_double_up_to_the_limit() -> None:
    subject = backoff()
    assert [subject.delay(0.0) for _ in range(6)] == [1, 2, 4, 8, 8, 8]


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_a_delay_is_never_zero_and_never_above_the_limit(random: float, attempts: int) -> None:
    subject = backoff(random)
    for _ in range(attempts):
        delay = subject.delay(0.0)
        assert delay is not None
        assert 0.5 <= delay <= 8


def test_only_progress_resets() -> None:
    subject = backoff()
    subject.delay(0.0)
    subject.delay(1.0)
    assert subject.failing_for(3.0) == 3.0
    subject.progress()
    assert subject.failing_for(9.0) == 0.0
    assert subject.delay(9.0) == 1.0


@given(st.floats(0, 1, exclude_max=True), st.floats(0.1, 100))
def test_the_last_attempt_is_made_when_the_time_is_over(
    random: float, give_up_after: float
) -> None:
    subject = backoff(random, give_up_after)
    now = 50.0
    while (delay := subject.delay(now)) is not None:
        assert delay > 0
        now += delay
    assert now == pytest.approx(50.0 + give_up_after)
    subject.progress()
    assert subject.delay(now) is not None


def test_there_is_one_last_attempt_even_if_a_sleep_ends_early() -> None:
    subject = backoff(give_up_after=10.0)
    assert subject.delay(50.0) == 1.0
    assert subject.delay(58.5) == 1.5
    assert subject.delay(59.99) is None
    subject.give_up_after = 60.0
    assert subject.delay(59.99) == 8.0


def test_without_any_patience_there_is_no_second_attempt() -> None:
    assert backoff(give_up_after=0.0).delay(50.0) is None


def test_retry_after_is_a_lower_bound() -> None:
    subject = backoff(give_up_after=60.0)
    assert subject.delay(0.0, 30.0) == 30.0
    assert subject.delay(30.0, 0.1) == 2.0
    assert subject.delay(32.0, 29.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("9" * 400, 999_999_999.0),
        (format_datetime(datetime.fromtimestamp(1_030, UTC), usegmt=True), 30.0),
        (format_datetime(datetime.fromtimestamp(10, UTC), usegmt=True), 0.0),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1_000.0) == seconds
