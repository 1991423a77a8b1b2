"""Errors of the proxy protocol: its codes, and the one table from code to status. Pure.

PROXY_PROTOCOL section 11. Whatever the protocol has no code for keeps that of the other surfaces,
in capitals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from durable_proxy._errors import RETRY_AFTER, Refusal
from durable_transport.protocol import ErrorCode


class V1Code(StrEnum):
    """Codes of section 11."""

    MISSING_UPSTREAM_URL = "MISSING_UPSTREAM_URL"
    MISSING_UPSTREAM_METHOD = "MISSING_UPSTREAM_METHOD"
    INVALID_UPSTREAM_METHOD = "INVALID_UPSTREAM_METHOD"
    REDIRECT_NOT_ALLOWED = "REDIRECT_NOT_ALLOWED"
    INVALID_ACTION = "INVALID_ACTION"
    MISSING_SECRET = "MISSING_SECRET"  # noqa: S105 - a code
    INVALID_SECRET = "INVALID_SECRET"  # noqa: S105 - a code
    SIGNATURE_EXPIRED = "SIGNATURE_EXPIRED"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    MISSING_SIGNATURE = "MISSING_SIGNATURE"
    UPSTREAM_NOT_ALLOWED = "UPSTREAM_NOT_ALLOWED"
    UPSTREAM_ERROR = "UPSTREAM_ERROR"
    STORAGE_ERROR = "STORAGE_ERROR"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    NOT_FOUND = "NOT_FOUND"
    STREAM_NOT_FOUND = "STREAM_NOT_FOUND"


STATUS: Mapping[V1Code, int] = MappingProxyType(
    {
        V1Code.MISSING_UPSTREAM_URL: 400,
        V1Code.MISSING_UPSTREAM_METHOD: 400,
        V1Code.INVALID_UPSTREAM_METHOD: 400,
        V1Code.REDIRECT_NOT_ALLOWED: 400,
        V1Code.INVALID_ACTION: 400,
        V1Code.MISSING_SECRET: 401,
        V1Code.INVALID_SECRET: 401,
        V1Code.SIGNATURE_EXPIRED: 401,
        V1Code.SIGNATURE_INVALID: 401,
        V1Code.MISSING_SIGNATURE: 401,
        V1Code.UPSTREAM_NOT_ALLOWED: 403,
        V1Code.UPSTREAM_ERROR: 502,
        V1Code.STORAGE_ERROR: 502,
        V1Code.UPSTREAM_TIMEOUT: 504,
        V1Code.NOT_FOUND: 404,
        V1Code.STREAM_NOT_FOUND: 404,
    }
)

_OURS: Mapping[ErrorCode, V1Code] = MappingProxyType(
    {
        ErrorCode.INVALID_PROXY_METHOD: V1Code.INVALID_UPSTREAM_METHOD,
        # What is no URL matches no pattern.
        ErrorCode.INVALID_PROXY_URL: V1Code.UPSTREAM_NOT_ALLOWED,
        ErrorCode.UPSTREAM_NOT_ALLOWED: V1Code.UPSTREAM_NOT_ALLOWED,
        ErrorCode.SIGNATURE_EXPIRED: V1Code.SIGNATURE_EXPIRED,
        ErrorCode.SIGNATURE_INVALID: V1Code.SIGNATURE_INVALID,
        ErrorCode.UPSTREAM_UNREACHABLE: V1Code.UPSTREAM_ERROR,
        ErrorCode.GENERATION_LOST: V1Code.UPSTREAM_ERROR,
        ErrorCode.UPSTREAM_TIMEOUT: V1Code.UPSTREAM_TIMEOUT,
        ErrorCode.STORAGE_UNAVAILABLE: V1Code.STORAGE_ERROR,
        ErrorCode.NOT_FOUND: V1Code.NOT_FOUND,
        ErrorCode.STREAM_NOT_FOUND: V1Code.STREAM_NOT_FOUND,
    }
)


@dataclass(frozen=True, slots=True)
class V1Refusal:
    """A no in the words of the proxy protocol.

    Attributes:
        retry_after: Seconds after which the same request may succeed.
    """

    code: str
    message: str
    status: int
    retry_after: int | None = None


def v1_refusal(code: V1Code, message: str) -> V1Refusal:
    """Refuse with one of the protocol's codes."""
    return V1Refusal(code, message, STATUS[code])


def translate(refusal: Refusal, *, secret_shown: bool) -> V1Refusal:
    """Say a refusal of ours in the words of the protocol.

    Args:
        refusal: Ours.
        secret_shown: The request had something that might have been the secret.
    """
    retry_after = RETRY_AFTER.get(refusal.code)
    if refusal.code is ErrorCode.UNAUTHORIZED:
        code = V1Code.INVALID_SECRET if secret_shown else V1Code.MISSING_SECRET
    elif refusal.code in _OURS:
        code = _OURS[refusal.code]
    else:
        return V1Refusal(refusal.code.upper(), refusal.message, refusal.status, retry_after)
    return V1Refusal(code, refusal.message, STATUS[code], retry_after)


class V1RefusedError(Exception):
    """Carries a `V1Refusal` up to where it is rendered."""

    def __init__(self, refusal: V1Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal)

    def __str__(self) -> str:
        return f"{self.refusal.code}: {self.refusal.message}"
