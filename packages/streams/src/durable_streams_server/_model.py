"""What can be asked of a log and what it can answer.

Operations go in, outcomes come out; both are closed unions of frozen dataclasses, so that a
caller can ``match`` them and end in ``assert_never``. Positions are byte positions in a stream's
wire bytes (`durable_transport.protocol.format_offset` prints them).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

DEFAULT_CONTENT_TYPE = "application/octet-stream"
EARLIEST = -1
"""In place of a position: wherever the stream begins, which retention may have moved."""


class Producer(NamedTuple):
    """Idempotent producer coordinates of one append (PROTOCOL section 5.2.1)."""

    id: str
    epoch: int
    seq: int


class StreamInfo(NamedTuple):
    """One stream as the store has it. A tuple, because every append makes a new one.

    Attributes:
        id: Incarnation: a path that is deleted and created again gets a new one.
        tail: Position after the last byte.
        owner: Node that alone may write to the stream, or None when anybody may.
        ttl_seconds: Sliding lifetime; `expires_at` (epoch seconds) is the fixed one.
        touched_at: Last read or write that moved the sliding window, epoch seconds.
        seq: Last accepted ``Stream-Seq``.
        closed_by: Producer coordinates of the request that closed the stream.
        forked_from: Path of the stream that holds the bytes before `fork_position`.
        forks: How many streams are forks of this one.
        deleted: Deleted by its owner, and kept because forks read its bytes.
        start: Position of the earliest byte that is retained.
        retain_bytes: So many of the newest bytes are retained at least, others let go; None: all,
            or what the server says for all streams.
        retain_seconds: Bytes that are younger are retained; None likewise.
    """

    id: int
    path: str
    content_type: str
    tail: int
    closed: bool
    created_at: float
    owner: str | None = None
    ttl_seconds: int | None = None
    expires_at: float | None = None
    touched_at: float = 0.0
    seq: str | None = None
    closed_by: Producer | None = None
    forked_from: str | None = None
    fork_position: int = 0
    forks: int = 0
    deleted: bool = False
    start: int = 0
    retain_bytes: int | None = None
    retain_seconds: int | None = None

    def grown_to(self, tail: int) -> "StreamInfo":
        """The stream with another tail. For every append; `_replace` takes four times longer."""
        return _make_tuple(StreamInfo, (*self[:_TAIL], tail, *self[_TAIL + 1 :]))

    def differs_in_tail_only(self, other: "StreamInfo") -> bool:
        """Both are one stream, and nothing but its tail has changed."""
        return self[:_TAIL] == other[:_TAIL] and self[_TAIL + 1 :] == other[_TAIL + 1 :]


_TAIL = StreamInfo._fields.index("tail")
_make_tuple = tuple.__new__


class Retention(NamedTuple):
    """How much of a stream is kept: what is newer than either limit says may be relied on.

    Attributes:
        max_bytes: Older bytes than so many of the newest are let go; None: no limit.
        max_seconds: Older bytes than this are let go; None: no limit.
    """

    max_bytes: int | None = None
    max_seconds: int | None = None


KEEP_ALL = Retention()


# --------------------------------------------------------------------------- operations


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a new stream branches off (PROTOCOL section 4.2).

    Attributes:
        path: The source stream.
        position: The fork inherits the bytes before it; None is the source's tail.
        source_id: The incarnation that ``position`` belongs to, when it was looked up before.
    """

    path: str
    position: int | None = None
    source_id: int | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """Create a stream unless it is there already; ``data`` is its first wire bytes of its own.

    With an ``owner``, only appends that name the same owner are accepted until it is closed.
    Without a content type, a lifetime or a retention a fork has its source's; another stream holds
    ``application/octet-stream``, lives until it is deleted, and retains what the server says.
    """

    path: str
    content_type: str | None = None
    data: bytes = b""
    closed: bool = False
    ttl_seconds: int | None = None
    expires_at: float | None = None
    owner: str | None = None
    fork: Fork | None = None
    retain_bytes: int | None = None
    retain_seconds: int | None = None


class Expected(NamedTuple):
    """What a caller knows of a stream, and decided by.

    Attributes:
        id: Its incarnation.
        tail: Where it ends; None: anywhere.
    """

    id: int
    tail: int | None = None

    def holds_for(self, stream: StreamInfo) -> bool:
        """The stream is still as it says."""
        return self.id == stream.id and self.tail in (None, stream.tail)


class Append(NamedTuple):
    """Append wire bytes, close the stream, or both in one step. A tuple, like `StreamInfo`.

    Attributes:
        data: Wire bytes; may be empty only together with ``close``.
        content_type: Checked against the stream's when given.
        owner: Must equal the stream's owner.
        reaping: The caller is not the owner but ends the stream in its place: accepted only when
            the owner's lease has run out.
        expected: The stream has to be as the caller knows it.
    """

    path: str
    data: bytes = b""
    content_type: str | None = None
    close: bool = False
    seq: str | None = None
    producer: Producer | None = None
    owner: str | None = None
    reaping: bool = False
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a stream with its bytes; with ``id``, only that incarnation.

    A stream with forks keeps its bytes for them and its path for itself, but is gone for clients.
    """

    path: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Trim:
    """Let go of the bytes before a position (an append boundary) of one incarnation.

    Nothing happens to a stream with forks, because they read them.
    """

    path: str
    id: int
    start: int


@dataclass(frozen=True, slots=True)
class Touch:
    """A read happened: move the sliding window of a stream that has one."""

    path: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The node is alive until ``expires_at`` (epoch seconds)."""

    node_id: str
    expires_at: float


Operation = Create | Append | Delete | Trim | Touch | Heartbeat


# --------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Created:
    """The stream is new."""

    ok: ClassVar[bool] = True
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class Exists:
    """The stream was there with the same configuration; nothing changed."""

    ok: ClassVar[bool] = True
    stream: StreamInfo


class Appended(NamedTuple):
    """The bytes are on disk at ``start`` to ``end``; ``stream`` is how they left it."""

    stream: StreamInfo
    start: int
    end: int
    producer: Producer | None = None

    @property
    def ok(self) -> bool:
        """Like every outcome, whether it is done."""
        return True


@dataclass(frozen=True, slots=True)
class Duplicate:
    """This producer's batch is already in the log, or the stream already closed as asked."""

    ok: ClassVar[bool] = True
    stream: StreamInfo
    producer: Producer | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """The stream is gone."""

    ok: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Noted:
    """A touch, a trim or a heartbeat is recorded."""

    ok: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no stream at the path (or not that incarnation)."""

    ok: ClassVar[bool] = False
    path: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The stream was deleted; its path stays taken while forks need its bytes."""

    ok: ClassVar[bool] = False
    path: str


@dataclass(frozen=True, slots=True)
class ForkSourceGone:
    """The stream to fork was deleted."""

    ok: ClassVar[bool] = False
    path: str


@dataclass(frozen=True, slots=True)
class ForkOutOfRange:
    """The fork would branch off after the source's tail, or before what it retains."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class ConfigMismatch:
    """The stream is there with another configuration."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The stream takes no more appends."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class ContentTypeMismatch:
    """The append named another content type than the stream's."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class SequenceConflict:
    """``Stream-Seq`` is not greater than the last accepted one."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class StaleEpoch:
    """A newer epoch of this producer has written: the caller is fenced off."""

    ok: ClassVar[bool] = False
    current_epoch: int


@dataclass(frozen=True, slots=True)
class EpochNotAtZero:
    """A new epoch has to start at sequence number 0."""

    ok: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """A batch before this one is missing."""

    ok: ClassVar[bool] = False
    expected: int
    received: int


@dataclass(frozen=True, slots=True)
class NotOwner:
    """Another node owns the stream (or, for a reaper, its owner is still alive)."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


@dataclass(frozen=True, slots=True)
class Outdated:
    """The stream is not as the caller's `Expected` says: another incarnation, or it has grown."""

    ok: ClassVar[bool] = False
    stream: StreamInfo


Accepted = Created | Exists | Appended | Duplicate | Deleted | Noted
"""It is done, and on disk."""

Refused = (
    NotFound
    | Gone
    | ForkSourceGone
    | ForkOutOfRange
    | ConfigMismatch
    | StreamClosed
    | ContentTypeMismatch
    | SequenceConflict
    | StaleEpoch
    | EpochNotAtZero
    | SequenceGap
    | NotOwner
    | Outdated
)
"""Nothing was changed."""

Outcome = Accepted | Refused


class Chunk(NamedTuple):
    """A piece of a stream: the wire bytes from ``start`` to ``end``. A tuple, like `StreamInfo`.

    Attributes:
        up_to_date: ``end`` was the tail when this was read.
        closed: The stream is closed and ``end`` is its final tail: nothing follows.
    """

    stream: StreamInfo
    start: int
    end: int
    data: bytes
    up_to_date: bool
    closed: bool


@dataclass(frozen=True, slots=True)
class Inspection:
    """One stream, with everything about it that only its keeper wants to know.

    Attributes:
        producers: The last accepted batch of each producer (at most 1000 of them).
        forks: Paths of the streams that were forked from it (at most 1000 of them).
        rows: In how many pieces the stream's own bytes are stored.
        stored_bytes: The stream's own bytes: what a fork inherits is not among them.
        lease_expires_at: Until when the owner counts as alive, epoch seconds.
    """

    stream: StreamInfo
    producers: tuple[Producer, ...]
    forks: tuple[str, ...]
    rows: int
    stored_bytes: int
    lease_expires_at: float | None
