"""Decides what a batch of operations does to the streams it names. Pure.

The rules, in the order in which an append is checked (PROTOCOL sections 5.2 and 5.2.1):

1. no stream (or an expired one)           -> `NotFound`
   deleted, but forks need it              -> `Gone`
   not as the append expects it            -> `Outdated`
2. closed: by this very producer batch     -> `Duplicate`
           close-only, no producer         -> `Duplicate`
           anything else                   -> `StreamClosed`
3. owned by another node                   -> `NotOwner` (a reaper may write once the lease ran out)
4. another content type                    -> `ContentTypeMismatch`
5. producer: older epoch                   -> `StaleEpoch`
             newer epoch, seq not 0        -> `EpochNotAtZero`
             seq already accepted          -> `Duplicate`
             seq further than the next one -> `SequenceGap`
6. Stream-Seq not greater than the last    -> `SequenceConflict`
7.                                         -> `Appended`

A group of operations is all or nothing: one refusal and none of it happens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from durable_streams_server._model import (
    DEFAULT_CONTENT_TYPE,
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
    Fork,
    ForkOutOfRange,
    ForkSourceGone,
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
    Trim,
)

K = TypeVar("K")
V = TypeVar("V")

ProducerKey = tuple[int, str]
"""Stream id and producer id."""
ProducerState = tuple[int, int]
"""Current epoch and last accepted sequence number."""


@dataclass(slots=True)
class State:
    """What the store holds for the streams a batch names, and what the batch makes of it."""

    streams: dict[str, StreamInfo] = field(default_factory=dict)
    producers: dict[ProducerKey, ProducerState] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Effects:
    """What a batch changes, net of what it undoes itself. The store writes it in one transaction.

    Attributes:
        streams: New or changed streams by id.
        created: Ids in `streams` that the store does not have yet.
        deleted: Streams to remove, with bytes and producers.
        chunks: New wire bytes by stream id, in order; they end at the stream's new tail.
    """

    streams: dict[int, StreamInfo] = field(default_factory=dict)
    created: set[int] = field(default_factory=set)
    deleted: dict[int, StreamInfo] = field(default_factory=dict)
    chunks: dict[int, list[bytes]] = field(default_factory=dict)
    producers: dict[ProducerKey, ProducerState] = field(default_factory=dict)
    leases: dict[str, float] = field(default_factory=dict)


def end_of_life(stream: StreamInfo) -> float | None:
    """When the stream's life is over (epoch seconds), as things stand: the sooner of its ends."""
    if stream.ttl_seconds is None:
        return stream.expires_at
    slid = stream.touched_at + stream.ttl_seconds
    return slid if stream.expires_at is None else min(slid, stream.expires_at)


def is_expired(stream: StreamInfo, now: float) -> bool:
    """The stream's lifetime is over at ``now`` (epoch seconds)."""
    if stream.ttl_seconds is None and stream.expires_at is None:
        return False
    end = end_of_life(stream)
    return end is not None and end <= now


def same_content_type(one: str, other: str) -> bool:
    """Content types are the same media type; parameters and case do not count."""
    return one == other or _media_type(one) == _media_type(other)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class Planner:
    """Applies operations to a `State`, collecting `Effects`.

    Args:
        state: Everything the batch can refer to; changed in place as operations succeed.
        now: Epoch seconds.
        new_id: Gives the id of a new stream: never one that was used before.
    """

    def __init__(self, state: State, now: float, new_id: Callable[[], int]) -> None:
        self.state = state
        self.effects = Effects()
        self._now = now
        self._new_id = new_id
        self._undo: list[Callable[[], object]] = []
        self._may_undo = False

    def run(self, group: Sequence[Operation]) -> tuple[Outcome, ...]:
        """Decide one group; nothing of it happens unless every outcome is ``ok``."""
        self._may_undo = len(group) > 1
        if not self._may_undo:
            return tuple(map(self._decide, group))
        self._undo.clear()
        outcomes = tuple([self._decide(operation) for operation in group])
        # A single operation that is refused has changed nothing, but for a stream whose lifetime
        # is over: that one stays removed. A group is taken back rather than tried on a copy, which
        # would cost each group what its whole batch holds: 2,000 generations that end together
        # took 1.9 s to plan, and take 41 ms so.
        if not all(outcome.ok for outcome in outcomes):
            for undo in reversed(self._undo):
                undo()
        return outcomes

    def _decide(self, operation: Operation) -> Outcome:
        match operation:
            case Append():
                return self._append(operation)
            case Create():
                return self._create(operation)
            case Delete():
                return self._delete(operation)
            case Trim():
                return self._trim(operation)
            case Touch():
                return self._touch(operation)
            case Heartbeat():
                self._set(self.state.leases, operation.node_id, operation.expires_at)
                self._set(self.effects.leases, operation.node_id, operation.expires_at)
                return Noted()

    # ------------------------------------------------------------------ operations

    def _append(self, op: Append) -> Outcome:  # noqa: PLR0911 - the rules, in their order
        stream = self._live_stream(op.path)
        if stream is None:
            return NotFound(op.path)
        if stream.deleted:
            return Gone(op.path)
        if op.expected is not None and not op.expected.holds_for(stream):
            return Outdated(stream)
        if stream.closed:
            return _append_to_closed(op, stream)
        if stream.owner is not None and not self._may_write(op, stream.owner):
            return NotOwner(stream)
        if (
            op.content_type is not None
            and op.data
            and not same_content_type(op.content_type, stream.content_type)
        ):
            return ContentTypeMismatch(stream)
        if op.producer is not None:
            refusal = self._check_producer(op.producer, stream)
            if refusal is not None:
                return refusal
        if op.seq is not None and stream.seq is not None and op.seq <= stream.seq:
            return SequenceConflict(stream)
        return self._accept(op, stream)

    def _accept(self, op: Append, stream: StreamInfo) -> Appended:
        start, end = stream.tail, stream.tail + len(op.data)
        changed = stream.grown_to(end)
        if op.close or op.seq is not None or stream.ttl_seconds is not None:
            changed = changed._replace(
                closed=op.close,
                owner=None if op.close else stream.owner,
                touched_at=self._now if stream.ttl_seconds is not None else stream.touched_at,
                seq=stream.seq if op.seq is None else op.seq,
                closed_by=op.producer if op.close else None,
            )
        self._put(changed)
        self._add_bytes(changed.id, op.data)
        if op.producer is not None:
            key, accepted = (stream.id, op.producer.id), (op.producer.epoch, op.producer.seq)
            self._set(self.state.producers, key, accepted)
            self._set(self.effects.producers, key, accepted)
        return Appended(changed, start, end, op.producer)

    def _create(self, op: Create) -> Outcome:
        existing = self._live_stream(op.path)
        if existing is not None:
            same = not existing.deleted and _same_config(op, existing)
            return Exists(existing) if same else ConfigMismatch(existing)
        if op.fork is not None:
            return self._create_fork(op, op.fork)
        stream = self._new_stream(op, op.content_type or DEFAULT_CONTENT_TYPE)
        return self._put_new(stream, op.data)

    def _create_fork(self, op: Create, fork: Fork) -> Outcome:
        source = self._live_stream(fork.path)
        if source is None or fork.source_id not in (None, source.id):
            return NotFound(fork.path)
        if source.deleted:
            return ForkSourceGone(fork.path)
        position = source.tail if fork.position is None else fork.position
        if not source.start <= position <= source.tail:
            return ForkOutOfRange(source)
        if op.content_type is not None and not same_content_type(
            op.content_type, source.content_type
        ):
            return ContentTypeMismatch(source)
        own_lifetime = op.ttl_seconds is not None or op.expires_at is not None
        stream = self._new_stream(op, op.content_type or source.content_type)._replace(
            tail=position + len(op.data),
            ttl_seconds=op.ttl_seconds if own_lifetime else source.ttl_seconds,
            expires_at=op.expires_at if own_lifetime else source.expires_at,
            forked_from=source.path,
            fork_position=position,
            start=source.start,
        )
        if op.retain_bytes is None and op.retain_seconds is None:
            stream = stream._replace(
                retain_bytes=source.retain_bytes, retain_seconds=source.retain_seconds
            )
        self._put(source._replace(forks=source.forks + 1))
        return self._put_new(stream, op.data)

    def _new_stream(self, op: Create, content_type: str) -> StreamInfo:
        return StreamInfo(
            id=self._new_id(),
            path=op.path,
            content_type=content_type,
            tail=len(op.data),
            closed=op.closed,
            created_at=self._now,
            owner=None if op.closed else op.owner,
            ttl_seconds=op.ttl_seconds,
            expires_at=op.expires_at,
            touched_at=self._now,
            retain_bytes=op.retain_bytes,
            retain_seconds=op.retain_seconds,
        )

    def _put_new(self, stream: StreamInfo, data: bytes) -> Created:
        self._put(stream)
        self.effects.created.add(stream.id)
        self._undo.append(partial(self.effects.created.discard, stream.id))
        self._add_bytes(stream.id, data)
        return Created(stream)

    def _delete(self, op: Delete) -> Outcome:
        stream = self._live_stream(op.path)
        if stream is None or (op.id is not None and op.id != stream.id):
            return NotFound(op.path)
        if stream.deleted:
            return Gone(op.path)
        self._remove(stream)
        return Deleted()

    def _trim(self, op: Trim) -> Outcome:
        stream = self._live_stream(op.path)
        if stream is None or stream.id != op.id:
            return NotFound(op.path)
        if not stream.forks and not stream.deleted and stream.start < op.start <= stream.tail:
            self._put(stream._replace(start=op.start))
        return Noted()

    def _touch(self, op: Touch) -> Outcome:
        stream = self._live_stream(op.path)
        if stream is None:
            return NotFound(op.path)
        if stream.ttl_seconds is not None and not stream.deleted:
            self._put(stream._replace(touched_at=self._now))
        return Noted()

    # ------------------------------------------------------------------ rules

    def _may_write(self, op: Append, owner: str) -> bool:
        if op.owner != owner:
            return False
        return not op.reaping or self.state.leases.get(owner, 0.0) <= self._now

    def _check_producer(
        self, producer: Producer, stream: StreamInfo
    ) -> Duplicate | StaleEpoch | EpochNotAtZero | SequenceGap | None:
        known = self.state.producers.get((stream.id, producer.id))
        if known is None:
            return None if producer.seq == 0 else SequenceGap(expected=0, received=producer.seq)
        epoch, last_seq = known
        if producer.epoch < epoch:
            return StaleEpoch(current_epoch=epoch)
        if producer.epoch > epoch:
            return None if producer.seq == 0 else EpochNotAtZero()
        if producer.seq <= last_seq:
            return Duplicate(stream, producer._replace(seq=last_seq))
        if producer.seq > last_seq + 1:
            return SequenceGap(expected=last_seq + 1, received=producer.seq)
        return None

    # ------------------------------------------------------------------ state and effects

    def _live_stream(self, path: str) -> StreamInfo | None:
        """The stream at the path, possibly a deleted one; an expired one is removed on sight."""
        stream = self.state.streams.get(path)
        if stream is not None and not stream.deleted and is_expired(stream, self._now):
            self._remove(stream)
            return self.state.streams.get(path)
        return stream

    def _put(self, stream: StreamInfo) -> None:
        if self._may_undo:
            self._set(self.state.streams, stream.path, stream)
            self._set(self.effects.streams, stream.id, stream)
        else:
            self.state.streams[stream.path] = stream
            self.effects.streams[stream.id] = stream

    def _add_bytes(self, stream_id: int, data: bytes) -> None:
        if data:
            pieces = self.effects.chunks.get(stream_id)
            if pieces is None:
                self._set(self.effects.chunks, stream_id, [data])
            else:
                pieces.append(data)
                if self._may_undo:
                    self._undo.append(pieces.pop)

    def _remove(self, stream: StreamInfo) -> None:
        """Delete a stream; one with forks only as far as clients can see."""
        if stream.forks:
            self._put(stream._replace(deleted=True, owner=None))
            return
        self._erase(stream)
        if stream.forked_from is not None:
            source = self.state.streams[stream.forked_from]
            source = source._replace(forks=source.forks - 1)
            self._put(source)
            if source.deleted:
                self._remove(source)

    def _erase(self, stream: StreamInfo) -> None:
        effects = self.effects
        self._drop(self.state.streams, stream.path)
        self._drop(effects.streams, stream.id)
        self._drop(effects.chunks, stream.id)
        self._set(effects.deleted, stream.id, stream)
        if stream.id in effects.created:
            effects.created.remove(stream.id)
            self._undo.append(partial(effects.created.add, stream.id))
        for producers in (self.state.producers, effects.producers):
            for key in [key for key in producers if key[0] == stream.id]:
                self._drop(producers, key)

    def _set(self, mapping: dict[K, V], key: K, value: V) -> None:
        if self._may_undo:
            old = mapping.get(key)
            if old is None:
                self._undo.append(partial(mapping.pop, key))
            else:
                self._undo.append(partial(mapping.__setitem__, key, old))
        mapping[key] = value

    def _drop(self, mapping: dict[K, V], key: K) -> None:
        if key in mapping:
            self._undo.append(partial(mapping.__setitem__, key, mapping.pop(key)))


def _append_to_closed(op: Append, stream: StreamInfo) -> Duplicate | StreamClosed:
    if op.producer is not None:
        if op.close and op.producer == stream.closed_by:
            return Duplicate(stream, op.producer)
        return StreamClosed(stream)
    return Duplicate(stream) if op.close and not op.data else StreamClosed(stream)


def _same_config(op: Create, stream: StreamInfo) -> bool:
    if op.closed != stream.closed or (op.fork is None) != (stream.forked_from is None):
        return False
    if not _same_retention(op, stream):
        return False
    if op.fork is not None:
        return _same_fork(op, op.fork, stream)
    return (
        same_content_type(op.content_type or DEFAULT_CONTENT_TYPE, stream.content_type)
        and op.ttl_seconds == stream.ttl_seconds
        and op.expires_at == stream.expires_at
    )


def _same_retention(op: Create, stream: StreamInfo) -> bool:
    """What the request leaves open may be anything: the server's own rule is not the client's."""
    return op.retain_bytes in (None, stream.retain_bytes) and op.retain_seconds in (
        None,
        stream.retain_seconds,
    )


def _same_fork(op: Create, fork: Fork, stream: StreamInfo) -> bool:
    """What the request leaves open is as the fork has it."""
    own_lifetime = op.ttl_seconds is not None or op.expires_at is not None
    return (
        fork.path == stream.forked_from
        and fork.position in (None, stream.fork_position)
        and (op.content_type is None or same_content_type(op.content_type, stream.content_type))
        and (
            not own_lifetime
            or (op.ttl_seconds, op.expires_at) == (stream.ttl_seconds, stream.expires_at)
        )
    )


def paths_of(groups: Iterable[Sequence[Operation]]) -> set[str]:
    """The stream paths that a batch names, sources of forks included."""
    paths: set[str] = set()
    for group in groups:
        for operation in group:
            if isinstance(operation, Heartbeat):
                continue
            paths.add(operation.path)
            if isinstance(operation, Create) and operation.fork is not None:
                paths.add(operation.fork.path)
    return paths
