"""Headers in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._headers import content_type_of, forwardable_headers, upstream_headers
from durable_transport.protocol import HOP_BY_HOP_HEADERS, ProxyHeader

IDENTITY = (b"accept-encoding", b"identity")


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "x-api-key",
        "anthropic-version",
        "openai-organization",
        "content-type",
        "accept",
        "user-agent",
        "idempotency-key",
        "x-stainless-retry-count",
        "traceparent",
        "http-referer",
    ],
)
def test_the_callers_own_headers_go_up(name: str) -> None:
    header = (name.encode(), b"value")
    assert upstream_headers([header]) == [header, IDENTITY]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HOP_BY_HOP_HEADERS),
        *("host", "content-length", "expect", "cookie", "cookie2", "origin", "referer"),
        *("x-proxy-url", "x-proxy-method", "x-proxy-live", "x-proxy-strip", "x-proxy-anything"),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"),
        *("sec-fetch-mode", "sec-ch-ua", "accept-encoding"),
    ],
)
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_headers_of_the_way_to_us_stay_here(name: str, case: object) -> None:
    header = (case(name).encode(), b"value")  # type: ignore[operator]
    assert upstream_headers([header]) == [IDENTITY]


@pytest.mark.parametrize("naming", ["Connection", "X-Proxy-Strip", "x-proxy-strip"])
@pytest.mark.parametrize("value", ["x-a, X-B", "X-A,x-b", " x-a ,, x-b ,", "close,x-b,x-a"])
def test_headers_that_others_name_stay_here(naming: str, value: str) -> None:
    headers = [
        (b"x-a", b"1"),
        (naming.encode(), value.encode()),
        (b"X-B", b"2"),
        (b"x-c", b"3"),
    ]
    assert upstream_headers(headers) == [(b"x-c", b"3"), IDENTITY]


def test_naming_may_be_spread_over_several_headers() -> None:
    headers = [(b"x-proxy-strip", b"x-a"), (b"x-proxy-strip", b"x-b"), (b"x-a", b""), (b"x-b", b"")]
    assert upstream_headers(headers) == [IDENTITY]


@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "request-id",
        "retry-after",
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-requests-reset",
        "openai-processing-ms",
        "x-should-retry",
        "cf-ray",
        "www-authenticate",
        "location",
        "x-vercel-ai-ui-message-stream",
    ],
)
def test_what_the_upstream_says_about_its_answer_comes_down(name: str) -> None:
    assert forwardable_headers([(name.title(), "v")]) == [(name, "v")]


@pytest.mark.parametrize(
    "name",
    [
        *sorted(HOP_BY_HOP_HEADERS),
        *("content-type", "content-length", "content-encoding", "content-range", "date", "server"),
        *("set-cookie", "set-cookie2", "clear-site-data", "strict-transport-security", "alt-svc"),
        *("content-security-policy", "x-frame-options", "link", "refresh", "nel", "report-to"),
        *("access-control-allow-origin", "access-control-allow-credentials", "x-accel-redirect"),
        *("x-sendfile", "cache-control", "etag", "vary", "service-worker-allowed"),
        *("x-proxy-source", "x-proxy-error", "x-session-id", "stream-next-offset", "stream-closed"),
    ],
)
def test_what_would_act_on_us_or_lie_stays_up_there(name: str) -> None:
    assert forwardable_headers([(name.title(), "v")]) == []


def test_a_response_may_name_hop_by_hop_headers_too() -> None:
    headers = [("X-A", "1"), ("Connection", "x-a"), ("X-B", "2")]
    assert forwardable_headers(headers) == [("x-b", "2")]


CONTROLS = [chr(code) for code in (*range(9), *range(10, 32), 127)]


@pytest.mark.parametrize("control", CONTROLS)
def test_what_is_no_header_field_stays_up_there(control: str) -> None:
    value = f"a{control}b"
    assert forwardable_headers([("x-a", value), ("x-b", "2")]) == [("x-b", "2")]
    assert content_type_of([("content-type", value)]) is None


@pytest.mark.parametrize("name", ["", "x a", "x:a", "x\x7fa", "x\xe9", "x(a)", "x-a\n"])
def test_what_has_no_name_of_a_header_stays_up_there(name: str) -> None:
    assert forwardable_headers([(name, "1")]) == []


@pytest.mark.parametrize("value", ["", "a\tb", "a \x80\xff b", "~!"])
def test_tabs_and_bytes_above_ascii_come_down(value: str) -> None:
    assert forwardable_headers([("X-A", value)]) == [("x-a", value)]


def test_the_content_type() -> None:
    assert content_type_of([("X-A", "1"), ("Content-Type", "text/\xe9")]) == "text/\xe9"
    assert content_type_of([("content-type", "")]) is None
    assert content_type_of([]) is None


names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True) | st.sampled_from(
    [*HOP_BY_HOP_HEADERS, "Cookie", "X-Proxy-Url", "X-Proxy-Strip", "Host", "X-Forwarded-For"]
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20) | names


@given(st.lists(st.tuples(names, values), max_size=8))
def test_what_goes_up_is_a_part_of_what_came_in_its_order(pairs: list[tuple[str, str]]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    *kept, last = upstream_headers(raw)
    assert last == IDENTITY
    left = iter(raw)
    assert all(header in left for header in kept)
    sent = {name.lower() for name, _ in kept}
    assert not sent & {name.encode() for name in HOP_BY_HOP_HEADERS}
    assert not any(name.startswith(b"x-proxy-") for name in sent)
    named = {
        item.strip().lower().encode("latin-1")
        for name, value in pairs
        if name.lower() in ("connection", ProxyHeader.STRIP.lower())
        for item in value.split(",")
    }
    assert not sent & named


@given(st.lists(st.tuples(names, values), max_size=8))
def test_forwarding_twice_changes_nothing(pairs: list[tuple[str, str]]) -> None:
    once = forwardable_headers(pairs)
    assert forwardable_headers(once) == once


UPWARD_ATTACKS = [
    # another framing than ours: request smuggling
    *("Transfer-Encoding: chunked", "Transfer_Encoding: chunked", "TRANSFER-ENCODING: identity"),
    *(
        "Content-Length: 0",
        "Content_Length: 0",
        "content-length: 99",
        "Trailer: Host",
        "TE: trailers",
    ),
    *("Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "Expect: 100-continue", "Keep-Alive: timeout=99"),
    *("Connection: close", "Connection: keep-alive, Authorization", "Proxy-Connection: close"),
    # another upstream, or another path than the one that was checked
    *("Host: evil.example", "X-Forwarded-Host: evil.example", "X-Host: evil.example"),
    *("X-Original-Host: evil.example", "Forwarded: host=evil.example", "X-Original-URL: /admin"),
    *("X-Rewrite-URL: /admin", "X-Original-URI: /admin", "X-Envoy-Original-Path: /admin"),
    *("X-Forwarded-Prefix: /admin", "X-Forwarded-Proto: https", "X_Forwarded_Host: evil.example"),
    # another caller
    *("X-Forwarded-For: 127.0.0.1", "X-Forwarded: 127.0.0.1", "X-Real-IP: 127.0.0.1"),
    *("X-Client-IP: 127.0.0.1", "Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1"),
    *("CF-Connecting-IP: 127.0.0.1", "Fastly-Client-IP: 127.0.0.1", "Via: 1.1 trusted"),
    *("X-Cluster-Client-IP: 127.0.0.1", "X-Original-Forwarded-For: 127.0.0.1"),
    # what belongs to the proxy
    *("Cookie: session=secret", "Cookie2: $Version=1", "Proxy-Authorization: Basic c2VjcmV0"),
    *("Proxy-Authenticate: Basic", "X-Proxy-Url: http://evil.example/", "X-Proxy-Secret: s"),
    *("X_Proxy_Secret: s", "Origin: http://app.example", "Referer: http://app.example/secret"),
    *("Sec-Fetch-Site: same-origin", "Sec-GPC: 1", "Access-Control-Request-Method: PUT"),
    *("Accept-Encoding: gzip, br", "Alt-Used: evil.example"),
]

DOWNWARD_ATTACKS = [
    # another framing than ours: response splitting
    *("Transfer-Encoding: chunked", "Content-Length: 1", "Content-Encoding: gzip", "Trailer: X"),
    *("Connection: close", "Keep-Alive: timeout=9", "Upgrade: h2c", "Proxy-Authenticate: Basic"),
    *("X-A: b\r\nSet-Cookie: c=d", "X-A: b\nX: y", "X-A: b\x00", "X-A\r\nX: b", "X A: b", ": b"),
    # what would act on our origin in a browser
    *("Set-Cookie: session=evil", "Set_Cookie: session=evil", "Clear-Site-Data: *"),
    *("Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: true"),
    *("Strict-Transport-Security: max-age=0", "Content-Security-Policy: default-src *"),
    *("Refresh: 0; url=http://evil.example/", "Link: <http://evil.example/>; rel=preload"),
    *("Service-Worker-Allowed: /", "SourceMap: http://evil.example/", "NEL: {}", "Report-To: {}"),
    *("Cross-Origin-Opener-Policy: unsafe-none", "X-Frame-Options: ALLOWALL", "Accept-CH: DPR"),
    *("Timing-Allow-Origin: *", "Speculation-Rules: x", "Alt-Svc: h3=evil.example"),
    *("Public-Key-Pins: x", "X-XSS-Protection: 0", "Set-Login: logged-out"),
    # what would act on a server in front of us
    *("X-Accel-Redirect: /etc/passwd", "X-Accel-Buffering: yes", "X-Sendfile: /etc/passwd"),
    *("X-LiteSpeed-Location: /etc/passwd", "X-Lighttpd-Send-File: /etc/passwd"),
    *("X-Reproxy-URL: http://127.0.0.1/", "Surrogate-Control: max-age=9", "CDN-Cache-Control: x"),
    *(
        "Cache-Control: public",
        "Vary: *",
        "ETag: x",
        "Age: 9",
        "Expires: 0",
        "X_Accel_Redirect: /x",
    ),
    # what would pass for ours
    *("X-Proxy-Source: proxy", "X-Proxy-Error: bad_request", "X-Session-ID: other"),
    *("Stream-Next-Offset: 9", "Stream-Closed: true", "Server: evil", "Date: then", "Via: 1.1 x"),
]


def _split(attack: str) -> tuple[str, str]:
    name, _, value = attack.partition(": ")
    return name, value


@pytest.mark.parametrize("attack", UPWARD_ATTACKS)
def test_a_header_attack_does_not_go_up(attack: str) -> None:
    name, value = _split(attack)
    headers = [(b"authorization", b"Bearer key"), (name.encode(), value.encode())]
    sent = upstream_headers(headers)
    # One that lists the caller's own credentials takes them out, and nothing else.
    kept = [] if "Authorization" in value else [headers[0]]
    assert sent == [*kept, IDENTITY]


@pytest.mark.parametrize("attack", DOWNWARD_ATTACKS)
def test_a_header_attack_does_not_come_down(attack: str) -> None:
    assert forwardable_headers([("X-Good", "1"), _split(attack)]) == [("x-good", "1")]


def test_there_are_enough_header_attacks() -> None:
    assert len(set(UPWARD_ATTACKS)) == len(UPWARD_ATTACKS) >= 40
    assert len(set(DOWNWARD_ATTACKS)) == len(DOWNWARD_ATTACKS) >= 40
