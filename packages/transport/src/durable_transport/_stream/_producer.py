"""An idempotent producer's rules (PROTOCOL section 5.2.1).

Batches are numbered from 0 in each epoch and may be sent again as often as needed: the server
stores each once. Several are under way at a time, but only once the server has acknowledged the
first of the epoch: before that it may turn out that another epoch has to be claimed, or that this
one has been used. A batch that overtakes an earlier one is refused by the server and sent again
after it.

                 answer                                     verdict
    200, or 204 to a batch that may have arrived before     Done
    204 to a batch that was never sent before               claim an epoch, or Failed
    403 (a newer epoch)                                     claim an epoch, or Failed
    409 gap, the batch before it on its way                 AfterPredecessor
    409 gap, the batch before it acknowledged               Failed
    connection lost, 5xx, 429                               BackOff
    any other refusal                                       Failed
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from durable_transport._effects import CLOSE, Opened, Step
from durable_transport._stream._calls import Appended, appended
from durable_transport._stream._errors import ProducerFenced, ProducerGap, StreamError
from durable_transport._stream._link import Call, Failure, StreamLink
from durable_transport.protocol import StreamHeader

MAX_EPOCH = 2**53 - 1


@dataclass(slots=True, eq=False)
class ProducerBatch:
    """Appends that travel together.

    Attributes:
        number: ``Producer-Seq``.
        parts: Encoded appends, joined when sent; none for a close alone.
        close: Close the stream with it.
        uncertain: It may have arrived already.
        in_order: The batch before it was acknowledged when it was last sent.
    """

    number: int
    parts: list[bytes]
    close: bool = False
    uncertain: bool = False
    in_order: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """2xx; ``new`` is False for a batch that the server had already."""

    result: Appended
    new: bool


Outcome = Accepted | Failure | StreamError


@dataclass(frozen=True, slots=True)
class Done:
    """It is stored."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send it again, as it is now."""


@dataclass(frozen=True, slots=True)
class AfterPredecessor:
    """Send it again once the batch before it is stored."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Wait, and send it again."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Failed:
    """The producer cannot go on."""

    error: StreamError


Verdict = Done | Resend | AfterPredecessor | BackOff | Failed


@dataclass(slots=True)
class ProducerState:
    """What a producer knows and decides. Nothing here waits or sends.

    Attributes:
        epoch: Claimed, or to be claimed with batch 0.
        auto_claim: Take the next epoch when this one turns out to be taken.
        max_in_flight: Batches under way at a time.
        max_batch_bytes: A batch takes no more once it has this many bytes.
        offset: The end of the stream after the last batch in order that was acknowledged.
        error: Why it cannot go on.
    """

    epoch: int
    auto_claim: bool
    max_in_flight: int
    max_batch_bytes: int
    offset: str | None = None
    closed: bool = False
    error: StreamError | None = None
    pending_bytes: int = 0
    _next_number: int = 0
    _established: bool = False
    _acknowledged_up_to: int = -1
    _waiting: deque[tuple[bytes | None, bool]] = field(default_factory=deque)
    _in_flight: dict[int, ProducerBatch] = field(default_factory=dict)
    _done_early: set[int] = field(default_factory=set)
    _offset_number: int = -1

    def add(self, part: bytes | None, *, close: bool = False) -> None:
        """One more append, or a close."""
        self._waiting.append((part, close))
        self.pending_bytes += len(part or b"")

    @property
    def idle(self) -> bool:
        """Everything that was added is stored."""
        return not self._waiting and not self._in_flight

    def unacknowledged(self) -> list[bytes]:
        """What was added and is not known to be stored, in order."""
        in_flight = [self._in_flight[number].parts for number in sorted(self._in_flight)]
        return [
            *(part for parts in in_flight for part in parts),
            *(part for part, _ in self._waiting if part is not None),
        ]

    def next_batch(self) -> ProducerBatch | None:
        """What to send now, if anything."""
        room = self.max_in_flight if self._established else 1
        if self.error is not None or not self._waiting or len(self._in_flight) >= room:
            return None
        batch = ProducerBatch(self._next_number, [])
        size = 0
        while self._waiting and not batch.close:
            part, close = self._waiting[0]
            if close and self._in_flight:
                # Once closed, the server no longer says of an earlier batch whether it has it.
                break
            size += len(part or b"")
            if batch.parts and part is not None and size > self.max_batch_bytes:
                break
            self._waiting.popleft()
            batch.close = close
            if part is not None:
                batch.parts.append(part)
        if not batch.parts and not batch.close:
            return None
        self._next_number += 1
        self._in_flight[batch.number] = batch
        return batch

    def sending(self, batch: ProducerBatch) -> None:
        """The batch is about to be sent."""
        batch.in_order = self.may_follow(batch)

    def may_follow(self, batch: ProducerBatch) -> bool:
        """All batches before this one are stored."""
        return batch.number == self._acknowledged_up_to + 1

    def judge(self, batch: ProducerBatch, outcome: Outcome) -> Verdict:
        """What the answer to a batch means, and what to do."""
        match outcome:
            case Accepted(result, new):
                if not new and not batch.uncertain and batch.parts:
                    return self._claim_after(self.epoch, batch, None)
                self._acknowledge(batch, result)
                return Done()
            case Failure():
                batch.uncertain = batch.uncertain or outcome.uncertain
                return BackOff(outcome)
            case ProducerFenced():
                return self._claim_after(outcome.epoch, batch, outcome)
            case ProducerGap() if not batch.in_order:
                return Resend() if self.may_follow(batch) else AfterPredecessor()
            case _:
                return self.fail(outcome)

    def fail(self, error: StreamError) -> Failed:
        """Nothing more can be sent; the first reason counts."""
        self.error = self.error or error
        return Failed(self.error)

    def _acknowledge(self, batch: ProducerBatch, result: Appended) -> None:
        self._established = True
        self._in_flight.pop(batch.number, None)
        self.pending_bytes -= sum(map(len, batch.parts))
        self._done_early.add(batch.number)
        while self._acknowledged_up_to + 1 in self._done_early:
            self._acknowledged_up_to += 1
            self._done_early.remove(self._acknowledged_up_to)
        # Answers overtake each other, and one to a duplicate may say less.
        if result.offset is not None and batch.number > self._offset_number:
            self._offset_number, self.offset = batch.number, result.offset
        self.closed = self.closed or result.closed

    def _claim_after(
        self, theirs: int | None, batch: ProducerBatch, refusal: ProducerFenced | None
    ) -> Verdict:
        """Another producer has this id.

        Its epoch is outbid at the start only: a producer that is at work has been replaced, and
        one whose batch may have arrived cannot send it under a new epoch.
        """
        at_start = batch.number == 0 and not self._established and not batch.uncertain
        if theirs is None or not self.auto_claim or not at_start or theirs >= MAX_EPOCH:
            detail = f"epoch {self.epoch}, batch {batch.number}"
            return self.fail(refusal or ProducerFenced("", detail, epoch=theirs))
        self.epoch = theirs + 1
        return Resend()


def producer_call(
    producer_id: str, epoch: int, batch: ProducerBatch, *, content: bytes, content_type: str
) -> Call:
    """The request that sends a batch."""
    headers = {
        StreamHeader.PRODUCER_ID.value: producer_id,
        StreamHeader.PRODUCER_EPOCH.value: str(epoch),
        StreamHeader.PRODUCER_SEQ.value: str(batch.number),
    }
    if batch.parts:
        headers["Content-Type"] = content_type
    if batch.close:
        headers[StreamHeader.CLOSED.value] = "true"
    return Call("POST", headers=tuple(headers.items()), content=content)


def post(link: StreamLink, call: Call) -> Step[Outcome]:
    """Send a batch once."""
    try:
        answer = yield from link.attempt(call)
    except StreamError as error:
        return error
    if isinstance(answer, Failure):
        return answer
    yield CLOSE
    return Accepted(appended(answer), new=_is_new(answer))


def _is_new(answer: Opened) -> bool:
    return answer.status != 204  # noqa: PLR2004  (PROTOCOL section 5.2.1)


def bumped(key: str, seen: Callable[[int], None]) -> Callable[[bytes | None], bytes]:
    """A change of a `Storage` entry: one epoch more than the last start had.

    Args:
        key: The entry's; it is part of the entry, so that a copied file is no one else's.
        seen: Is told the new epoch.
    """

    def change(old: bytes | None) -> bytes:
        epoch = _stored_epoch(key, old) + 1
        seen(epoch)
        return json.dumps({"version": 1, "key": key, "epoch": epoch}).encode()

    return change


def producer_key(url: str, producer_id: str) -> str:
    """The `Storage` key of a producer's epoch."""
    return json.dumps(["producer", url, producer_id])


def _stored_epoch(key: str, data: bytes | None) -> int:
    try:
        entry: Any = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return -1
    match entry:
        case {"version": 1, "key": str(found), "epoch": int(epoch)} if found == key:
            return epoch if 0 <= epoch < MAX_EPOCH and not isinstance(epoch, bool) else -1
    return -1
