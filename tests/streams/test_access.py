"""Who may use the admin surface, by every way of asking."""

from __future__ import annotations

import pytest

from durable_streams_server import AdminAccess

LOCAL = {b"host": b"127.0.0.1:3001"}


@pytest.mark.parametrize("token", ["", " ", "pässword"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        AdminAccess(token)


@pytest.mark.parametrize(
    ("authorization", "may"),
    [
        (b"Bearer s3cret", True),
        (b"bearer s3cret", True),
        (b"Bearer s3cre", False),
        (b"Bearer s3cret2", False),
        (b"Bearer \xe4", False),
        (b"Basic s3cret", False),
        (b"s3cret", False),
        (b"", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.7", None])
def test_with_a_token_only_the_token_counts(
    authorization: bytes | None, *, may: bool, peer: str | None
) -> None:
    headers = dict(LOCAL) if authorization is None else LOCAL | {b"authorization": authorization}
    reason = AdminAccess("s3cret").refusal(headers, peer)
    assert (reason is None) is may
    assert may or "Bearer" in str(reason)


@pytest.mark.parametrize("host", [b"localhost", b"localhost:3001", b"127.0.0.1", b"[::1]:3001"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", None])
@pytest.mark.parametrize("site", [None, b"same-origin", b"none"])
def test_without_a_token_this_machine_may(
    host: bytes, peer: str | None, site: bytes | None
) -> None:
    headers = {b"host": host} | ({} if site is None else {b"sec-fetch-site": site})
    assert AdminAccess().refusal(headers, peer) is None


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        (LOCAL, "192.0.2.7"),
        (LOCAL, "not an address"),
        ({}, "127.0.0.1"),
        ({b"host": b"rebound.example:3001"}, "127.0.0.1"),
        ({b"host": b"127.0.0.1.example"}, "127.0.0.1"),
        ({b"host": b"[::1"}, "127.0.0.1"),
        (LOCAL | {b"x-forwarded-for": b"192.0.2.7"}, "127.0.0.1"),
        (LOCAL | {b"forwarded": b"for=192.0.2.7"}, "127.0.0.1"),
        (LOCAL | {b"via": b"1.1 gateway"}, "127.0.0.1"),
        (LOCAL | {b"cf-connecting-ip": b"192.0.2.7"}, "127.0.0.1"),
        (LOCAL | {b"sec-fetch-site": b"cross-site"}, "127.0.0.1"),
        (LOCAL | {b"sec-fetch-site": b"same-site"}, "127.0.0.1"),
        (LOCAL | {b"authorization": b"Bearer s3cret"}, "192.0.2.7"),
    ],
)
def test_without_a_token_nobody_else_may(headers: dict[bytes, bytes], peer: str) -> None:
    assert AdminAccess().refusal(headers, peer) is not None
