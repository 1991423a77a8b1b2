"""The start request: what is refused before anything is read or called."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._allowlist import Allowlist
from durable_proxy._errors import RETRY_AFTER, STATUS, Refusal, RefusedError
from durable_proxy._start_request import (
    METHODS,
    Limits,
    StartRequest,
    check_body_length,
    declared_length,
    parse_head,
)
from durable_transport.protocol import ErrorCode

SESSION = "00000000-0000-4000-8000-00000000000a"
REQUEST = "00000000-0000-4000-8000-00000000000b"
URL = (b"x-proxy-url", b"https://api.example.com/v1")
ALLOW = Allowlist.parse(["https://api.example.com/**"])


def _parse(
    *headers: tuple[bytes, bytes], session: str = SESSION, request: str = REQUEST
) -> StartRequest:
    return parse_head(session, request, headers, allowlist=ALLOW, limits=Limits())


def _refusal(*headers: tuple[bytes, bytes], **ids: str) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        _parse(*headers, **ids)
    return caught.value.refusal


def test_the_least_that_is_needed() -> None:
    parsed = _parse(URL)
    assert (parsed.method, parsed.live, parsed.body) == ("POST", False, b"")
    assert str(parsed.target) == "https://api.example.com/v1"
    assert parsed.paths.data == f"generations/{SESSION}/{REQUEST}/data"
    assert parsed.with_body(b"x").body == b"x"


def test_everything_that_can_be_said() -> None:
    parsed = _parse(URL, (b"x-proxy-method", b"PATCH"), (b"x-proxy-live", b"raw"), (b"x-a", b"1"))
    assert (parsed.method, parsed.live) == ("PATCH", True)
    assert (b"x-a", b"1") in parsed.headers


def test_ids_are_one_whatever_their_case() -> None:
    parsed = _parse(URL, session=SESSION.upper())
    assert parsed.paths.data == f"generations/{SESSION}/{REQUEST}/data"


@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str) -> None:
    parsed = _parse(URL, (b"x-proxy-method", method.encode()))
    assert parsed.method == method


BAD_IDS = [
    *("", "x", "conversation-123", SESSION[:-1], SESSION + "0", SESSION.replace("-", "")),
    *("{" + SESSION + "}", "urn:uuid:" + SESSION, SESSION.replace("0", "g", 1), SESSION + "\n"),
    *("../../etc/passwd", "0" * 36, "\u0660" * 8 + SESSION[8:]),
]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_that_are_none(bad: str) -> None:
    for refusal in (_refusal(URL, session=bad), _refusal(URL, request=bad)):
        assert (refusal.code, refusal.status) == (ErrorCode.INVALID_ID, 400)
        assert "UUID" in refusal.message


@pytest.mark.parametrize(
    ("headers", "code", "says"),
    [
        ([], ErrorCode.INVALID_PROXY_URL, "X-Proxy-Url header is missing"),
        ([(b"x-proxy-url", b"")], ErrorCode.INVALID_PROXY_URL, "missing"),
        ([(b"x-proxy-url", b"/v1/chat")], ErrorCode.INVALID_PROXY_URL, "absolute"),
        ([(b"x-proxy-url", b"ftp://a/")], ErrorCode.INVALID_PROXY_URL, "http and https"),
        ([(b"x-proxy-url", b"http://a@b/")], ErrorCode.INVALID_PROXY_URL, "header"),
        ([(b"x-proxy-url", b"http://\xfc/")], ErrorCode.INVALID_PROXY_URL, "xn--"),
        ([(b"x-proxy-url", b"http://evil/")], ErrorCode.UPSTREAM_NOT_ALLOWED, "--allow"),
        ([URL, (b"X-Proxy-Url", b"http://evil/")], ErrorCode.BAD_REQUEST, "2 times"),
        ([URL, (b"x-proxy-method", b"TRACE")], ErrorCode.INVALID_PROXY_METHOD, "DELETE, GET"),
        ([URL, (b"x-proxy-method", b"CONNECT")], ErrorCode.INVALID_PROXY_METHOD, "one of"),
        ([URL, (b"x-proxy-method", b"post")], ErrorCode.INVALID_PROXY_METHOD, "one of"),
        ([URL, (b"x-proxy-method", b"")], ErrorCode.INVALID_PROXY_METHOD, "one of"),
        ([URL, (b"x-proxy-live", b"sse")], ErrorCode.BAD_REQUEST, "raw"),
        ([URL, (b"x-filler", b"f" * 65536)], ErrorCode.HEADERS_TOO_LARGE, "65536"),
        ([URL, *[(b"x-filler", b"f" * 1000)] * 70], ErrorCode.HEADERS_TOO_LARGE, "65536"),
        ([URL, (b"x-a", b"1\r\nx-b: 2")], ErrorCode.BAD_REQUEST, "control characters"),
        ([URL, (b"x-a", b"1\x00")], ErrorCode.BAD_REQUEST, "control characters"),
        ([URL, (b"x a", b"1")], ErrorCode.BAD_REQUEST, "control characters"),
        ([URL, (b"", b"1")], ErrorCode.BAD_REQUEST, "control characters"),
    ],
)
def test_refusals(headers: list[tuple[bytes, bytes]], code: ErrorCode, says: str) -> None:
    refusal = _refusal(*headers)
    assert refusal.code is code
    assert says in refusal.message


def test_bodies_are_bounded_by_what_is_declared_and_by_what_comes() -> None:
    limits = Limits(request_body_bytes=10)
    check_body_length(10, limits)
    with pytest.raises(RefusedError, match="10 bytes") as caught:
        check_body_length(11, limits)
    assert caught.value.refusal.status == 413
    assert declared_length([(b"content-length", b"11")]) == 11
    assert declared_length([]) == declared_length([(b"content-length", b"many")]) == 0


def test_every_code_has_a_status_and_only_what_passes_says_retry() -> None:
    assert all(400 <= status < 600 for status in STATUS.values())
    assert all(STATUS[code] in (429, 503) for code in RETRY_AFTER)


@given(
    st.text(max_size=40),
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=30)), max_size=5),
    st.binary(max_size=60),
)
def test_any_input_is_a_request_or_a_refusal(
    session: str, headers: list[tuple[bytes, bytes]], url: bytes
) -> None:
    for ids in (session, SESSION):
        with suppress(RefusedError):
            parse_head(
                ids,
                REQUEST,
                [*headers, (b"x-proxy-url", url)],
                allowlist=Allowlist(any_upstream=True),
                limits=Limits(),
            )
