"""The allowlist: deny by default, and no way around a pattern."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._allowlist import Allowlist, Pattern, PatternError
from durable_proxy._urls import UrlError, parse_url
from durable_transport.protocol import ErrorCode


def _allows(pattern: str, url: str) -> bool:
    """The proxy would call the URL: it can be read, and the pattern has it."""
    try:
        target = parse_url(url)
    except UrlError:
        return False
    return Allowlist.parse([pattern]).refuse(target) is None


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("https://api.openai.com/**", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/**", "https://api.openai.com"),
        ("https://api.openai.com/**", "https://API.openai.com.:443/v1?x=../.."),
        ("HTTPS://API.OPENAI.COM:443/**", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/**", "https://api.openai.com/v1/"),
        ("https://api.openai.com/v1/**", "https://api.openai.com/v2/../v1/chat"),
        ("https://api.openai.com/v1/*", "https://api.openai.com/v1/models"),
        ("https://api.openai.com/*/models", "https://api.openai.com/v1/models?limit=1"),
        ("https://api.openai.com/v1/*/**", "https://api.openai.com/v1/a/"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/~a/%7Eb", "https://example.com/%7ea/~b"),
        ("https://*.example.com/**", "https://api.example.com/x"),
        ("https://*.*.example.com/**", "https://a.b.example.com/x"),
        ("https://api.*.example/**", "https://api.eu.example/x"),
        ("http://*/**", "http://ollama/api"),
        ("http://localhost:*/**", "http://localhost/x"),
        ("http://localhost:*/**", "http://localhost:11434/x"),
        ("http://127.0.0.1:*/**", "http://127.0.0.1:4321/v1"),
        ("http://[::1]:8080/**", "http://[0:0:0:0:0:0:0:1]:8080/v1"),
        ("https://xn--bcher-kva.example/**", "https://XN--BCHER-KVA.example/"),
    ],
)
def test_allowed(pattern: str, url: str) -> None:
    assert _allows(pattern, url)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        # scheme and port
        ("https://example.com/**", "http://example.com/"),
        ("https://example.com/**", "https://example.com:8443/"),
        ("https://example.com/**", "http://example.com:443/"),
        ("http://example.com:8080/**", "http://example.com/"),
        # host
        ("https://example.com/**", "https://api.example.com/"),
        ("https://example.com/**", "https://example.com.evil.example/"),
        ("https://example.com/**", "https://evilexample.com/"),
        ("https://example.com/**", "https://example.com@evil.example/"),
        ("https://example.com/**", "https://evil.example#@example.com/"),
        ("https://example.com/**", "https://evil.example\\@example.com/"),
        ("https://example.com/**", "https://evil.example/https://example.com/"),
        ("https://example.com/**", "https://evil.example?example.com/"),
        ("https://example.com/**", "https://ex\u00e4mple.com/"),
        ("https://example.com/**", "https://example\u3002com/"),
        ("https://*.example.com/**", "https://example.com/"),
        ("https://*.example.com/**", "https://a.b.example.com/"),
        ("https://*.example.com/**", "https://evil.example/.example.com/"),
        ("https://api.*/**", "https://api.evil.example/"),
        ("http://*/**", "http://api.example.com/"),
        # addresses
        ("http://*/**", "http://2130706433/"),
        ("http://*/**", "http://0x7f000001/"),
        ("http://*/**", "http://017700000001/"),
        ("http://*/**", "http://0/"),
        ("http://*/**", "http://[::1]/"),
        ("http://*.*/**", "http://127.1/"),
        ("http://*.*.*.*/**", "http://127.0.0.1/"),
        ("http://*.*.*.*/**", "http://169.254.169.254/latest/meta-data/"),
        ("http://127.0.0.1/**", "http://2130706433/"),
        ("http://127.0.0.1/**", "http://0x7f.0.0.1/"),
        ("http://127.0.0.1/**", "http://0177.0.0.1/"),
        ("http://127.0.0.1/**", "http://127.1/"),
        ("http://127.0.0.1/**", "http://127.0.0.2/"),
        ("http://127.0.0.1/**", "http://localhost/"),
        ("http://127.0.0.1/**", "http://[::ffff:127.0.0.1]/"),
        ("http://127.0.0.1/**", "http://[::ffff:7f00:1]/"),
        ("http://[::ffff:127.0.0.1]/**", "http://127.0.0.1/"),
        ("http://localhost/**", "http://127.0.0.1/"),
        ("http://localhost/**", "http://localhost.evil.example/"),
        # path
        ("https://example.com/v1/**", "https://example.com/v1"),
        ("https://example.com/v1/**", "https://example.com/v10/x"),
        ("https://example.com/v1/**", "https://example.com/V1/x"),
        ("https://example.com/v1/**", "https://example.com/v1/../admin"),
        ("https://example.com/v1/**", "https://example.com/v1/%2e%2e/admin"),
        ("https://example.com/v1/**", "https://example.com/v1/..%2fadmin"),
        ("https://example.com/v1/**", "https://example.com/v1/..%5cadmin"),
        ("https://example.com/v1/**", "https://example.com/v1/%252e%252e%252fadmin"),
        ("https://example.com/v1/**", "https://example.com/v1/..;/admin"),
        ("https://example.com/v1/**", "https://example.com//v1/x"),
        ("https://example.com/v1/**", "https://example.com/v1%2fx"),
        ("https://example.com/v1/*", "https://example.com/v1/"),
        ("https://example.com/v1/*", "https://example.com/v1/a/b"),
        ("https://example.com/v1/*", "https://example.com/v1/a%2fb"),
        ("https://example.com/v1/*", "https://example.com/v1/a%5Cb"),
        ("https://example.com/v1/*", "https://example.com/v1/a%252fb"),
        ("https://example.com/*/x", "https://example.com//x"),
        ("https://example.com/", "https://example.com/x"),
        ("https://example.com/a", "https://example.com/a/"),
    ],
)
def test_refused(pattern: str, url: str) -> None:
    assert not _allows(pattern, url)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "absolute"),
        ("*", "absolute"),
        ("api.openai.com/**", "absolute"),
        ("*://example.com/**", "absolute"),
        ("ws://example.com/**", "http and https"),
        ("https://example.com", r"end it with /\*\*"),
        ("https://example.com/v1?x=1", "no query"),
        ("https://example.com/v1#x", "no query"),
        ("https://user@example.com/**", "user name"),
        ("https://**.example.com/**", "one whole label"),
        ("https://api-*.example.com/**", "one whole label"),
        ("https://example.com:**/", "port"),
        ("https://example.com:80*/", "port"),
        ("https://example.com/**/x", "only at the end"),
        ("https://example.com/v*/x", "one whole segment"),
        ("https://example.com/a**", "one whole segment"),
        ("https://example.com/../**", "no . or .."),
        ("https://example.com/%2e%2e/**", "no . or .."),
        ("https://example.com/a b/**", "white space"),
        ("https://bücher.example/**", "xn--"),
        ("http://10.0.0.*/**", "part of an IP address"),
        ("http://*.0.0.1/**", "part of an IP address"),
        ("http://*.0x7f/**", "four decimal numbers"),
        ("http://2130706433/**", "four decimal numbers"),
        ("http://0x7f.1/**", "four decimal numbers"),
    ],
)
def test_a_bad_pattern_says_why_and_shows_a_good_one(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason) as raised:
        Pattern.parse(pattern)
    assert repr(pattern) in str(raised.value)
    assert "https://api.openai.com/**" in str(raised.value)


def test_nothing_is_allowed_unless_a_pattern_says_so() -> None:
    refusal = Allowlist().refuse(parse_url("https://api.openai.com/v1/chat"))
    assert refusal is not None
    assert refusal.code is ErrorCode.UPSTREAM_NOT_ALLOWED
    assert refusal.status == 403
    assert "--allow 'https://api.openai.com/**'" in refusal.message


def test_the_suggested_pattern_allows_what_was_refused() -> None:
    url = "http://[::1]:8080/v1"
    refusal = Allowlist().refuse(parse_url(url))
    assert refusal is not None
    suggested = refusal.message.partition("--allow '")[2].partition("'")[0]
    assert _allows(suggested, url)


def test_any_upstream() -> None:
    allowlist = Allowlist.parse([], any_upstream=True)
    assert allowlist.refuse(parse_url("http://169.254.169.254/")) is None


labels = st.from_regex(r"[a-z]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
path_segments = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)


@given(st.lists(labels, min_size=1, max_size=4), st.lists(path_segments, max_size=4), st.data())
def test_a_star_is_exactly_one_label_or_segment(
    host: list[str], path: list[str], data: st.DataObject
) -> None:
    def starred(parts: list[str]) -> list[str]:
        return ["*" if data.draw(st.booleans()) else part for part in parts]

    pattern = f"https://{'.'.join(starred(host))}/{'/'.join(starred(path))}"
    url_path = "/".join(path)
    assert _allows(pattern, f"https://{'.'.join(host)}/{url_path}")
    assert not _allows(pattern, f"https://a.{'.'.join(host)}/{url_path}")
    assert not _allows(pattern, f"https://{'.'.join(host)}/{url_path}/a/b")


@given(st.text(max_size=40) | st.text("*./:abc01[]@?#%", max_size=30).map("http://{}".format))
def test_any_text_is_a_pattern_or_an_error(text: str) -> None:
    with suppress(PatternError):
        Pattern.parse(text)
