"""What the proxy itself refuses, and the one table from error code to status. Pure.

Every refusal is JSON ``{"error": {"code", "message"}}``; the message says what to change and never
carries an internal text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from durable_transport.protocol import ErrorCode

STATUS: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.BAD_REQUEST: 400,
        ErrorCode.INVALID_ID: 400,
        ErrorCode.INVALID_PROXY_URL: 400,
        ErrorCode.INVALID_PROXY_METHOD: 400,
        ErrorCode.UNAUTHORIZED: 401,
        ErrorCode.SIGNATURE_EXPIRED: 401,
        ErrorCode.SIGNATURE_INVALID: 401,
        ErrorCode.FORBIDDEN: 403,
        ErrorCode.UPSTREAM_NOT_ALLOWED: 403,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.REQUEST_TIMEOUT: 408,
        # Of all SDKs none sends this again by itself: what was stopped stays stopped.
        ErrorCode.GENERATION_ABORTED: 410,
        ErrorCode.BODY_TOO_LARGE: 413,
        ErrorCode.TOO_MANY_GENERATIONS: 429,
        ErrorCode.TOO_MANY_READERS: 429,
        ErrorCode.HEADERS_TOO_LARGE: 431,
        ErrorCode.INTERNAL: 500,
        ErrorCode.UPSTREAM_UNREACHABLE: 502,
        ErrorCode.GENERATION_LOST: 502,
        ErrorCode.STORAGE_UNAVAILABLE: 503,
        ErrorCode.GENERATION_STALLED: 503,
        ErrorCode.SHUTTING_DOWN: 503,
        ErrorCode.UPSTREAM_TIMEOUT: 504,
    }
)

RETRY_AFTER: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.SHUTTING_DOWN: 1,
        ErrorCode.STORAGE_UNAVAILABLE: 1,
        ErrorCode.GENERATION_STALLED: 5,
        ErrorCode.TOO_MANY_GENERATIONS: 2,
        ErrorCode.TOO_MANY_READERS: 2,
    }
)
"""Seconds after which the same request may succeed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The proxy's own no."""

    code: ErrorCode
    message: str

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS[self.code]


LOG_FAILED = Refusal(ErrorCode.STORAGE_UNAVAILABLE, "the log cannot be used at the moment")


class RefusedError(Exception):
    """Carries a `Refusal` up to where it is rendered."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal)

    def __str__(self) -> str:
        return f"{self.refusal.code}: {self.refusal.message}"
