"""Every outcome and every error has one answer."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, get_args

import pytest

import durable_streams_server
from durable_streams_server import (
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
    SequenceConflict,
    SequenceGap,
    StaleEpoch,
    StreamClosed,
)
from durable_streams_server import _answer as render
from durable_streams_server._answer import Answer
from durable_transport.protocol import ErrorCode, StreamHeader, format_offset
from streams.builders import NOW, chunk, stream

ROOT = Path(durable_streams_server.__file__).parent
OPEN, CLOSED = stream(tail=7), stream(tail=7, closed=True)
BY = Producer("p", 2, 5)


def _headers(answer: Answer) -> dict[str, str]:
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in answer.all_headers()]
    assert len(dict(pairs)) == len(pairs), "no header is sent twice"
    assert all(name == name.lower() for name, _ in pairs), "ASGI wants lower case"
    return dict(pairs)


def _code(answer: Answer) -> str:
    body = json.loads(answer.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    code: str = body["error"]["code"]
    return code


# --------------------------------------------------------------------------- the table


def _named_codes() -> set[str]:
    """Names of the error codes that any module of the surface refuses with."""
    found = set()
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            # Calls only: the table itself must not be compared with itself.
            if not isinstance(node, ast.Call):
                continue
            for argument in node.args:
                name = ast.unparse(argument)
                if name.startswith("ErrorCode."):
                    found.add(name.removeprefix("ErrorCode."))
    return found


def test_every_code_of_this_surface_has_a_status() -> None:
    named = _named_codes()
    assert {"BAD_REQUEST", "SHUTTING_DOWN", "STREAM_NOT_FOUND"} <= named
    assert {ErrorCode[name] for name in named} <= set(render.STATUS)


@pytest.mark.parametrize("code", sorted(render.STATUS))
def test_refusals(code: ErrorCode) -> None:
    answer = render.refusal(code, "what to do")
    headers = _headers(answer)
    assert 400 <= answer.status < 600
    assert json.loads(answer.body) == {"error": {"code": code.value, "message": "what to do"}}
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert headers["content-length"] == str(len(answer.body))
    assert ("retry-after" in headers) is (answer.status == 503)


# --------------------------------------------------------------------------- outcomes

AT_TAIL = {"stream-next-offset": format_offset(7)}
AND_CLOSED = {"stream-closed": "true"}
TYPE = {"content-type": "text/plain"}
ECHO = {"producer-epoch": "2", "producer-seq": "5"}
OUTCOMES: list[tuple[Outcome, int, dict[str, str], str | None]] = [
    (Created(OPEN), 201, {**AT_TAIL, **TYPE, "location": "http://here/s"}, None),
    (Created(CLOSED), 201, {**AT_TAIL, **TYPE, **AND_CLOSED, "location": "http://here/s"}, None),
    (Exists(OPEN), 200, {**AT_TAIL, **TYPE}, None),
    (Exists(CLOSED), 200, {**AT_TAIL, **TYPE, **AND_CLOSED}, None),
    (Appended(OPEN, 3, 7), 204, AT_TAIL, None),
    (Appended(CLOSED, 3, 7), 204, {**AT_TAIL, **AND_CLOSED}, None),
    (Appended(OPEN, 3, 7, BY), 200, {**AT_TAIL, **ECHO}, None),
    (Appended(CLOSED, 7, 7, BY), 204, {**AT_TAIL, **AND_CLOSED, **ECHO}, None),
    (Duplicate(OPEN, BY), 204, {**AT_TAIL, **ECHO}, None),
    (Duplicate(CLOSED), 204, {**AT_TAIL, **AND_CLOSED}, None),
    (Deleted(), 204, {}, None),
    (Noted(), 204, {}, None),
    (NotFound("s"), 404, {}, "stream_not_found"),
    (Gone("s"), 410, {}, "stream_gone"),
    (ForkSourceGone("s"), 409, {}, "fork_source_gone"),
    (ForkOutOfRange(OPEN), 400, {}, "fork_out_of_range"),
    (ConfigMismatch(OPEN), 409, {}, "stream_exists"),
    (StreamClosed(CLOSED), 409, {**AT_TAIL, **AND_CLOSED}, "stream_closed"),
    (ContentTypeMismatch(OPEN), 409, {}, "content_type_mismatch"),
    (SequenceConflict(stream(seq="b")), 409, {}, "sequence_conflict"),
    (StaleEpoch(4), 403, {"producer-epoch": "4"}, "stale_epoch"),
    (EpochNotAtZero(), 400, {}, "bad_request"),
    (
        SequenceGap(expected=3, received=9),
        409,
        {"producer-expected-seq": "3", "producer-received-seq": "9"},
        "producer_gap",
    ),
    (NotOwner(OPEN), 409, {}, "stream_owned"),
    (Outdated(OPEN), 409, {}, "stream_exists"),
]
COMMON = {
    "x-content-type-options",
    "cross-origin-resource-policy",
    "content-length",
}
OF_ERRORS = {"content-type", "cache-control"}


@pytest.mark.parametrize(
    ("outcome", "status", "expected", "code"), OUTCOMES, ids=[type(o[0]).__name__ for o in OUTCOMES]
)
def test_outcomes(
    outcome: Outcome, status: int, expected: dict[str, str], code: str | None
) -> None:
    answer = render.of_outcome(outcome, "http://here/s")
    headers = _headers(answer)
    assert answer.status == status
    if code is None:
        assert answer.body == b""
        assert {name: headers[name] for name in headers if name not in COMMON} == expected
    else:
        assert _code(answer) == code
        own = {name: headers[name] for name in headers if name not in COMMON | OF_ERRORS}
        assert own == expected


def test_every_outcome_is_in_the_table() -> None:
    assert {type(row[0]) for row in OUTCOMES} == set(get_args(Outcome))


def test_headers_of_every_answer() -> None:
    headers = _headers(Answer(200, body=b"abc"))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["content-length"] == "3"
    cors = {name.decode(): value.decode() for name, value in render.CORS_HEADERS}
    assert cors["access-control-allow-origin"] == "*"
    exposed = cors["access-control-expose-headers"].split(", ")
    wanted = {name.lower() for name in (*StreamHeader, "ETag", "Location", "Retry-After")}
    assert wanted <= set(exposed)


@pytest.mark.parametrize("status", [204, 304])
def test_no_length_without_a_body(status: int) -> None:
    assert "content-length" not in _headers(Answer(status))


def test_preflight_allows_what_clients_send() -> None:
    answer = render.preflight(render.METHODS)
    headers = _headers(answer)
    assert answer.status == 204
    allowed = headers["access-control-allow-headers"].lower().split(", ")
    assert {name.lower() for name in StreamHeader} <= set(allowed)
    assert {"content-type", "authorization", "if-none-match"} <= set(allowed)
    assert {"GET", "PUT", "POST", "DELETE", "HEAD"} <= set(
        headers["access-control-allow-methods"].split(", ")
    )


# --------------------------------------------------------------------------- reads


def test_stat() -> None:
    headers = _headers(render.of_stat(stream(tail=7, closed=True, ttl_seconds=60)))
    assert headers["stream-next-offset"] == format_offset(7)
    assert headers["stream-closed"] == "true"
    assert headers["stream-ttl"] == "60"
    assert headers["cache-control"] == "no-store"
    assert "stream-expires-at" not in headers


@pytest.mark.parametrize(
    ("expires_at", "text"),
    [
        (1_893_456_000.0, "2030-01-01T00:00:00Z"),
        (1_893_456_000.25, "2030-01-01T00:00:00.250000Z"),
        (253_402_300_799.0, "9999-12-31T23:59:59Z"),
    ],
)
def test_stat_tells_the_fixed_lifetime(expires_at: float, text: str) -> None:
    headers = _headers(render.of_stat(stream(expires_at=expires_at)))
    assert headers["stream-expires-at"] == text
    assert "stream-ttl" not in headers


def _read(piece: Chunk, etag: str | None = None, cursor: str | None = None) -> Answer:
    return render.of_chunk(piece, if_none_match=etag, cursor=cursor)


def test_a_read_at_the_tail_of_an_open_stream() -> None:
    answer = _read(chunk(b"abc", start=4))
    headers = _headers(answer)
    assert (answer.status, answer.body) == (200, b"abc")
    assert headers["content-type"] == "text/plain"
    assert headers["stream-next-offset"] == format_offset(7)
    assert headers["stream-up-to-date"] == "true"
    assert "stream-closed" not in headers
    assert "stream-cursor" not in headers
    assert headers["cache-control"].startswith("private")


def test_a_read_that_is_behind_says_neither_up_to_date_nor_closed() -> None:
    headers = _headers(_read(chunk(b"abc", behind=True, closed=True)))
    assert "stream-up-to-date" not in headers
    assert "stream-closed" not in headers


def test_the_last_bytes_of_a_closed_stream() -> None:
    headers = _headers(_read(chunk(b"abc", closed=True), cursor="7"))
    assert headers["stream-closed"] == "true"
    assert "stream-cursor" not in headers, "nobody is to poll again"


def test_a_live_read_has_a_cursor() -> None:
    assert _headers(_read(chunk(b"abc"), cursor="7"))["stream-cursor"] == "7"


def test_an_empty_answer_at_an_open_tail_is_not_cached() -> None:
    assert _headers(_read(chunk(start=3)))["cache-control"] == "no-store"
    assert _headers(_read(chunk(start=3, closed=True)))["cache-control"] != "no-store"


def test_json_reads_are_arrays() -> None:
    json_type: dict[str, Any] = {"content_type": "application/json"}
    assert _read(chunk(b"1,2,", **json_type)).body == b"[1,2]"
    assert _read(chunk(**json_type)).body == b"[]"
    assert render.of_now(chunk(start=5, **json_type)).body == b"[]"


def test_etags_change_with_incarnation_range_and_closure() -> None:
    chunks = [
        chunk(b"abc"), chunk(b"abcd"), chunk(b"abc", start=1), chunk(b"abc", closed=True),
        chunk(b"abc", id=2), chunk(start=3), chunk(start=3, closed=True),
    ]  # fmt: skip
    assert len({render.etag(one) for one in chunks}) == len(chunks)


@pytest.mark.parametrize("form", ["{0}", "W/{0}", '"x", {0}', "*", ' W/"y" ,{0} '])
def test_not_modified(form: str) -> None:
    piece = chunk(b"abc")
    answer = _read(piece, form.format(render.etag(piece)))
    headers = _headers(answer)
    assert (answer.status, answer.body) == (304, b"")
    assert headers["etag"] == render.etag(piece)
    assert headers["stream-next-offset"] == format_offset(3)


@pytest.mark.parametrize("form", ["", '"x"', "1:0:3", '"1:0:3:c"', '"1:0:2"'])
def test_modified(form: str) -> None:
    assert _read(chunk(b"abc"), form).status == 200


def test_now_has_no_etag_and_is_not_cached() -> None:
    headers = _headers(render.of_now(chunk(start=9, closed=True)))
    assert "etag" not in headers
    assert headers["cache-control"] == "no-store"
    assert headers["stream-next-offset"] == format_offset(9)
    assert headers["stream-closed"] == "true"
    assert headers["stream-up-to-date"] == "true"


def test_a_quiet_poll() -> None:
    still_open = _headers(render.of_quiet_poll(chunk(start=3), "7"))
    assert still_open["stream-cursor"] == "7"
    assert still_open["stream-up-to-date"] == "true"
    closed = render.of_quiet_poll(chunk(start=3, closed=True), "7")
    assert closed.status == 204
    assert _headers(closed)["stream-closed"] == "true"


def test_event_stream_head() -> None:
    assert "stream-sse-data-encoding" not in _headers(render.of_event_stream(base64=False))
    headers = _headers(render.of_event_stream(base64=True))
    assert headers["stream-sse-data-encoding"] == "base64"
    assert headers["content-type"] == "text/event-stream"
    assert "no-transform" in headers["cache-control"]


@pytest.mark.parametrize(
    ("fields", "position", "closed"),
    [({"closed": True}, 7, True), ({"closed": True}, 6, False), ({}, 7, False)],
)
def test_raw_head(fields: dict[str, bool], position: int, *, closed: bool) -> None:
    headers = _headers(render.of_raw(stream(tail=7, **fields), position))
    assert headers["stream-next-offset"] == format_offset(position)
    assert ("stream-closed" in headers) is closed


@pytest.mark.parametrize(
    ("fields", "replaceable", "cached"),
    [
        ({}, False, True),
        ({"closed": True}, False, True),
        ({}, True, False),
        ({"ttl_seconds": 5}, False, False),
        ({"expires_at": NOW + 5}, False, False),
    ],
)
def test_only_streams_that_stay_are_cached_unasked(
    fields: dict[str, Any], *, replaceable: bool, cached: bool
) -> None:
    answer = render.of_chunk(
        chunk(b"data", **fields), if_none_match=None, cursor=None, replaceable=replaceable
    )
    cache = dict(answer.headers)[b"cache-control"]
    assert cache.startswith(b"private, max-age=") == cached
    assert (cache == b"private, no-cache") != cached
