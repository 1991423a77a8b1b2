"""Which webhook URLs may be called."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from durable_streams_server._webhook_policy import (
    OriginPatternError,
    WebhookPolicy,
    WebhookUrlError,
)
from streams.test_addresses import NOT_PUBLIC, PUBLIC

STRICT = WebhookPolicy()


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example/a?b", "https://hooks.example:8443/", "https://8.8.8.8/", "https://x"],
)
def test_https_to_the_public_internet_is_allowed(url: str) -> None:
    STRICT.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "http://10.0.0.1/hook",
        "http://localhost:8080/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:db8::1]/",
    ],
)
def test_other_targets_are_refused_and_the_setting_is_named(url: str) -> None:
    with pytest.raises(WebhookUrlError, match=r"--webhook-allow 'https?://"):
        STRICT.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "https:///path",
        "https://user:secret@hooks.example/",
        "https://hooks.example:http/",
        "https://hooks.example:99999/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX: y",
        "https://hooks.exa\tmple/",
        "https://[::1/",
        "https://" + "a" * 300,
        "https://bücher.example/",
    ],
)
def test_what_is_no_webhook_url(url: str) -> None:
    everything = WebhookPolicy.parse(["https://hooks.example:*", "http://localhost:*"])
    with pytest.raises(WebhookUrlError):
        everything.check(url)


def test_a_pattern_lifts_the_rules_for_its_origin_only() -> None:
    policy = WebhookPolicy.parse(["http://localhost:*", "https://10.0.0.1", "http://[::1]:80"])
    for url in ("http://localhost:1/x", "http://LOCALHOST./", "https://10.0.0.1/", "http://[::1]/"):
        target = policy.check(url)
        policy.check_address(target, ip_address("127.0.0.1"))
    for url in (
        "https://localhost/",
        "http://10.0.0.1/",
        "https://10.0.0.1:444/",
        "http://[::1]:8/",
    ):
        with pytest.raises(WebhookUrlError):
            policy.check(url)


def test_a_name_is_judged_by_its_addresses() -> None:
    target = STRICT.check("https://hooks.example/")
    STRICT.check_address(target, ip_address("8.8.8.8"))
    with pytest.raises(WebhookUrlError, match="not one of the public internet"):
        STRICT.check_address(target, ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "http://", "http://*", "http://*.x:*", "http://a/b", "http://a/", "ftp://a"],
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(OriginPatternError, match="scheme://host"):
        WebhookPolicy.parse([text])


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_in_every_spelling(text: str) -> None:
    STRICT.check_address(STRICT.check("https://hooks.example/"), ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_no_other_address_in_any_spelling(text: str) -> None:
    target = STRICT.check("https://hooks.example/")
    with pytest.raises(WebhookUrlError, match="not one of the public internet"):
        STRICT.check_address(target, ip_address(text))
