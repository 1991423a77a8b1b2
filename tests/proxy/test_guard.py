"""Who may do what, decided without a socket."""

from __future__ import annotations

import pytest

from durable_proxy import SecretError
from durable_proxy._guard import (
    ALL_RIGHTS,
    ANYBODY,
    OF_A_SIGNED_ADDRESS,
    SCRAPER,
    SERVICE,
    Access,
    Credentials,
    Principal,
    Right,
    Secrets,
    Unknown,
    check_forwarded,
    credentials_of,
    identify,
    is_for_this_machine,
    permit,
)
from durable_transport.protocol import ErrorCode

OLD, NEW = "the-old-secret-of-the-service", "the-new-secret-of-the-service"
SUBJECT, OTHER = "a/b", "a/c"
NOW = 1_800_000_000.0
GUARDED = Access(Secrets.parse([NEW, OLD]))
SIGNER = GUARDED.signer
assert SIGNER is not None
QUERY = SIGNER.query(SUBJECT, int(NOW) + 10).encode()

Headers = list[tuple[bytes, bytes]]


def _who(
    headers: Headers,
    query: bytes = b"",
    *,
    start: bool = False,
    subject: str | None = SUBJECT,
    now: float = NOW,
    access: Access = GUARDED,
) -> Principal | ErrorCode:
    shown = credentials_of(headers, query, start=start)
    found = identify(access, access.signer, shown, subject, now)
    return found.refusal.code if isinstance(found, Unknown) else found


def bearer(secret: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {secret}".encode()


def own(secret: str) -> tuple[bytes, bytes]:
    return b"x-proxy-secret", secret.encode()


WRONG, EXPIRED, FORGED = (
    ErrorCode.UNAUTHORIZED,
    ErrorCode.SIGNATURE_EXPIRED,
    ErrorCode.SIGNATURE_INVALID,
)
LINK = Principal(f"address of {SUBJECT}", OF_A_SIGNED_ADDRESS)
STRIP = (b"x-proxy-strip", b"X-Other, Authorization")


@pytest.mark.parametrize(
    ("headers", "query", "is_who"),
    [
        ([], b"", WRONG),
        ([own(NEW)], b"", SERVICE),
        ([own(OLD)], b"", SERVICE),
        ([own(NEW + "x")], b"", WRONG),
        ([own(NEW[:-1])], b"", WRONG),
        ([own("")], b"", WRONG),
        ([own(NEW), own(NEW)], b"", WRONG),
        ([own("wrong"), own(NEW)], b"", WRONG),
        ([own("wrong"), bearer(NEW)], b"", WRONG),
        ([bearer(NEW)], b"", SERVICE),
        ([(b"x-proxy-authorization", b"Bearer " + NEW.encode())], b"", SERVICE),
        ([(b"x-proxy-authorization", b"Bearer x"), bearer(NEW)], b"", WRONG),
        ([(b"x-proxy-authorization", b"Bearer " + NEW.encode()), own("wrong")], b"", WRONG),
        ([(b"authorization", b"bearer  " + NEW.encode())], b"", SERVICE),
        ([(b"authorization", b"Basic " + NEW.encode())], b"", WRONG),
        ([(b"authorization", NEW.encode())], b"", WRONG),
        ([bearer(NEW), bearer(NEW)], b"", WRONG),
        ([(b"cookie", b"x-proxy-secret=" + NEW.encode())], b"", WRONG),
        ([(b"proxy-authorization", b"Bearer " + NEW.encode())], b"", WRONG),
        ([], b"secret=" + NEW.encode(), WRONG),
        ([own("\xff" * 20)], b"", WRONG),
        ([], QUERY, LINK),
        ([own("wrong")], QUERY, LINK),
        ([own(NEW)], QUERY + b"x", SERVICE),
        ([], b"offset=-1&" + QUERY + b"&live=sse", LINK),
        ([], QUERY + b"x", FORGED),
        ([], b"signature=&expires=", WRONG),
        ([], b"signature=x", WRONG),
        ([], b"signature=x&expires=1", FORGED),
        ([], b"expires=99999999999", WRONG),
        ([], QUERY + b"&expires=99999999999", FORGED),
        ([], b"&" * 200 + QUERY, WRONG),
    ],
)
def test_who_it_is(headers: Headers, query: bytes, is_who: Principal | ErrorCode) -> None:
    if query.startswith(b"&&"):
        query = b"&".join(b"a=%d" % number for number in range(200)) + b"&" + query.lstrip(b"&")
    assert _who(headers, query) == is_who


def test_an_address_is_of_one_generation_and_expires() -> None:
    assert _who([], QUERY, subject=OTHER) is FORGED
    assert _who([], QUERY, subject=None) is WRONG
    assert _who([], QUERY, now=NOW + 10) is EXPIRED


@pytest.mark.parametrize(
    ("headers", "is_who"),
    [
        ([bearer(NEW)], WRONG),
        ([bearer(NEW), STRIP], SERVICE),
        ([bearer(NEW), (b"x-proxy-strip", b"x-other")], WRONG),
        ([bearer("sk-of-the-upstream"), own(NEW)], SERVICE),
        ([bearer("sk-theirs"), (b"x-proxy-authorization", b"Bearer " + NEW.encode())], SERVICE),
        ([bearer("sk-of-the-upstream"), own("wrong")], WRONG),
        ([bearer("sk-of-the-upstream"), STRIP, own(NEW)], SERVICE),
    ],
)
def test_on_a_start_authorization_is_the_upstreams(
    headers: Headers, is_who: Principal | ErrorCode
) -> None:
    assert _who(headers, start=True, subject=None) == is_who


def test_without_a_secret_anybody_may_do_everything() -> None:
    assert _who([], access=Access()) == ANYBODY
    assert ANYBODY.rights == SERVICE.rights == ALL_RIGHTS == frozenset(Right)


def test_whoever_has_the_metrics_secret_may_read_the_figures_only() -> None:
    scraped = Access(GUARDED.secrets, metrics=Secrets.parse(["the-secret-of-prometheus"]))
    assert _who([bearer("the-secret-of-prometheus")], access=scraped) == SCRAPER
    assert _who([bearer("the-secret-of-prometheus")]) is WRONG
    assert _who([bearer(NEW)], access=scraped) == SERVICE
    assert [right for right in Right if permit(SCRAPER, right) is None] == [Right.METRICS]


def test_a_metrics_secret_that_keeps_nobody_out() -> None:
    metrics = Secrets.parse("the-secret-of-prometheus")
    with pytest.raises(SecretError, match="PROXY_SECRET"):
        Access(metrics=metrics)
    with pytest.raises(SecretError, match="make another one"):
        Access(GUARDED.secrets, metrics=Secrets.parse(OLD))
    assert Access(asks=True, metrics=metrics).metrics


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:4000", True),
        ("127.0.0.1:4000", True),
        ("127.8.8.8", True),
        ("[::1]:4000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost@evil.example", False),
        ("10.0.0.1", False),
        ("2130706433", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_what_is_addressed_to_this_machine(host: str, *, local: bool) -> None:
    assert is_for_this_machine([(b"host", host.encode())]) is local
    assert not is_for_this_machine([])
    assert not is_for_this_machine([(b"host", b"localhost"), (b"host", host.encode())])


def test_with_a_dependency_nobody_is_anybody() -> None:
    asks = Access(asks=True)
    assert asks.signer is None
    assert _who([], access=asks) is WRONG
    assert _who([own("")], access=asks) is WRONG
    assert _who([], QUERY, access=asks) is WRONG


def test_rights() -> None:
    for right in Right:
        assert permit(SERVICE, right) is None
        refusal = permit(LINK, right)
        assert (refusal is None) == (right in (Right.READ, Right.STOP))
        if refusal is not None:
            assert (refusal.code, refusal.status) == (ErrorCode.FORBIDDEN, 403)


@pytest.mark.parametrize(
    "text", ["", "short", "fifteen-chars..", "with a space in it", "ünïcödé" * 4]
)
def test_what_cannot_be_a_secret(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets.parse(text)
    assert not text or text not in str(caught.value)
    with pytest.raises(SecretError):
        Secrets.parse([NEW, text])


def test_no_secret_at_all() -> None:
    assert not Secrets.parse(None)
    assert not Secrets.parse([])
    assert not Secrets.parse(()).accept("")


def test_secrets_are_not_shown() -> None:
    shown = Credentials(NEW, ("1", "signature-text"))
    for text in (repr(GUARDED), repr(GUARDED.secrets), repr(shown)):
        assert NEW not in text
        assert "signature-text" not in text


def test_the_secret_does_not_go_upstream() -> None:
    secrets = GUARDED.secrets
    url = "https://api.example/v1?key=sk-of-the-upstream"
    assert check_forwarded(secrets, [bearer("sk-of-the-upstream")], url) is None
    for headers in ([bearer(NEW)], [bearer(OLD)], [(b"x-key", b"a " + NEW.encode())]):
        refusal = check_forwarded(secrets, headers, url)
        assert refusal is not None
        assert refusal.code is ErrorCode.BAD_REQUEST
        assert NEW not in refusal.message
    both = Access(Secrets.parse(NEW), metrics=Secrets.parse(OLD)).not_for_upstreams
    assert check_forwarded(both, [bearer(OLD)], url) is not None
    assert check_forwarded(both, [(b"x-key", NEW.encode())], url) is not None
    assert check_forwarded(both, [], f"https://a.example/?k={OLD}") is not None
    assert check_forwarded(Secrets(()), [bearer(NEW)], f"https://a.example/{NEW}") is None


@pytest.mark.parametrize("secret", [NEW, OLD, NEW.replace("e", "%65")])
@pytest.mark.parametrize("place", ["/v1?secret={}", "/{}/chat", "/v1?a=b&k=x{}y"])
def test_nor_does_it_in_the_url(secret: str, place: str) -> None:
    refusal = check_forwarded(GUARDED.secrets, [], "https://api.example" + place.format(secret))
    assert refusal is not None
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert NEW not in refusal.message


def test_a_signed_address_is_asked_for_where_one_helps() -> None:
    for subject, helps in ((SUBJECT, True), (None, False)):
        found = identify(GUARDED, GUARDED.signer, Credentials(), subject, NOW)
        assert isinstance(found, Unknown)
        assert ("signed address" in found.refusal.message) is helps
