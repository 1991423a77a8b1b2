"""Signed addresses: whoever has one may read and stop one generation, for a while. Pure.

A signature is an HMAC-SHA256 over what it grants, to which generation, and until when. Its key is
made from the service secret, so nodes that share the secret share the addresses, and nothing about
an address is stored. A secret that is being replaced stays valid beside its successor: the first
one signs, all are tried.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from typing import Self

_KEY_PURPOSE = b"durable-proxy: key of signed addresses, 1"
_MESSAGE = "durable-proxy: read and stop\n{subject}\n{expires}"
_EXPIRES_DIGITS = 12


class Verdict(Enum):
    """What a signature is worth."""

    VALID = auto()
    EXPIRED = auto()
    INVALID = auto()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs, and checks signatures.

    Attributes:
        keys: The first one signs.
    """

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def from_secrets(cls, secrets: Iterable[str]) -> Self:
        """Make the keys from service secrets, of which the first one is the current one."""
        return cls(tuple(_hmac(secret.encode(), _KEY_PURPOSE) for secret in secrets))

    def query(self, subject: str, expires: int) -> str:
        """The query of an address of ``subject`` that is good until ``expires`` (epoch seconds)."""
        return f"expires={expires}&signature={_signature(self.keys[0], subject, str(expires))}"

    def judge(self, subject: str, expires: str, signature: str, now: float) -> Verdict:
        """Judge what came in an address; ``now`` in epoch seconds."""
        given = signature.encode()
        # All keys, and whole signatures: the time that this takes says nothing.
        expected = [_signature(key, subject, expires).encode() for key in self.keys]
        genuine = sum(hmac.compare_digest(given, one) for one in expected)
        if not genuine or not _is_time(expires):
            return Verdict.INVALID
        return Verdict.VALID if now < int(expires) else Verdict.EXPIRED


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _EXPIRES_DIGITS


def _signature(key: bytes, subject: str, expires: str) -> str:
    digest = _hmac(key, _MESSAGE.format(subject=subject, expires=expires).encode())
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, sha256)
