"""Tokens that let a worker speak about one wake, and nothing else (PROTOCOL section 12.9). Pure.

A token is a JSON Web Token signed with HMAC-SHA256. It does not decide whether the wake is still
the current one: the stored generation does.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

TOKEN_SECONDS = 24 * 3600.0
"""Longer than anybody should hold one wake: fencing and the lease end it much sooner."""
MAX_TOKEN_LENGTH = 1024

_HEADER = {"alg": "HS256", "typ": "JWT"}


class TokenError(Exception):
    """The token was not made here, or not for this."""


class TokenExpiredError(TokenError):
    """It was made here, too long ago."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token stands for: one generation of one incarnation of a subscription."""

    incarnation: str
    generation: int


def make_token(secret: bytes, grant: Grant, now: float) -> str:
    """A token that holds for `TOKEN_SECONDS` from ``now`` (epoch seconds) on."""
    claims = {
        "sub": grant.incarnation,
        "generation": grant.generation,
        "exp": int(now + TOKEN_SECONDS),
    }
    signed = f"{_encode_json(_HEADER)}.{_encode_json(claims)}"
    return f"{signed}.{_encode(_sign(secret, signed))}"


def read_token(secret: bytes, token: str, now: float) -> Grant:
    """What a token grants.

    Raises:
        TokenExpiredError: its time is over.
        TokenError: it is not a token of this secret.
    """
    signed, _, signature = token.rpartition(".")
    if len(token) > MAX_TOKEN_LENGTH or not signed:
        raise TokenError
    expected = _encode(_sign(secret, signed))
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise TokenError
    # The secret signs nothing but tokens of this one kind.
    payload = signed.partition(".")[2]
    claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if claims["exp"] <= now:
        raise TokenExpiredError
    return Grant(claims["sub"], claims["generation"])


def _sign(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode("utf-8", "replace"), "sha256")


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _encode_json(value: Mapping[str, object]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())
