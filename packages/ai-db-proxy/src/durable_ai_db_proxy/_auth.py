"""Who may do what in which session.

Without a dependency and without a secret, anybody may do everything, and the command listens to
this machine only.
"""

import hmac
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Request

from durable_ai_db_proxy._errors import refused
from durable_transport.protocol import ErrorCode

SHORTEST_SECRET = 16
BEARER = "bearer "


class Right(StrEnum):
    """What somebody may do in a session."""

    READ = "read"
    """Read its stream and everything in it."""
    WRITE = "write"
    """Send messages, regenerate, answer tool calls and approvals, be present."""
    STOP = "stop"
    """End what agents are saying."""
    AGENTS = "agents"
    """Register agents, take them out, and bring one along with a message."""
    MANAGE = "manage"
    """Make, set up, fork and delete it."""
    ACT_AS = "act-as"
    """Write in the name of others: for back ends."""


ALL_RIGHTS = frozenset(Right)
OF_A_NAME = ALL_RIGHTS - {Right.ACT_AS}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whom the service lets in.

    Attributes:
        name: The actor that they write as.
        rights: What they may do in the session that was asked about.
    """

    name: str
    rights: frozenset[Right] = OF_A_NAME


ANYBODY = Principal("", ALL_RIGHTS)


class SecretError(ValueError):
    """The secret cannot be one; the text says why, and does not repeat it."""


def anybody() -> Principal:
    """The dependency of a service that trusts everybody who reaches it."""
    return ANYBODY


def with_secret(secret: str) -> Callable[[Request], Principal]:
    """The dependency of a service with a secret: ``Authorization: Bearer SECRET``.

    Raises:
        SecretError: it is too short.
    """
    if len(secret) < SHORTEST_SECRET:
        raise SecretError(f"a secret has at least {SHORTEST_SECRET} characters")

    def service(request: Request) -> Principal:
        given = request.headers.get("authorization", "")
        token = given[len(BEARER) :] if given[: len(BEARER)].lower() == BEARER else ""
        if not hmac.compare_digest(token.encode(), secret.encode()):
            raise refused(ErrorCode.UNAUTHORIZED, "Authorization: Bearer SECRET is missing")
        return ANYBODY

    return service


def needing(
    authorize: Callable[..., Any],
) -> Callable[[Right], Callable[..., Coroutine[Any, Any, Principal]]]:
    """Dependencies that ask ``authorize`` and insist on a right."""

    def needs(right: Right) -> Callable[..., Coroutine[Any, Any, Principal]]:
        async def check(given: Annotated[Any, Depends(authorize)]) -> Principal:
            principal = _principal(given)
            if right not in principal.rights:
                raise refused(ErrorCode.FORBIDDEN, f"this needs the right to {right.value}")
            return principal

        return check

    return needs


def _principal(given: Any) -> Principal:
    match given:
        case Principal():
            return given
        case str() if given:
            return Principal(given)
        case None:
            raise refused(ErrorCode.UNAUTHORIZED, "the request is from nobody who may come in")
        case _:
            raise TypeError(f"authorize= gave a {type(given).__name__}, and no Principal")


def acting(principal: Principal, wanted: str | None) -> str | None:
    """The actor that somebody writes as: ``wanted``, if they may write in that name.

    Raises:
        RefusedError: they may not write in this name.
    """
    if Right.ACT_AS in principal.rights:
        return wanted or principal.name or None
    if wanted not in (None, principal.name):
        raise refused(ErrorCode.FORBIDDEN, f"{principal.name!r} cannot write as somebody else")
    return principal.name
