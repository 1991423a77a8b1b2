"""Who may do what. Pure.

A request is allowed by the first of these that holds:

1.  It carries the service secret: ``X-Proxy-Secret: SECRET``, ``X-Proxy-Authorization: Bearer
    SECRET``, or ``Authorization: Bearer SECRET`` where that header is not the upstream's (on a
    start it is, unless ``X-Proxy-Strip`` names it). The first of these headers that is there
    counts. The service may do everything.
2.  It carries the metrics secret, in the same headers. That grants reading the figures, and
    nothing else.
3.  Its address is signed. That grants reading and stopping one generation, and nothing else.
4.  The application's own dependency (``authorize=``) lets it in, as somebody with certain rights.
5.  There is neither a secret nor such a dependency: then anybody may do everything. The command
    listens to this machine only then, and wants a ``Host`` that means this machine and no header of
    a gateway: a web page can make a name of its own lead here, and a gateway beside us passes on
    whoever comes.

Whoever may start a generation may read and stop it as well: the answer to a start has its signed
addresses.
"""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Self
from urllib.parse import parse_qsl, unquote

from durable_proxy._errors import Refusal
from durable_proxy._headers import RawHeaders
from durable_proxy._signing import Signer, Verdict
from durable_transport.protocol import ErrorCode, ProxyHeader

SHORTEST_SECRET = 16
_HOST = re.compile(r"(localhost|[0-9.]+|\[[0-9a-f:]+\])(?::[0-9]+)?")
_FIELDS = 100

_SECRET = ProxyHeader.SECRET.lower().encode()
_BEARER = ProxyHeader.AUTHORIZATION.lower().encode()
_STRIP = ProxyHeader.STRIP.lower().encode()


class Right(StrEnum):
    """What somebody may do."""

    START = "start"
    """Start generations, and attach to those whose ids they know."""
    READ = "read"
    """Read the streams of any generation whose ids they know."""
    STOP = "stop"
    """Stop generations."""
    LIST = "list"
    """See which generations there are."""
    DELETE = "delete"
    """Remove generations with all that was written."""
    METRICS = "metrics"
    """Read the figures of a node."""


ALL_RIGHTS = frozenset(Right)
OF_A_SIGNED_ADDRESS = frozenset({Right.READ, Right.STOP})


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whom the proxy lets in.

    Attributes:
        name: Stands for them in limits and records: the same for all their requests.
        rights: What they may do.
    """

    name: str
    rights: frozenset[Right] = ALL_RIGHTS


ANYBODY = Principal("anybody")
SERVICE = Principal("service")
SCRAPER = Principal("scraper", frozenset({Right.METRICS}))


class SecretError(ValueError):
    """The secret cannot be one; the text says why, and does not repeat it."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Service secrets: the first is the current one, the others are still accepted."""

    texts: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, given: str | Iterable[str] | None) -> Self:
        """Check secrets; None and nothing are no secret at all.

        Raises:
            SecretError: one of them is too short, or cannot be in a header.
        """
        texts = (given,) if isinstance(given, str) else tuple(given or ())
        for text in texts:
            if len(text) < SHORTEST_SECRET:
                raise SecretError(f"a secret has at least {SHORTEST_SECRET} characters")
            if not all("!" <= character <= "~" for character in text):
                raise SecretError("a secret is printable ASCII without spaces")
        return cls(texts)

    def accept(self, given: str) -> bool:
        """Whether this is one of them. It takes as long whatever is given."""
        digest = sha256(given.encode()).digest()
        digests = [sha256(one.encode()).digest() for one in self.texts]
        return sum(hmac.compare_digest(digest, one) for one in digests) > 0

    def are_in(self, headers: RawHeaders) -> bool:
        """Whether one of them stands in the value of a header."""
        return any(text.encode() in value for text in self.texts for _, value in headers)

    def __bool__(self) -> bool:
        return bool(self.texts)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought along to show who it comes from.

    Attributes:
        secret: What it says the service secret is; None when it says nothing of one.
        signature: ``expires`` and ``signature`` of its address.
    """

    secret: str | None = field(default=None, repr=False)
    signature: tuple[str, str] | None = field(default=None, repr=False)


def credentials_of(headers: RawHeaders, query: bytes, *, start: bool = False) -> Credentials:
    """Read them off a request; ``start``: its ``Authorization`` is the upstream's."""
    secret = _single(headers, _SECRET)
    if secret is None:
        secret = _bearer(headers, _BEARER)
    if secret is None and not (start and b"authorization" not in _stripped(headers)):
        secret = _bearer(headers, b"authorization")
    return Credentials(secret, _signature(query))


def _bearer(headers: RawHeaders, name: bytes) -> str | None:
    scheme, _, token = (_single(headers, name) or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _single(headers: RawHeaders, name: bytes) -> str | None:
    """The value of a header; of several, one that is no secret."""
    values = [value for candidate, value in headers if candidate == name]
    return b", ".join(values).decode("latin-1").strip() if values else None


def _stripped(headers: RawHeaders) -> set[bytes]:
    listed = b",".join(value for name, value in headers if name == _STRIP)
    return {name.strip().lower() for name in listed.split(b",")}


def _signature(query: bytes) -> tuple[str, str] | None:
    if b"signature" not in query:
        return None
    try:
        fields = dict(parse_qsl(query.decode("latin-1"), max_num_fields=_FIELDS))
    except ValueError:
        return None
    if not {"expires", "signature"} <= fields.keys():
        return None
    return fields["expires"], fields["signature"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing that the request brought along lets it in; ``refusal`` says so."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Access:
    """What the proxy was told about who may come in.

    Attributes:
        secrets: The service's.
        asks: There is a dependency of the application that knows others.
        metrics: Secrets of those who may read the figures and nothing else.

    Raises:
        SecretError: a metrics secret would grant nothing less than what its bearer may do anyway.
    """

    secrets: Secrets = Secrets(())
    asks: bool = False
    metrics: Secrets = Secrets(())

    def __post_init__(self) -> None:
        if self.metrics and self.open:
            raise SecretError(
                "a metrics secret alone keeps nobody out: set the proxy's secret as well"
                " (PROXY_SECRET)"
            )
        if any(self.secrets.accept(text) for text in self.metrics.texts):
            raise SecretError(
                "the metrics secret is the proxy's own, which may do everything: make another one"
            )

    @property
    def open(self) -> bool:
        """Anybody may do everything."""
        return not self.secrets and not self.asks

    @property
    def not_for_upstreams(self) -> Secrets:
        """What is no business of an upstream."""
        return Secrets(self.secrets.texts + self.metrics.texts)

    @property
    def signer(self) -> Signer | None:
        """Signs addresses; None without a secret."""
        return Signer.from_secrets(self.secrets.texts) if self.secrets else None

    @property
    def address_signer(self) -> Signer | None:
        """Signs addresses that a protocol wants to be signed, even where nobody needs one.

        Where anybody may do everything the key is no secret: such an address grants nothing that
        its bearer could not do anyway.
        """
        return Signer.from_secrets(["anybody"]) if self.open else self.signer


def identify(
    access: Access, signer: Signer | None, shown: Credentials, subject: str | None, now: float
) -> Principal | Unknown:
    """Tell who sends a request.

    Args:
        access: Who may come in.
        signer: That of ``access``, if it has one.
        shown: What came along with the request.
        subject: The one generation that it is about, if any (`GenerationPaths.subject`).
        now: Epoch seconds.
    """
    if access.open:
        return ANYBODY
    if shown.secret is not None and access.secrets.accept(shown.secret):
        return SERVICE
    if shown.secret is not None and access.metrics.accept(shown.secret):
        return SCRAPER
    if shown.signature is not None and signer is not None and subject is not None:
        return by_address(signer, shown.signature, subject, now)
    if shown.secret is not None:
        return Unknown(_WRONG_SECRET)
    return Unknown(_NO_SECRET if subject is None else _NEITHER)


def by_address(
    signer: Signer, signature: tuple[str, str], subject: str, now: float
) -> Principal | Unknown:
    """Tell what the signature of an address is worth: ``expires`` and ``signature``."""
    verdict = signer.judge(subject, *signature, now)
    if verdict is Verdict.VALID:
        return Principal(f"address of {subject}", OF_A_SIGNED_ADDRESS)
    return Unknown(_SIGNATURES[verdict])


def is_for_this_machine(headers: RawHeaders) -> bool:
    """The request is addressed to this machine, by a name or address that only it has."""
    found = _HOST.fullmatch((_single(headers, b"host") or "").lower())
    if found is None:
        return False
    try:
        return found[1] == "localhost" or ip_address(found[1].strip("[]")).is_loopback
    except ValueError:
        return False


def permit(principal: Principal, right: Right) -> Refusal | None:
    """Why somebody may not do it; None when they may."""
    if right in principal.rights:
        return None
    return Refusal(ErrorCode.FORBIDDEN, f"this takes the right to {right}")


def check_forwarded(
    secrets: Secrets, headers: Sequence[tuple[bytes, bytes]], url: str
) -> Refusal | None:
    """Why these headers may not go upstream, to this URL: the secret is in them. None: they may."""
    if secrets.are_in(headers):
        return Refusal(
            ErrorCode.BAD_REQUEST,
            f"a header that would go upstream has a secret of the proxy's own: send it as"
            f" {ProxyHeader.SECRET}, or name the header in {ProxyHeader.STRIP}",
        )
    if secrets.are_in([(b"", text.encode()) for text in (url, unquote(url))]):
        return Refusal(
            ErrorCode.BAD_REQUEST,
            f"the upstream's URL has a secret of the proxy's own in it: send it as"
            f" {ProxyHeader.SECRET}",
        )
    return None


_NO_SECRET = Refusal(ErrorCode.UNAUTHORIZED, f"send the proxy's secret as {ProxyHeader.SECRET}")
_NEITHER = Refusal(
    ErrorCode.UNAUTHORIZED,
    f"send the proxy's secret as {ProxyHeader.SECRET}, or use a signed address",
)
_WRONG_SECRET = Refusal(ErrorCode.UNAUTHORIZED, "this is not the proxy's secret")
_SIGNATURES: Mapping[Verdict, Refusal] = {
    Verdict.EXPIRED: Refusal(
        ErrorCode.SIGNATURE_EXPIRED,
        "the address has expired: start the generation again with the same ids for a new one",
    ),
    Verdict.INVALID: Refusal(ErrorCode.SIGNATURE_INVALID, "the address's signature is not ours"),
}
