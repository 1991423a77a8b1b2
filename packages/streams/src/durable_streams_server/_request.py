"""Reading the requests of the Durable Streams protocol. Pure.

Everything a request says is checked here, once; what comes out needs no more checking.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qsl

from durable_streams_server._json_mode import InvalidJsonError, is_json, json_body_records
from durable_streams_server._model import (
    DEFAULT_CONTENT_TYPE,
    EARLIEST,
    Append,
    Create,
    Producer,
)
from durable_transport.protocol import (
    BEGINNING,
    NOW,
    ErrorCode,
    InvalidOffsetError,
    StreamHeader,
    parse_offset,
)

MAX_PRODUCER_ID = 1024
"""Characters; the index of a database has to hold it."""
MAX_SAFE_INTEGER = 2**53 - 1
MAX_TTL_SECONDS = 100 * 365 * 24 * 3600

_INTEGER = re.compile(r"0|[1-9][0-9]{0,15}")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_TTL, _EXPIRES_AT, _SEQ, _CLOSED, _PRODUCER_ID, _PRODUCER_EPOCH, _PRODUCER_SEQ = (
    name.lower().encode()
    for name in (
        StreamHeader.TTL,
        StreamHeader.EXPIRES_AT,
        StreamHeader.SEQ,
        StreamHeader.CLOSED,
        StreamHeader.PRODUCER_ID,
        StreamHeader.PRODUCER_EPOCH,
        StreamHeader.PRODUCER_SEQ,
    )
)

_PRODUCER_FIELDS = frozenset({_PRODUCER_ID, _PRODUCER_EPOCH, _PRODUCER_SEQ})
_APPEND_FIELDS = _PRODUCER_FIELDS | {_CLOSED, _SEQ}

_FORKED_FROM, _FORK_OFFSET, _FORK_SUB_OFFSET = (
    name.lower().encode()
    for name in (
        StreamHeader.FORKED_FROM,
        StreamHeader.FORK_OFFSET,
        StreamHeader.FORK_SUB_OFFSET,
    )
)

Headers = dict[bytes, bytes]
"""Header fields by lower-case name."""


class RequestError(Exception):
    """The request cannot be carried out as it stands.

    Attributes:
        code: Stable code; the status follows from it.
        message: What is wrong and how to mend it.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Live(StrEnum):
    """Modes of a live read. ``raw`` is an extension: plain bytes, no framing."""

    LONG_POLL = "long-poll"
    SSE = "sse"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One GET.

    Attributes:
        position: Where to begin; None is the tail, `EARLIEST` wherever the stream begins.
        live: None for a catch-up read.
    """

    position: int | None
    live: Live | None
    cursor: str | None
    if_none_match: str | None


def parse_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Header fields by lower-case name; repeated ones are joined as RFC 9110 section 5.3 says."""
    headers: Headers = {}
    for name, value in raw:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def check_size(headers: Headers, limit: int) -> None:
    """Raise `RequestError` when names and values are larger than ``limit`` bytes together."""
    if sum(map(len, headers)) + sum(map(len, headers.values())) > limit:
        raise RequestError(
            ErrorCode.HEADERS_TOO_LARGE, f"the header fields are larger than {limit} bytes together"
        )


def header(headers: Headers, name: bytes) -> str | None:
    """One header field as text, or None; ``name`` in lower case."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").strip()


def parse_read(query: bytes, headers: Headers) -> ReadRequest:
    """Read a GET (PROTOCOL sections 5.6 to 5.8).

    Raises:
        RequestError: a malformed or repeated offset, an unknown mode, a live read without offset,
            or a query of very many fields.
    """
    try:
        fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise RequestError(ErrorCode.BAD_REQUEST, "the query has too many fields") from error
    offsets = [value for name, value in fields if name == "offset"]
    parameters = dict(fields)
    if len(offsets) > 1:
        raise RequestError(ErrorCode.INVALID_OFFSET, "send one offset parameter, not several")
    live = _parse_live(parameters.get("live"))
    if live is not None and not offsets:
        raise RequestError(
            ErrorCode.INVALID_OFFSET, f"live={live} needs an offset: -1 for the beginning, or now"
        )
    try:
        position = _parse_position(offsets[0] if offsets else BEGINNING)
    except InvalidOffsetError as error:
        raise RequestError(ErrorCode.INVALID_OFFSET, str(error)) from error
    return ReadRequest(position, live, parameters.get("cursor"), header(headers, b"if-none-match"))


def _parse_position(text: str) -> int | None:
    if text == BEGINNING:
        return EARLIEST
    return None if text == NOW else parse_offset(text)


def _parse_live(value: str | None) -> Live | None:
    if value is None:
        return None
    try:
        return Live(value)
    except ValueError as error:
        modes = ", ".join(Live)
        raise RequestError(
            ErrorCode.BAD_REQUEST, f"live={value[:40]!r} is not a mode: use one of {modes}"
        ) from error


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """The fork headers of a PUT (PROTOCOL section 4.2).

    Attributes:
        source: The source's URL path as it was sent.
        position: Where to branch off; None is the source's tail.
        sub_offset: How much more to inherit: messages in JSON mode, bytes otherwise.
    """

    source: str
    position: int | None
    sub_offset: int


def parse_fork(headers: Headers) -> ForkRequest | None:
    """Read the fork headers of a PUT; None when it creates a plain stream.

    Raises:
        RequestError: a malformed header, or one of them without those it needs.
    """
    source, offset = header(headers, _FORKED_FROM), header(headers, _FORK_OFFSET)
    sub_offset = header(headers, _FORK_SUB_OFFSET)
    if source is None:
        if offset is not None or sub_offset is not None:
            raise RequestError(
                ErrorCode.BAD_REQUEST,
                "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From",
            )
        return None
    if sub_offset is not None and not _INTEGER.fullmatch(sub_offset):
        raise RequestError(
            ErrorCode.BAD_REQUEST, "Stream-Fork-Sub-Offset is a whole number, 0 or more"
        )
    if sub_offset not in (None, "0") and offset is None:
        raise RequestError(
            ErrorCode.BAD_REQUEST,
            "Stream-Fork-Sub-Offset counts from Stream-Fork-Offset: send both",
        )
    return ForkRequest(source, _parse_fork_offset(offset), int(sub_offset or 0))


def _parse_fork_offset(text: str | None) -> int | None:
    if text is None:
        return None
    # The beginning of a stream is all zeros in every server's spelling of offsets, and clients
    # know it without having been told.
    if text == BEGINNING or (text and not text.strip("0_")):
        return 0
    try:
        return _parse_position(text)
    except InvalidOffsetError as error:
        raise RequestError(ErrorCode.INVALID_OFFSET, str(error)) from error


def parse_create(
    path: str, headers: Headers, body: bytes, default_type: str = DEFAULT_CONTENT_TYPE
) -> Create:
    """Read a PUT but for its fork headers (PROTOCOL section 5.1).

    Args:
        path: Name of the stream.
        headers: Of the request.
        body: The first bytes of the stream, as the client sends them.
        default_type: What the body is when the request does not say.

    Raises:
        RequestError: a malformed header, both lifetimes at once, or a body that is not JSON.
    """
    content_type = _content_type(headers)
    ttl, expires_at = header(headers, _TTL), header(headers, _EXPIRES_AT)
    if ttl is not None and expires_at is not None:
        raise RequestError(ErrorCode.BAD_REQUEST, "send Stream-TTL or Stream-Expires-At, not both")
    return Create(
        path=path,
        content_type=content_type,
        data=_wire_bytes(body, content_type or default_type) if body else b"",
        closed=_is_closing(headers),
        ttl_seconds=None if ttl is None else _parse_ttl(ttl),
        expires_at=None if expires_at is None else _parse_expires_at(expires_at),
        retain_bytes=_parse_retention(headers, StreamHeader.RETAIN_BYTES),
        retain_seconds=_parse_retention(headers, StreamHeader.RETAIN_SECONDS),
    )


def parse_append(path: str, headers: Headers, body: bytes) -> Append:
    """Read a POST (PROTOCOL sections 5.2 and 5.3).

    The body is still the client's: whether it is JSON follows from the stream, so the content
    type is what decides, and it is compared with the stream's by the log.

    Raises:
        RequestError: an empty body without a close, a missing content type, malformed producer
            headers, or a body that is not JSON.
    """
    usual = _APPEND_FIELDS.isdisjoint(headers)
    close, producer = (False, None) if usual else (_is_closing(headers), _parse_producer(headers))
    if not body:
        if not close:
            raise RequestError(
                ErrorCode.EMPTY_BODY,
                "an append needs a body; to close the stream send Stream-Closed: true",
            )
        return Append(path, close=True, producer=producer)
    content_type = _content_type(headers)
    if content_type is None:
        raise RequestError(
            ErrorCode.BAD_REQUEST, "an append with a body needs the stream's Content-Type"
        )
    data = _wire_bytes(body, content_type)
    if not data:
        raise RequestError(ErrorCode.EMPTY_BODY, "an empty JSON array appends nothing")
    if usual:
        return Append(path, data, content_type)
    return Append(
        path,
        data,
        content_type=content_type,
        close=close,
        seq=header(headers, _SEQ),
        producer=producer,
    )


def _wire_bytes(body: bytes, content_type: str) -> bytes:
    if not is_json(content_type):
        return body
    try:
        return json_body_records(body)
    except InvalidJsonError as error:
        raise RequestError(ErrorCode.INVALID_JSON, str(error)) from error


def _content_type(headers: Headers) -> str | None:
    value = headers.get(b"content-type")
    return None if not value else _media_type(value)


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str | None:
    text = value.decode("latin-1").strip()
    if text and not _MEDIA_TYPE.fullmatch(text):
        raise RequestError(ErrorCode.BAD_REQUEST, "Content-Type is not a media type")
    return text or None


def _is_closing(headers: Headers) -> bool:
    value = header(headers, _CLOSED)
    return value is not None and value.lower() == "true"


def _parse_ttl(text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > MAX_TTL_SECONDS:
        raise RequestError(
            ErrorCode.BAD_REQUEST,
            f"Stream-TTL is a whole number of seconds without sign, zero padding or decimals,"
            f" {MAX_TTL_SECONDS} at most",
        )
    return int(text)


def _parse_retention(headers: Headers, name: str) -> int | None:
    text = header(headers, name.lower().encode())
    if text is None:
        return None
    if not _INTEGER.fullmatch(text) or not 0 < int(text) <= MAX_SAFE_INTEGER:
        raise RequestError(ErrorCode.BAD_REQUEST, f"{name} is a whole number from 1 on")
    return int(text)


def _parse_expires_at(text: str) -> float:
    try:
        if _RFC3339.fullmatch(text):
            # In UTC, because that is how it is told: a zone can carry it out of the calendar.
            return datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        pass  # a date that does not exist: the same mistake, the same message
    raise RequestError(
        ErrorCode.BAD_REQUEST,
        "Stream-Expires-At is an RFC 3339 time with a time zone, such as 2030-01-01T00:00:00Z",
    )


def _parse_producer(headers: Headers) -> Producer | None:
    if headers.keys().isdisjoint(_PRODUCER_FIELDS):
        return None
    id_ = header(headers, _PRODUCER_ID)
    epoch = header(headers, _PRODUCER_EPOCH)
    seq = header(headers, _PRODUCER_SEQ)
    if not id_ or epoch is None or seq is None:
        raise RequestError(
            ErrorCode.BAD_REQUEST,
            "send Producer-Id (not empty), Producer-Epoch and Producer-Seq together, or none",
        )
    if len(id_) > MAX_PRODUCER_ID:
        raise RequestError(
            ErrorCode.BAD_REQUEST, f"Producer-Id has at most {MAX_PRODUCER_ID} characters"
        )
    return Producer(
        id_,
        _producer_integer(StreamHeader.PRODUCER_EPOCH, epoch),
        _producer_integer(StreamHeader.PRODUCER_SEQ, seq),
    )


def _producer_integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > MAX_SAFE_INTEGER:
        raise RequestError(
            ErrorCode.BAD_REQUEST, f"{name} is a whole number from 0 to {MAX_SAFE_INTEGER}"
        )
    return int(text)
