# ruff: noqa: N818  (named like the errors of the transports beside them)
"""What can go wrong with a stream, as a map.

DurableTransportError
├── InvalidStreamURL       (ValueError)  you misused it: the address cannot be one
└── StreamError            url, status, offset
    ├── the server said no
    │   ├── StreamNotFound         404
    │   ├── StreamGone             410: deleted, or the offset is older than what is kept
    │   ├── InvalidOffset          the offset is none of this stream's
    │   ├── StreamConflict         409
    │   │   ├── StreamExists           create: there is another kind of stream
    │   │   ├── StreamClosed           append: nothing may follow; offset is its end
    │   │   ├── ContentTypeMismatch    append: the stream holds something else
    │   │   ├── SequenceConflict       append: seq= is not greater than the last one
    │   │   └── ProducerGap            a producer's earlier batch is missing
    │   ├── ProducerFenced         another producer of the same id has taken over
    │   └── StreamRefused          any other refusal, such as 401, 403 or 413
    └── nobody knows
        ├── StreamUnreachable      no usable answer within the limit
        ├── AppendUncertain        the connection broke: appended, or not
        └── StreamProtocolError    the answer is none of this protocol
"""

from typing import ClassVar

from durable_transport._errors import DurableTransportError


class InvalidStreamURL(DurableTransportError, ValueError):
    """The address given to a stream cannot be one."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return (
            f"{self.url!r} is not the address of a stream: {self.reason}. "
            f"Use one like http://localhost:3001/v1/stream/my-stream"
        )


class StreamError(DurableTransportError):
    """A stream could not be read, written or asked about.

    Attributes:
        url: The stream's address, without its query (which may hold a signature).
        status: The answer's HTTP status, None when there was none.
        offset: Where the stream ends, or where the reader stands, if that is known.
        detail: What was seen, in words.
    """

    summary: ClassVar[str] = "the stream cannot be used"

    def __init__(
        self, url: str, detail: str = "", *, status: int | None = None, offset: str | None = None
    ) -> None:
        self.url = url
        self.detail = detail
        self.status = status
        self.offset = offset
        super().__init__(url, detail)

    def __str__(self) -> str:
        what = f"{self.summary}: {self.detail}" if self.detail else self.summary
        status = "" if self.status is None else f", status {self.status}"
        offset = "" if self.offset is None else f", offset {self.offset}"
        return f"{what} [{self.url}{status}{offset}]"


class StreamNotFound(StreamError):
    """There is no stream at this address."""

    summary = "there is no stream here; create() makes one"


class StreamGone(StreamError):
    """The stream was deleted, or what the offset points at is not kept any more."""

    summary = (
        "the stream was deleted, or the offset is older than what it keeps: "
        "read from a later one, or from the beginning"
    )


class InvalidOffset(StreamError):
    """The server does not take the offset for one of this stream's."""

    summary = (
        "the offset is none of this stream's: use one that a read has given, "
        "-1 for the beginning, or now for the end"
    )


class StreamConflict(StreamError):
    """The request contradicts what the stream is (409)."""

    summary = "the request contradicts the state of the stream"


class StreamExists(StreamConflict):
    """There is a stream with another content type, lifetime or closure."""

    summary = "there is another kind of stream here already"


class StreamClosed(StreamConflict):
    """The stream is closed, nothing can be appended; `offset` is where it ends."""

    summary = "the stream is closed"


class ContentTypeMismatch(StreamConflict):
    """What was appended is of another content type than the stream."""

    summary = "the stream holds another content type"


class SequenceConflict(StreamConflict):
    """``seq=`` is not greater than that of an earlier append, compared byte by byte."""

    summary = "seq is not greater than the last one"


class ProducerGap(StreamConflict):
    """The server misses a batch that was acknowledged: its memory of the producer is gone.

    Attributes:
        expected: The batch the server wants.
        received: The batch it got.
    """

    summary = "the server has lost track of this producer; start it with a new epoch"

    def __init__(
        self,
        url: str,
        detail: str = "",
        *,
        status: int | None = None,
        offset: str | None = None,
        expected: int | None = None,
        received: int | None = None,
    ) -> None:
        super().__init__(url, detail, status=status, offset=offset)
        self.expected = expected
        self.received = received


class ProducerFenced(StreamError):
    """Another producer of the same id is at work, or was with this epoch.

    Attributes:
        epoch: The epoch that the server knows.
    """

    summary = (
        "another producer has this id and a newer epoch, or has used this epoch already; "
        "give each running producer an id of its own, and each start a new epoch"
    )

    def __init__(
        self,
        url: str,
        detail: str = "",
        *,
        status: int | None = None,
        offset: str | None = None,
        epoch: int | None = None,
    ) -> None:
        super().__init__(url, detail, status=status, offset=offset)
        self.epoch = epoch


class StreamRefused(StreamError):
    """The server refused the request, and would again."""

    summary = "the server refused the request"


class StreamUnreachable(StreamError):
    """No usable answer within `Timing.give_up_after`."""

    summary = "no usable answer from the server"


class AppendUncertain(StreamError):
    """The connection broke after the append was sent: it is in the stream, or it is not.

    It was not sent again, which might have appended it twice. An `IdempotentProducer` can.
    """

    summary = (
        "the connection broke while appending, so the data is in the stream, or is not; "
        "IdempotentProducer repeats appends safely"
    )


class StreamProtocolError(StreamError):
    """What answered does not speak the Durable Streams protocol, or contradicts itself."""

    summary = (
        "the answer is none of the Durable Streams protocol; check that the address is a "
        "stream's, and that nothing in between answers in the server's place"
    )
