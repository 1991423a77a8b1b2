"""What the session service refuses, and the one table from error code to status. Pure.

Every refusal is JSON ``{"error": {"code", "message"}}``, as on all surfaces of the family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from durable_transport.protocol import ErrorCode

STATUS: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.BAD_REQUEST: 400,
        ErrorCode.INVALID_ID: 400,
        ErrorCode.INVALID_JSON: 400,
        ErrorCode.NO_AGENTS: 400,
        ErrorCode.UNAUTHORIZED: 401,
        ErrorCode.FORBIDDEN: 403,
        ErrorCode.UPSTREAM_NOT_ALLOWED: 403,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.SESSION_NOT_FOUND: 404,
        ErrorCode.MESSAGE_NOT_FOUND: 404,
        ErrorCode.AGENT_NOT_FOUND: 404,
        ErrorCode.ACTOR_NOT_FOUND: 404,
        ErrorCode.TOOL_CALL_NOT_FOUND: 404,
        ErrorCode.APPROVAL_NOT_FOUND: 404,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.REQUEST_TIMEOUT: 408,
        ErrorCode.SESSION_EXISTS: 409,
        ErrorCode.MESSAGE_EXISTS: 409,
        ErrorCode.RUN_ACTIVE: 409,
        ErrorCode.ALREADY_ANSWERED: 409,
        ErrorCode.SESSION_GONE: 410,
        ErrorCode.OFFSET_GONE: 410,
        ErrorCode.BODY_TOO_LARGE: 413,
        ErrorCode.INVALID_OFFSET: 400,
        ErrorCode.INTERNAL: 500,
        ErrorCode.SESSION_BUSY: 503,
        ErrorCode.STORAGE_UNAVAILABLE: 503,
        ErrorCode.SHUTTING_DOWN: 503,
    }
)

RETRY_AFTER: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.SHUTTING_DOWN: 1,
        ErrorCode.STORAGE_UNAVAILABLE: 1,
        ErrorCode.SESSION_BUSY: 1,
    }
)
"""Seconds after which the same request may succeed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service's no."""

    code: ErrorCode
    message: str

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS[self.code]


class RefusedError(Exception):
    """Carries a `Refusal` up to where it is rendered."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal)

    def __str__(self) -> str:
        return f"{self.refusal.code}: {self.refusal.message}"


def refused(code: ErrorCode, message: str) -> RefusedError:
    """The exception for a code and a message."""
    return RefusedError(Refusal(code, message))
