"""The life of a wake: who has been told of pending work, and who holds it (PROTOCOL section 7).
Pure.

    phase     wake_id  next_attempt_at  deliverer  holder  lease_until   means
    IDLE      -        - or a time      -          -       -             nobody is told before it
    DUE       set      when to send     -          -       - or a time   to be sent (again)
    SENDING   set      -                a node     -       webhook       being sent by that node
    SENT      set      -                -          -       webhook       it has arrived
    CLAIMED   set      -                -          worker  set           pull-wake only

               issue             begin              sent             claim
        IDLE ---------> DUE <-------------> SENDING -------> SENT ----------> CLAIMED
         ^               |   failed, abandon   |               |                 |
         +---------------+---------------------+---------------+-----------------+
                    finish (done, release) or expire (the lease ran out)

A generation begins with `issue`; nothing that was said of an earlier one counts any more. The lease
of a webhook begins when its wake is sent, and only then: while a retry waits for its time, nobody
is at work. A failure's schedule outlives its wake: a new generation is not issued before it.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
RETRY_JITTER = 0.2


class Phase(Enum):
    """See the table above."""

    IDLE = auto()
    DUE = auto()
    SENDING = auto()
    SENT = auto()
    CLAIMED = auto()


@dataclass(frozen=True, slots=True)
class Wake:
    """A subscription's wake, as it is stored. Times in epoch seconds.

    Attributes:
        generation: The fencing counter: grows with every wake, never shrinks.
        retries: Failed attempts in a row.
        failure: What became of the last of them, for the subscription's owner.
    """

    generation: int = 0
    wake_id: str | None = None
    holder: str | None = None
    lease_until: float | None = None
    next_attempt_at: float | None = None
    deliverer: str | None = None
    retries: int = 0
    failure: str | None = None

    @property
    def phase(self) -> Phase:
        """Where in its life it is."""
        if self.wake_id is None:
            return Phase.IDLE
        if self.holder is not None:
            return Phase.CLAIMED
        if self.deliverer is not None:
            return Phase.SENDING
        return Phase.SENT if self.next_attempt_at is None else Phase.DUE

    def may_be_issued(self, now: float) -> bool:
        """Nobody has been told of pending work, and no back-off forbids to tell."""
        return self.phase is Phase.IDLE and (self.next_attempt_at or 0.0) <= now

    def may_be_sent(self, now: float) -> bool:
        """It is time to send."""
        due_at = self.next_attempt_at
        return self.phase is Phase.DUE and due_at is not None and due_at <= now

    def is_of(self, generation: int, wake_id: str) -> bool:
        """Whether something that was said of a wake is said of this one."""
        return self.wake_id == wake_id and self.generation == generation


def retry_delay(retries: int, random: float) -> float:
    """Seconds before the attempt that follows ``retries`` failed ones; ``0 <= random < 1``."""
    base = min(FIRST_RETRY_SECONDS * 2.0 ** min(retries - 1, 30), MAX_RETRY_SECONDS)
    return base * (1 + RETRY_JITTER * (2 * random - 1))


def issue(wake: Wake, wake_id: str, now: float) -> Wake:
    """There is pending work: begin a generation."""
    _expect(wake, Phase.IDLE)
    return replace(
        wake,
        generation=wake.generation + 1,
        wake_id=wake_id,
        next_attempt_at=max(now, wake.next_attempt_at or now),
    )


def begin(wake: Wake, node: str, lease_until: float | None) -> Wake:
    """A node sends it; the lease of a webhook begins."""
    _expect(wake, Phase.DUE)
    return replace(wake, deliverer=node, next_attempt_at=None, lease_until=lease_until)


def abandon(wake: Wake, now: float) -> Wake:
    """The node that was sending it is gone: whether it arrived is not known, so send it again."""
    _expect(wake, Phase.SENDING)
    return replace(wake, deliverer=None, next_attempt_at=now)


def sent(wake: Wake) -> Wake:
    """It has arrived."""
    _expect(wake, Phase.SENDING)
    return replace(wake, deliverer=None, retries=0, failure=None)


def failed(wake: Wake, now: float, random: float, why: str) -> Wake:
    """It has not arrived: again after a while."""
    _expect(wake, Phase.SENDING)
    retries = wake.retries + 1
    return replace(
        wake,
        deliverer=None,
        retries=retries,
        next_attempt_at=now + retry_delay(retries, random),
        failure=why,
    )


def claim(wake: Wake, worker: str, lease_until: float) -> Wake:
    """A worker takes it, however far its announcement has come."""
    _expect(wake, Phase.DUE, Phase.SENDING, Phase.SENT)
    return replace(
        wake,
        holder=worker,
        lease_until=lease_until,
        next_attempt_at=None,
        deliverer=None,
        retries=0,
        failure=None,
    )


def extend(wake: Wake, lease_until: float) -> Wake:
    """Whoever was told is at work: no attempt has to be made any more."""
    _expect(wake, Phase.DUE, Phase.SENDING, Phase.SENT, Phase.CLAIMED)
    return replace(
        wake,
        lease_until=lease_until,
        next_attempt_at=None,
        deliverer=None,
        retries=0,
        failure=None,
    )


def finish(wake: Wake) -> Wake:
    """The work is done, or given back."""
    return Wake(generation=wake.generation)


def expire(wake: Wake, now: float, random: float) -> Wake:
    """End a wake whose lease has run out; any other is given back as it is.

    A webhook that had not even answered has failed once more, or every lease would begin its
    back-off anew.
    """
    if wake.lease_until is None or wake.lease_until > now:
        return wake
    match wake.phase:
        case Phase.SENDING:
            wake = failed(wake, now, random, "no answer before the end of the lease")
            return replace(wake, wake_id=None, lease_until=None)
        case Phase.DUE:
            return replace(wake, wake_id=None, lease_until=None)
        case _:
            return finish(wake)


def _expect(wake: Wake, *phases: Phase) -> None:
    if wake.phase not in phases:
        raise ValueError(f"a wake that is {wake.phase.name} cannot do this")
