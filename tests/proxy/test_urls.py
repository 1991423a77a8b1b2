"""Upstream URLs: one spelling, or none."""

from __future__ import annotations

import ipaddress

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._urls import Target, UrlError, parse_url


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://API.Example.COM:443/v1/Chat", "https://api.example.com/v1/Chat"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:0080/", "http://example.com/"),
        ("http://example.com:/", "http://example.com/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://example.com?q=1", "http://example.com/?q=1"),
        ("http://example.com/a#fragment", "http://example.com/a"),
        ("http://example.com/a?b?c#d?e", "http://example.com/a?b?c"),
        ("http://example.com/%7Euser/%41%2d", "http://example.com/~user/A-"),
        ("http://example.com/a%2fb%c3%a9", "http://example.com/a%2Fb%C3%A9"),
        ("http://example.com/a[b]", "http://example.com/a%5Bb%5D"),
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/a/%2e/b/%2E%2e/c", "http://example.com/a/c"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com/a/..", "http://example.com/"),
        ("http://example.com/a/b/.", "http://example.com/a/b/"),
        ("http://example.com//a//b/", "http://example.com//a//b/"),
        ("http://example.com/...", "http://example.com/..."),
        ("http://my_service:8000/", "http://my_service:8000/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
        ("http://127.0.0.1./", "http://127.0.0.1/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"),
        ("http://[FE80::1]/", "http://[fe80::1]/"),
        ("http://example.com/v1/models/gemini:generate?alt=sse&k=%2e", None),
    ],
)
def test_one_spelling(text: str, normal: str | None) -> None:
    assert str(parse_url(text)) == (text if normal is None else normal)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "absolute"),
        ("/v1/chat", "absolute"),
        ("example.com/v1", "absolute"),
        ("//example.com/v1", "absolute"),
        ("http:example.com", "absolute"),
        ("http:/example.com", "absolute"),
        ("ftp://example.com/", "http and https"),
        ("file:///etc/passwd", "http and https"),
        ("javascript://example.com/", "http and https"),
        ("gopher://example.com/", "http and https"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://user@example.com/", "header"),
        ("http://user:secret@example.com/", "header"),
        ("http://api.openai.com@evil.example/", "header"),
        ("http://@example.com/", "header"),
        ("http://example.com\\@evil.example/", "backslash"),
        ("http:\\\\example.com/", "backslash"),
        ("http://example.com/a\\..\\b", "backslash"),
        ("http://example.com/a b", "white space"),
        (" http://example.com/", "white space"),
        ("http://example.com/\t", "white space"),
        ("http://exa\nmple.com/", "white space"),
        ("http://example.com/\x00", "control"),
        ("http://example.com/\x7f", "control"),
        ("http://bücher.example/", "xn--"),
        ("http://example.com/ü", "percent-encode"),
        ("http://\uff11\uff12\uff17.0.0.1/", "xn--"),
        ("http://example\u3002com/", "xn--"),
        ("http://example.com:99999/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:+80/", "port"),
        ("http://example.com:8 0/", "white space"),
        ("http://example.com:80:80/", "port"),
        ("http://exam%70le.com/", "host name"),
        ("http://example..com/", "host name"),
        ("http://.example.com/", "host name"),
        ("http://-example.com/", "host name"),
        ("http://example.com../", "host name"),
        ("http://" + "a" * 64 + ".example/", "host name"),
        ("http://" + "a." * 127 + "example/", "host name"),
        ("http://exa$mple.com/", "host name"),
        ("http://*.example.com/", "host name"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://0x7f.0.0.1/", "four decimal numbers"),
        ("http://0177.0.0.1/", "four decimal numbers"),
        ("http://017700000001/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://127.0.1/", "four decimal numbers"),
        ("http://0/", "four decimal numbers"),
        ("http://0x/", "four decimal numbers"),
        ("http://127.0.0.01/", "four decimal numbers"),
        ("http://127.0.0.256/", "four decimal numbers"),
        ("http://1.2.3.4.5/", "four decimal numbers"),
        ("http://evil.0x7f/", "four decimal numbers"),
        ("http://[::1/", "no host"),
        ("http://::1/", "no host|port"),
        ("http://[]/", "IPv6"),
        ("http://[127.0.0.1]/", "IPv6"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[::1]evil.example/", "no host"),
        ("http://example.com/%", "hexadecimal"),
        ("http://example.com/%4", "hexadecimal"),
        ("http://example.com/%zz", "hexadecimal"),
        ("http://example.com/a/..%2fadmin", "hides"),
        ("http://example.com/a/%2e%2e%2fadmin", "hides"),
        ("http://example.com/a/..%5cadmin", "hides"),
        ("http://example.com/a/%252e%252e/admin", "hides"),
        ("http://example.com/a/%252e%252e%252fadmin", "hides"),
        ("http://example.com/a/..;x=1/admin", "hides"),
        ("http://example.com/a/.;/admin", "hides"),
        ("http://example.com/" + "a" * 9000, "longer"),
    ],
)
def test_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(UrlError, match=remedy):
        parse_url(text)


pieces = st.sampled_from([*"abcAZ09-._~!$&'()*+,;=:@[]\"<>^`{|}//..", "%2F", "%41", "%2e", "%25"])
segments = st.lists(pieces, max_size=12).map("".join)
urls = st.builds(
    "{}://{}{}/{}{}".format,
    st.sampled_from(["http", "HTTPS"]),
    st.sampled_from(["example.com", "A.b-c.Example.", "127.0.0.1", "[::1]", "localhost", "x_y"]),
    st.sampled_from(["", ":80", ":443", ":8080", ":"]),
    segments,
    st.just("") | segments.map("?{}".format),
)


def _parsed(text: str) -> Target | None:
    try:
        return parse_url(text)
    except UrlError:
        return None


@given(urls | st.text(st.characters(max_codepoint=0x2FF)).map("http://e.example/{}".format))
def test_what_is_checked_is_what_is_sent(text: str) -> None:
    target = _parsed(text)
    if target is None:
        return
    sent = httpx2.URL(str(target))
    assert sent.raw_host.decode() == target.host
    assert (sent.port or {"http": 80, "https": 443}[sent.scheme]) == target.port
    assert sent.raw_path.decode().partition("?")[0] == target.path
    assert not {".", ".."} & set(target.segments)


@given(urls)
def test_normalising_again_changes_nothing(text: str) -> None:
    target = _parsed(text)
    if target is not None:
        assert parse_url(str(target)) == target


@given(st.text(max_size=60) | st.text(max_size=60).map("http://{}".format))
def test_any_text_is_a_target_or_a_refusal(text: str) -> None:
    _parsed(text)


@given(st.ip_addresses())
def test_an_address_is_known_as_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    target = parse_url(f"http://{host}/")
    assert target.is_address
    assert ipaddress.ip_address(target.host) == address
