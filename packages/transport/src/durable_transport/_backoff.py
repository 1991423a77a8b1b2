"""How long to wait before the next attempt, and when to stop trying."""

from collections.abc import Callable
from email.utils import parsedate_to_datetime


class Backoff:
    """Jittered exponential back-off that only progress resets.

    Half of each delay is fixed and half is random: attempts never become a tight loop, and the
    readers of a restarted server do not come back all at once.

    Args:
        first: Longest first delay, in seconds; it doubles with every attempt.
        limit: No delay of our own is longer.
        give_up_after: Seconds from the first failure after the last progress to the last attempt,
            which is made exactly then.
        random: Uniform in [0, 1).
    """

    def __init__(
        self, *, first: float, limit: float, give_up_after: float, random: Callable[[], float]
    ) -> None:
        self._first = first
        self._limit = limit
        self._random = random
        self._attempt = 0
        self._failing_since: float | None = None
        self._last_one_for: float | None = None
        self.give_up_after = give_up_after

    def progress(self) -> None:
        """Something worth having arrived: the next failure is a first one."""
        self._attempt = 0
        self._failing_since = None
        self._last_one_for = None

    def failing_for(self, now: float) -> float:
        """Seconds since the first failure after the last progress."""
        return 0.0 if self._failing_since is None else now - self._failing_since

    def delay(self, now: float, retry_after: float | None = None) -> float | None:
        """Seconds to wait after a failure at ``now``; None: give up.

        A delay of our own that goes past the limit of our patience is cut short, for one last
        attempt. A ``retry_after`` of the server is a lower bound. One that goes past the limit
        means to give up at once: an earlier attempt would be refused as well.
        """
        if self._failing_since is None:
            self._failing_since = now
        # The exponent is bounded so that a long outage cannot overflow a float.
        ceiling = min(self._limit, self._first * 2.0 ** min(self._attempt, 32))
        self._attempt += 1
        wait = max(ceiling * (0.5 + 0.5 * self._random()), retry_after or 0.0)
        left = self.give_up_after - self.failing_for(now)
        if wait < left:
            return wait
        # A sleep may end a little early, and what is left then is not worth another attempt. (The
        # limit may have been raised since.)
        was_last = self._last_one_for == self.give_up_after
        if left <= 0 or was_last or (retry_after or 0.0) > left:
            return None
        self._last_one_for = self.give_up_after
        return left


def parse_retry_after(value: str | None, now: float) -> float | None:
    """``Retry-After`` as seconds from ``now`` (epoch seconds), None when absent or malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
