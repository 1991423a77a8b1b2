"""Answers of the Durable Streams surface: from outcome to status, headers and body. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import assert_never

from durable_streams_server._errors import (
    LogClosedError,
    LogError,
    OffsetGoneError,
    OffsetOutOfRangeError,
    StoreFullError,
    StreamGoneError,
    StreamNotFoundError,
)
from durable_streams_server._json_mode import is_json, json_array
from durable_streams_server._model import (
    Appended,
    Chunk,
    ConfigMismatch,
    ContentTypeMismatch,
    Created,
    Deleted,
    Duplicate,
    EpochNotAtZero,
    Exists,
    ForkOutOfRange,
    ForkSourceGone,
    Gone,
    Noted,
    NotFound,
    NotOwner,
    Outcome,
    Outdated,
    Producer,
    Refused,
    SequenceConflict,
    SequenceGap,
    StaleEpoch,
    StreamClosed,
    StreamInfo,
)
from durable_transport.protocol import ErrorCode, StreamHeader, format_offset

STATUS: dict[ErrorCode, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.INVALID_OFFSET: 400,
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.EMPTY_BODY: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.STALE_EPOCH: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.STREAM_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.STREAM_EXISTS: 409,
    ErrorCode.FORK_SOURCE_GONE: 409,
    ErrorCode.FORK_OUT_OF_RANGE: 400,
    ErrorCode.STREAM_GONE: 410,
    ErrorCode.OFFSET_GONE: 410,
    ErrorCode.STREAM_CLOSED: 409,
    ErrorCode.CONTENT_TYPE_MISMATCH: 409,
    ErrorCode.SEQUENCE_CONFLICT: 409,
    ErrorCode.PRODUCER_GAP: 409,
    ErrorCode.STREAM_OWNED: 409,
    ErrorCode.BODY_TOO_LARGE: 413,
    ErrorCode.OFFSET_OUT_OF_RANGE: 416,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.INTERNAL: 500,
    ErrorCode.STORAGE_UNAVAILABLE: 503,
    ErrorCode.SHUTTING_DOWN: 503,
}
"""The one table from error code to HTTP status of this surface."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
READ_METHODS = ("GET", "HEAD", "OPTIONS")

CATCH_UP_CACHE = b"private, max-age=60, stale-while-revalidate=300"
REVALIDATE = b"private, no-cache"
NO_STORE = b"no-store"
LIVE_CACHE = b"no-cache, no-transform"

_EXPOSED = ", ".join([*StreamHeader, "ETag", "Location", "Content-Type", "Retry-After"])
CORS_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", _EXPOSED.lower().encode()),
)
"""On every answer, errors included, of a surface that pages of any origin may use."""
BASE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)

_NEXT_OFFSET = StreamHeader.NEXT_OFFSET.lower().encode()

HeaderList = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """A response without the headers that every response carries."""

    status: int
    headers: HeaderList = field(default_factory=list)
    body: bytes = b""

    def all_headers(self, *, length: bool = True) -> HeaderList:
        """The headers as they are sent; ``length=False`` for a body that is still growing."""
        return [*BASE_HEADERS, *self.own_headers(length=length)]

    def own_headers(self, *, length: bool = True) -> HeaderList:
        """Those that not every answer of this surface has."""
        if length and self.status not in (204, 304):
            return [*self.headers, (b"content-length", b"%d" % len(self.body))]
        return self.headers

    def add(self, name: str, value: str) -> None:
        """Append a header field."""
        self.headers.append((name.lower().encode("ascii"), value.encode("latin-1")))


def refusal(code: ErrorCode, message: str) -> Answer:
    """The JSON error of a refused request."""
    answer = of_json({"error": {"code": code, "message": message}}, STATUS[code])
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.add("Retry-After", "1")
    return answer


def of_json(body: object, status: int = 200) -> Answer:
    """JSON about this moment, which nobody is to keep."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", NO_STORE)]
    return Answer(status, headers, json.dumps(body).encode())


def preflight(methods: Iterable[str]) -> Answer:
    """The answer to a page of another origin that asks whether it may use these methods."""
    answer = Answer(204)
    answer.add("Access-Control-Allow-Methods", ", ".join(methods))
    answer.add(
        "Access-Control-Allow-Headers",
        ", ".join(["Content-Type", "Authorization", "If-None-Match", *StreamHeader]),
    )
    answer.add("Access-Control-Max-Age", "86400")
    return answer


def of_outcome(outcome: Outcome, location: str) -> Answer:
    """What a write came to. ``location`` is the URL of the stream."""
    match outcome:
        case Appended(stream, start, end, producer):
            # 200 tells a producer that its batch is new; a close without bytes is none.
            answer = _positioned(200 if producer is not None and end > start else 204, stream)
            _add_producer(answer, producer)
            return answer
        case Created(stream):
            answer = _configured(201, stream)
            answer.add("Location", location)
            return answer
        case Exists(stream):
            return _configured(200, stream)
        case Duplicate(stream, producer):
            answer = _positioned(204, stream)
            _add_producer(answer, producer)
            return answer
        case Deleted() | Noted():
            return Answer(204)
        case _:
            return _of_refused(outcome)


def _of_refused(outcome: Refused) -> Answer:  # noqa: C901, PLR0911, PLR0912 - one arm per outcome
    match outcome:
        case NotFound():
            return refusal(ErrorCode.STREAM_NOT_FOUND, "there is no stream here")
        case Gone():
            return refusal(ErrorCode.STREAM_GONE, "the stream was deleted")
        case ForkSourceGone():
            return refusal(ErrorCode.FORK_SOURCE_GONE, "the stream to fork was deleted")
        case ForkOutOfRange(stream):
            return refusal(
                ErrorCode.FORK_OUT_OF_RANGE,
                f"the stream to fork has the offsets {format_offset(stream.start)} to"
                f" {format_offset(stream.tail)}",
            )
        case ConfigMismatch():
            return refusal(
                ErrorCode.STREAM_EXISTS,
                "a stream with another content type, lifetime or closure is here already",
            )
        case StreamClosed(stream):
            return _at_tail(refusal(ErrorCode.STREAM_CLOSED, "the stream is closed"), stream)
        case ContentTypeMismatch(stream):
            return refusal(
                ErrorCode.CONTENT_TYPE_MISMATCH, f"the stream holds {stream.content_type}"
            )
        case SequenceConflict(stream):
            return refusal(
                ErrorCode.SEQUENCE_CONFLICT,
                f"Stream-Seq has to be greater than {stream.seq!r}, compared byte by byte",
            )
        case StaleEpoch(current):
            answer = refusal(
                ErrorCode.STALE_EPOCH, f"a newer producer with epoch {current} has taken over"
            )
            answer.add(StreamHeader.PRODUCER_EPOCH, str(current))
            return answer
        case EpochNotAtZero():
            return refusal(ErrorCode.BAD_REQUEST, "a new epoch starts with Producer-Seq 0")
        case SequenceGap(expected, received):
            answer = refusal(
                ErrorCode.PRODUCER_GAP, f"batch {expected} has to come before batch {received}"
            )
            answer.add(StreamHeader.PRODUCER_EXPECTED_SEQ, str(expected))
            answer.add(StreamHeader.PRODUCER_RECEIVED_SEQ, str(received))
            return answer
        case NotOwner():
            return refusal(
                ErrorCode.STREAM_OWNED, "the stream is being written by a node that owns it"
            )
        case Outdated():
            # No request says what it expects: nobody is told this over HTTP.
            return refusal(ErrorCode.STREAM_EXISTS, "the stream has changed meanwhile")
        case _:
            assert_never(outcome)


def of_error(error: LogError) -> Answer:  # noqa: PLR0911 - one arm per error
    """What could not be done at all. Nothing of a store's own words goes out."""
    match error:
        case StreamNotFoundError():
            return refusal(ErrorCode.STREAM_NOT_FOUND, "there is no stream here")
        case StreamGoneError():
            return refusal(ErrorCode.STREAM_GONE, "the stream was deleted")
        case OffsetGoneError(start=start):
            answer = refusal(
                ErrorCode.OFFSET_GONE,
                "the bytes at this offset are not kept any more: go on at the earliest offset,"
                " or at -1",
            )
            answer.add(StreamHeader.EARLIEST_OFFSET, format_offset(start))
            return answer
        case OffsetOutOfRangeError():
            answer = refusal(ErrorCode.OFFSET_OUT_OF_RANGE, str(error))
            answer.add(StreamHeader.NEXT_OFFSET, format_offset(error.tail))
            return answer
        case LogClosedError():
            return refusal(ErrorCode.SHUTTING_DOWN, "the server is shutting down; try again")
        case StoreFullError():
            return refusal(ErrorCode.STORAGE_UNAVAILABLE, str(error))
        case _:
            return refusal(ErrorCode.STORAGE_UNAVAILABLE, "the store failed; try again later")


def _configured(status: int, stream: StreamInfo) -> Answer:
    answer = _positioned(status, stream)
    answer.add("Content-Type", stream.content_type)
    return answer


def _positioned(status: int, stream: StreamInfo) -> Answer:
    return _at_tail(Answer(status), stream)


def _at_tail(answer: Answer, stream: StreamInfo) -> Answer:
    answer.headers.append((_NEXT_OFFSET, format_offset(stream.tail).encode()))
    if stream.closed:
        answer.add(StreamHeader.CLOSED, "true")
    return answer


def _add_producer(answer: Answer, producer: Producer | None) -> None:
    if producer is not None:
        answer.add(StreamHeader.PRODUCER_EPOCH, str(producer.epoch))
        answer.add(StreamHeader.PRODUCER_SEQ, str(producer.seq))


def of_stat(stream: StreamInfo) -> Answer:
    """The answer to HEAD (PROTOCOL section 5.5)."""
    answer = _configured(200, stream)
    answer.headers.append((b"cache-control", NO_STORE))
    if stream.ttl_seconds is not None:
        answer.add(StreamHeader.TTL, str(stream.ttl_seconds))
    if stream.expires_at is not None:
        expires_at = datetime.fromtimestamp(stream.expires_at, UTC).isoformat()
        answer.add(StreamHeader.EXPIRES_AT, expires_at.replace("+00:00", "Z"))
    if stream.retain_bytes is not None:
        answer.add(StreamHeader.RETAIN_BYTES, str(stream.retain_bytes))
    if stream.retain_seconds is not None:
        answer.add(StreamHeader.RETAIN_SECONDS, str(stream.retain_seconds))
    if stream.start:
        answer.add(StreamHeader.EARLIEST_OFFSET, format_offset(stream.start))
    return answer


def etag(chunk: Chunk) -> str:
    """Changes with the incarnation, the range and the closure (PROTOCOL section 10.1)."""
    closed = ":c" if chunk.closed else ""
    return f'"{chunk.stream.id}:{chunk.start}:{chunk.end}{closed}"'


def of_chunk(
    chunk: Chunk, *, if_none_match: str | None, cursor: str | None, replaceable: bool = False
) -> Answer:
    """The answer to a catch-up read, or to a long-poll that has something to say.

    Args:
        chunk: What was read.
        if_none_match: The ETags that the client holds.
        cursor: For a live answer.
        replaceable: The stream may be deleted and created again: caches have to ask.
    """
    tag = etag(chunk)
    if if_none_match is not None and _matches(if_none_match, tag):
        answer = Answer(304)
    else:
        data, content_type = chunk.data, chunk.stream.content_type
        answer = Answer(200, body=json_array(data) if is_json(content_type) else data)
        answer.add("Content-Type", content_type)
    answer.add("ETag", tag)
    answer.headers.append((b"cache-control", _cache_control(chunk, replaceable=replaceable)))
    return _at_chunk(answer, chunk, cursor)


def _cache_control(chunk: Chunk, *, replaceable: bool) -> bytes:
    # An empty answer at an open tail is true for a moment only; bytes at a position stay what
    # they are for as long as the stream is there.
    if not chunk.data and not chunk.closed:
        return NO_STORE
    mortal = chunk.stream.ttl_seconds is not None or chunk.stream.expires_at is not None
    return REVALIDATE if mortal or replaceable else CATCH_UP_CACHE


def of_now(chunk: Chunk) -> Answer:
    """The answer to ``offset=now`` without a live mode: where the tail is (PROTOCOL section 8)."""
    body = b"[]" if is_json(chunk.stream.content_type) else b""
    answer = Answer(200, [(b"cache-control", NO_STORE)], body)
    answer.add("Content-Type", chunk.stream.content_type)
    return _at_chunk(answer, chunk, cursor=None)


def of_quiet_poll(chunk: Chunk, cursor: str) -> Answer:
    """The answer to a long-poll that saw nothing new (PROTOCOL section 5.7)."""
    return _at_chunk(Answer(204, [(b"cache-control", NO_STORE)]), chunk, cursor)


def of_event_stream(*, base64: bool) -> Answer:
    """The head of an SSE answer."""
    answer = _live("text/event-stream")
    if base64:
        answer.add(StreamHeader.SSE_DATA_ENCODING, "base64")
    return answer


def of_raw(stream: StreamInfo, position: int) -> Answer:
    """The head of a raw live answer: wire bytes from ``position``, no framing.

    An end of the body says nothing. The client goes on from ``position`` plus what it received;
    ``Stream-Closed`` on an answer without a body says that nothing follows.
    """
    answer = _live(stream.content_type)
    answer.add(StreamHeader.NEXT_OFFSET, format_offset(position))
    if stream.closed and position == stream.tail:
        answer.add(StreamHeader.CLOSED, "true")
    return answer


def _live(content_type: str) -> Answer:
    answer = Answer(200, [(b"cache-control", LIVE_CACHE), (b"x-accel-buffering", b"no")])
    answer.add("Content-Type", content_type)
    return answer


def _at_chunk(answer: Answer, chunk: Chunk, cursor: str | None) -> Answer:
    answer.add(StreamHeader.NEXT_OFFSET, format_offset(chunk.end))
    if chunk.up_to_date:
        answer.add(StreamHeader.UP_TO_DATE, "true")
    if chunk.closed:
        answer.add(StreamHeader.CLOSED, "true")
    elif cursor is not None:
        answer.add(StreamHeader.CURSOR, cursor)
    return answer


def _matches(if_none_match: str, tag: str) -> bool:
    candidates = (candidate.strip() for candidate in if_none_match.split(","))
    return any(candidate.removeprefix("W/") in ("*", tag) for candidate in candidates)
