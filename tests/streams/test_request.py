"""What a request may say, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server import Append, Create, Producer
from durable_streams_server._model import EARLIEST
from durable_streams_server._request import (
    MAX_SAFE_INTEGER,
    MAX_TTL_SECONDS,
    Live,
    ReadRequest,
    RequestError,
    header,
    parse_append,
    parse_create,
    parse_headers,
    parse_read,
)
from durable_transport.protocol import MAX_POSITION, ErrorCode, format_offset

TEXT = {b"content-type": b"text/plain"}
JSON = {b"content-type": b"application/json"}


def _refused(error: pytest.ExceptionInfo[RequestError]) -> ErrorCode:
    assert error.value.message
    assert str(error.value) == f"{error.value.code}: {error.value.message}"
    return error.value.code


# --------------------------------------------------------------------------- headers


def test_repeated_headers_are_joined() -> None:
    headers = parse_headers([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert headers == {b"a": b"1, 3", b"b": b"2"}
    assert header(headers, b"a") == "1, 3"
    assert header(headers, b"c") is None


# --------------------------------------------------------------------------- reads

OFFSET = format_offset(42).encode()


@pytest.mark.parametrize(
    ("query", "position", "live"),
    [
        (b"", EARLIEST, None),
        (b"offset=-1", EARLIEST, None),
        (b"offset=now", None, None),
        (b"offset=" + OFFSET, 42, None),
        (b"offset=%30" + OFFSET[1:], 42, None),
        (b"offset=" + format_offset(MAX_POSITION).encode(), MAX_POSITION, None),
        (b"offset=-1&live=long-poll", EARLIEST, Live.LONG_POLL),
        (b"live=sse&offset=now", None, Live.SSE),
        (b"live=raw&offset=" + OFFSET, 42, Live.RAW),
        (b"other=1&offset=-1&another", EARLIEST, None),
    ],
)
def test_good_reads(query: bytes, position: int | None, live: Live | None) -> None:
    assert parse_read(query, {}) == ReadRequest(position, live, None, None)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"offset=", ErrorCode.INVALID_OFFSET),
        (b"offset", ErrorCode.INVALID_OFFSET),
        (b"offset=0", ErrorCode.INVALID_OFFSET),
        (b"offset=-2", ErrorCode.INVALID_OFFSET),
        (b"offset=42", ErrorCode.INVALID_OFFSET),
        (b"offset=NOW", ErrorCode.INVALID_OFFSET),
        (b"offset=0" + OFFSET, ErrorCode.INVALID_OFFSET),
        (b"offset=+" + OFFSET[1:], ErrorCode.INVALID_OFFSET),
        (b"offset=" + OFFSET[:-1] + b"x", ErrorCode.INVALID_OFFSET),
        (b"offset=" + str(MAX_POSITION + 1).zfill(20).encode(), ErrorCode.INVALID_OFFSET),
        (b"offset=" + b"9" * 20, ErrorCode.INVALID_OFFSET),
        (b"offset=" + "٣".encode() * 10, ErrorCode.INVALID_OFFSET),
        (b"offset=%D9%A3" * 2 + OFFSET[2:], ErrorCode.INVALID_OFFSET),
        (b"offset=%00", ErrorCode.INVALID_OFFSET),
        (b"offset=../etc", ErrorCode.INVALID_OFFSET),
        (b"offset=" + OFFSET + b"," + OFFSET, ErrorCode.INVALID_OFFSET),
        (b"offset=-1&offset=-1", ErrorCode.INVALID_OFFSET),
        (b"live=sse", ErrorCode.INVALID_OFFSET),
        (b"live=long-poll", ErrorCode.INVALID_OFFSET),
        (b"live=raw", ErrorCode.INVALID_OFFSET),
        (b"offset=-1&live=", ErrorCode.BAD_REQUEST),
        (b"offset=-1&live=SSE", ErrorCode.BAD_REQUEST),
        (b"offset=-1&live=true", ErrorCode.BAD_REQUEST),
        (b"&".join([b"x=1"] * 500), ErrorCode.BAD_REQUEST),
    ],
)
def test_bad_reads(query: bytes, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as error:
        parse_read(query, {})
    assert _refused(error) is code


def test_a_read_takes_cursor_and_etag_along() -> None:
    request = parse_read(b"offset=-1&live=sse&cursor=7", {b"if-none-match": b' "x" '})
    assert (request.cursor, request.if_none_match) == ("7", '"x"')


@given(st.binary(max_size=60))
def test_no_query_is_a_surprise(query: bytes) -> None:
    try:
        request = parse_read(query, {})
    except RequestError:
        return
    assert request.position in (None, EARLIEST) or 0 <= request.position <= MAX_POSITION


# --------------------------------------------------------------------------- creating


def test_a_bare_create() -> None:
    assert parse_create("p", {}, b"") == Create("p")


def test_a_full_create() -> None:
    headers = {**JSON, b"stream-ttl": b"60", b"stream-closed": b"True"}
    create = parse_create("p", headers, b"[1, 2]")
    assert create == Create("p", "application/json", b"1, 2,", closed=True, ttl_seconds=60)


def test_a_create_with_an_empty_array_has_no_bytes() -> None:
    assert parse_create("p", JSON, b"[]").data == b""


@pytest.mark.parametrize("value", ["0", "1", "3600", str(MAX_TTL_SECONDS)])
def test_good_lifetimes(value: str) -> None:
    assert parse_create("p", {b"stream-ttl": value.encode()}, b"").ttl_seconds == int(value)


@pytest.mark.parametrize(
    "value",
    [
        "", "00", "01", "03600", "+1", "-1", "1.0", "1.", "3.6e3", "1e3", "0x10", "1_000", "1 0",
        "1,1", "ten", "\xb2", "1s", "9" * 17, str(MAX_TTL_SECONDS + 1),
    ],
)  # fmt: skip
def test_bad_lifetimes(value: str) -> None:
    with pytest.raises(RequestError) as error:
        parse_create("p", {b"stream-ttl": value.encode("latin-1")}, b"")
    assert _refused(error) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-01T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01t00:00:00z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01 00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T00:00:00.25Z", datetime(2030, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        ("2030-01-01T02:00:00+02:00", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2029-12-31T19:30:00-04:30", datetime(2030, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_good_expiry_times(text: str, expected: datetime) -> None:
    create = parse_create("p", {b"stream-expires-at": text.encode()}, b"")
    assert create.expires_at == expected.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "", "never", "1893456000", "2030-01-01", "2030-01-01T00:00:00", "20300101T000000Z",
        "2030-01-01T00:00Z", "2030-02-30T00:00:00Z", "2030-13-01T00:00:00Z",
        "2030-01-01T24:01:00Z", "2030-01-01T00:00:00+0200", "2030-01-01T00:00:00.Z",
        "2030-01-01T00:00:00+99:00", "Tue, 01 Jan 2030 00:00:00 GMT", "+2030-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z", "2030-01-01T00:00:00Z, 2031-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "٢٠٣٠-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_bad_expiry_times(text: str) -> None:
    with pytest.raises(RequestError) as error:
        parse_create("p", {b"stream-expires-at": text.encode()}, b"")
    assert _refused(error) is ErrorCode.BAD_REQUEST


def test_two_lifetimes_at_once() -> None:
    headers = {b"stream-ttl": b"1", b"stream-expires-at": b"2030-01-01T00:00:00Z"}
    with pytest.raises(RequestError) as error:
        parse_create("p", headers, b"")
    assert _refused(error) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "value", ["text/plain", "text/plain; charset=utf-8", "application/vnd.x+json", "a/b;c=d", "A/B"]
)
def test_good_content_types(value: str) -> None:
    headers = {b"content-type": value.encode()}
    assert parse_create("p", headers, b"").content_type == value
    assert parse_append("p", headers, b"{}").content_type == value


@pytest.mark.parametrize(
    "value",
    ["json", "text", "/", "text/", "/plain", "text /plain", "té/x", "text/plain junk", "a/b, c/d"],
)
def test_bad_content_types(value: str) -> None:
    headers = {b"content-type": value.encode("latin-1")}
    for parse in (parse_create, parse_append):
        with pytest.raises(RequestError) as error:
            parse("p", headers, b"x")
        assert _refused(error) is ErrorCode.BAD_REQUEST


# --------------------------------------------------------------------------- appending


def test_a_plain_append() -> None:
    assert parse_append("p", TEXT, b"\x00x") == Append("p", b"\x00x", content_type="text/plain")


def test_an_append_with_everything() -> None:
    headers = {
        **JSON,
        b"stream-seq": b"0001",
        b"stream-closed": b"true",
        b"producer-id": b"p 1",
        b"producer-epoch": b"0",
        b"producer-seq": str(MAX_SAFE_INTEGER).encode(),
    }
    producer = Producer("p 1", 0, MAX_SAFE_INTEGER)
    assert parse_append("p", headers, b"[[1],2]") == Append(
        "p", b"[1],2,", "application/json", close=True, seq="0001", producer=producer
    )


def test_a_close_needs_nothing_else() -> None:
    close = Append("p", close=True)
    assert parse_append("p", {b"stream-closed": b"TRUE"}, b"") == close
    nonsense = {b"stream-closed": b"true", b"content-type": b"nonsense"}
    assert parse_append("p", nonsense, b"") == close


@pytest.mark.parametrize("value", [b"false", b"yes", b"1", b"", b"true, true", b"t"])
def test_anything_but_true_does_not_close(value: bytes) -> None:
    headers = {**TEXT, b"stream-closed": value}
    assert parse_append("p", headers, b"x").close is False
    assert parse_create("p", headers, b"x").closed is False


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        (TEXT, b"", ErrorCode.EMPTY_BODY),
        ({**TEXT, b"stream-closed": b"1"}, b"", ErrorCode.EMPTY_BODY),
        ({}, b"x", ErrorCode.BAD_REQUEST),
        ({b"content-type": b""}, b"x", ErrorCode.BAD_REQUEST),
        (JSON, b"[]", ErrorCode.EMPTY_BODY),
        ({**JSON, b"stream-closed": b"true"}, b" [ ] ", ErrorCode.EMPTY_BODY),
        (JSON, b"{", ErrorCode.INVALID_JSON),
        (JSON, b" ", ErrorCode.INVALID_JSON),
        ({b"content-type": b"application/JSON; q=1"}, b"x", ErrorCode.INVALID_JSON),
    ],
)
def test_bad_appends(headers: dict[bytes, bytes], body: bytes, code: ErrorCode) -> None:
    with pytest.raises(RequestError) as error:
        parse_append("p", headers, body)
    assert _refused(error) is code


def test_bad_json_creates_nothing() -> None:
    with pytest.raises(RequestError) as error:
        parse_create("p", JSON, b"{")
    assert _refused(error) is ErrorCode.INVALID_JSON


@pytest.mark.parametrize("missing", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_producer_headers_come_together(missing: tuple[int, ...]) -> None:
    full = [(b"producer-id", b"p"), (b"producer-epoch", b"0"), (b"producer-seq", b"0")]
    present = dict(one for index, one in enumerate(full) if index not in missing)
    with pytest.raises(RequestError) as error:
        parse_append("p", {**TEXT, **present}, b"x")
    assert _refused(error) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("id_", "epoch", "seq"),
    [
        ("", "0", "0"),
        ("p" * 1025, "0", "0"),
        *[
            ("p", *pair)
            for value in ("", "-1", "+1", "01", "1.0", "1e3", "x", "0x1", str(2**53), "9" * 20)
            for pair in ((value, "0"), ("0", value))
        ],
    ],
)
def test_bad_producers(id_: str, epoch: str, seq: str) -> None:
    producer = {
        b"producer-id": id_.encode(),
        b"producer-epoch": epoch.encode(),
        b"producer-seq": seq.encode(),
    }
    with pytest.raises(RequestError) as error:
        parse_append("p", {**TEXT, **producer}, b"x")
    assert _refused(error) is ErrorCode.BAD_REQUEST
