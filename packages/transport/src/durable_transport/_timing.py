"""The time settings of a transport."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time settings, in seconds.

    Attributes:
        silence: A connection without a single byte for this long counts as dead. More than the
            20 seconds after which the proxy itself ends an idle answer.
        healthy: An answer that ended cleanly after this long was merely idle; one that ended
            sooner and brought nothing counts as a failed attempt.
        give_up_after: How long to keep trying to get a running generation's next byte while the
            proxy gives no usable answer.
        start_patience: The same for a proxy that was never reached for this request. Short, since
            nothing is lost yet and the caller should hear of a wrong address soon.
        backoff_first: Longest wait before the second attempt; it doubles from there.
        backoff_limit: Longest wait between two attempts.
        persist_every: The offset is stored at most this often while reading.
        settle: When the body is closed before its end, wait at most this long for word that it
            had ended in fact. SDKs stop reading at their format's own end mark, and a finished
            generation should not stay resumable because of that.
        close: Longest time cleaning up may take when a read is cancelled.
    """

    silence: float = 30.0
    healthy: float = 1.0
    give_up_after: float = 60.0
    start_patience: float = 5.0
    backoff_first: float = 0.05
    backoff_limit: float = 5.0
    persist_every: float = 0.1
    settle: float = 0.5
    close: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0 or (value == 0 and field.name in ("silence", "close")):
                raise ValueError(f"Timing.{field.name} is {value!r}: give a number of seconds")
