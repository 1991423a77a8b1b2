"""The pleasant way to say which session a request belongs to.

    client.chat.completions.create(..., extra_headers=session("chat-1"))
    client.chat.completions.create(..., extra_headers=resume("chat-1"))

Where a framework leaves no room for extra headers, the same object is a context manager, and every
request made inside it carries them:

    with session("chat-1"):
        await agent.run("Hello")
"""

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import Self

from durable_transport.protocol import ProxyHeader, to_uuid

_ambient: ContextVar[tuple[Mapping[str, str], ...]] = ContextVar("durable_headers", default=())


class DurableHeaders(dict[str, str]):
    """Request headers for a durable transport; also a context manager that applies them."""

    def __enter__(self) -> Self:
        _ambient.set((*_ambient.get(), self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The stack lives in the context variable and not in self: the same object may be in use
        # in several tasks at once.
        _ambient.set(_ambient.get()[:-1])


def session(
    session_id: str, *, request_id: str | None = None, ttl: float | timedelta | None = None
) -> DurableHeaders:
    """Headers that make a request a durable generation of a session.

    Args:
        session_id: Any text; it names the conversation, and `resume` finds the generation by it.
        request_id: Makes the start idempotent: the same id in the same session is the same
            generation, however often it is sent. Made up when absent.
        ttl: Seconds for which the generation can be resumed after its last sign of life
            (default: one hour).
    """
    headers = DurableHeaders({ProxyHeader.SESSION_ID: header_text(session_id)})
    if request_id is not None:
        headers[ProxyHeader.REQUEST_ID] = header_text(request_id)
    if ttl is not None:
        headers[ProxyHeader.ACTIVE_GENERATION_TTL] = _milliseconds(ttl)
    return headers


def turn(session_id: str, turn_id: str, *, ttl: float | timedelta | None = None) -> DurableHeaders:
    """Headers that make everything one piece of work asks for repeatable: once for each question.

    For work that takes several requests, such as an agent that calls tools. Of the same turn, a
    request with the same method, URL and body is the same generation: to do the work again, after
    a crash and in another process, reads from the log what was asked before, follows what still
    runs, and asks the upstream only what is new.

    Args:
        session_id: As in `session`.
        turn_id: Names the piece of work within the session, such as the id of the user's message.
        ttl: As in `session`.
    """
    headers = session(session_id, ttl=ttl)
    headers[ProxyHeader.TURN_ID] = header_text(turn_id)
    return headers


def resume(
    session_id: str, *, from_start: bool = False, ttl: float | timedelta | None = None
) -> DurableHeaders:
    """Headers that make a request read the session's active generation instead of starting one.

    The request's own body is not used and nothing is sent to the upstream. Without an active
    generation the answer is 204 with no body.

    Args:
        session_id: As given to `session`.
        from_start: Replay the whole body; by default only what was not consumed yet is read.
        ttl: Ignore a generation without a sign of life for this many seconds.
    """
    headers = DurableHeaders(
        {
            ProxyHeader.SESSION_ID: header_text(session_id),
            ProxyHeader.RESUME_ACTIVE_GENERATION: "true",
        }
    )
    if from_start:
        headers[ProxyHeader.REPLAY_FROM_START] = "true"
    if ttl is not None:
        headers[ProxyHeader.ACTIVE_GENERATION_TTL] = _milliseconds(ttl)
    return headers


def session_headers(session_id: str | None) -> dict[str, str]:
    """What a transport's own session asks for; weaker than whatever its callers say."""
    named = {} if session_id is None else session(session_id)
    return {name.lower(): value for name, value in named.items()}


def ambient_headers() -> dict[str, str]:
    """What the ``with session(...)`` blocks around this call ask for; the innermost one wins."""
    merged: dict[str, str] = {}
    for headers in _ambient.get():
        merged.update({name.lower(): value for name, value in headers.items()})
    return merged


def header_text(identifier: str) -> str:
    """The identifier if it can be a header value, else the UUID it stands for on the wire."""
    if not identifier or identifier != identifier.strip():
        raise ValueError(f"{identifier!r} is not an id: it is empty or has spaces around it")
    if identifier.isascii() and identifier.isprintable():
        return identifier
    return str(to_uuid(identifier))


def _milliseconds(ttl: float | timedelta) -> str:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not seconds > 0:
        raise ValueError(f"ttl must be a positive number of seconds, not {ttl!r}")
    return str(round(seconds * 1000))
