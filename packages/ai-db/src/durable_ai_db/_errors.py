# ruff: noqa: N818  (named like the errors of the transports)
"""What can go wrong with a session, as a map.

SessionError                    session, code, status
├── you misused it
│   ├── InvalidSession          (ValueError)  the address or the id cannot be one
│   └── NotConnected            connect() comes first, or disconnect() came before
├── the service said no         (the optimistic change is taken back)
│   ├── SessionNotFound         404
│   ├── SessionGone             410: it was deleted
│   ├── SessionForbidden        401, 403
│   ├── SessionConflict         409
│   └── SessionRefused          any other refusal, such as 400, 413 or 422
└── nobody knows
    ├── SessionUnreachable      no usable answer; queued writes stay queued
    ├── SessionProtocolError    what answers is no session service
    ├── TxidTimeout             (TimeoutError)  a write did not come back in the log in time
    └── SessionClosed           disconnect() or close() came first
"""

from http import HTTPStatus
from typing import ClassVar, Final


class SessionError(Exception):
    """Something went wrong with a session.

    Attributes:
        session: The session's id.
        detail: What was seen, in words.
        status: HTTP status of the answer, None when there was none.
        code: The service's error code, None when it gave none.
    """

    summary: ClassVar[str] = "the session cannot be used"

    def __init__(
        self, session: str, detail: str = "", *, status: int | None = None, code: str | None = None
    ) -> None:
        self.session = session
        self.detail = detail
        self.status = status
        self.code = code
        super().__init__(session, detail)

    def __str__(self) -> str:
        what = f"{self.summary}: {self.detail}" if self.detail else self.summary
        status = "" if self.status is None else f", status {self.status}"
        code = "" if self.code is None else f", code {self.code}"
        return f"{what} [session {self.session!r}{status}{code}]"


class InvalidSession(SessionError, ValueError):
    """The address of the service, or the id of the session, cannot be one."""

    summary = "this cannot be a session"


class NotConnected(SessionError):
    """The client is not connected."""

    summary = "the client is not connected; await connect() first"


class SessionNotFound(SessionError):
    """The service knows no such session, or nothing of that id in it."""

    summary = "there is no such session, or nothing of that id in it"


class SessionGone(SessionError):
    """The session was deleted."""

    summary = "the session was deleted"


class SessionForbidden(SessionError):
    """The service wants other credentials, or does not let these do that."""

    summary = "the service does not allow it with these credentials"


class SessionConflict(SessionError):
    """What was asked contradicts the state of the session."""

    summary = "it contradicts the state of the session"


class SessionRefused(SessionError):
    """The service refuses, and would again."""

    summary = "the service refuses"


class SessionUnreachable(SessionError):
    """No usable answer from the service."""

    summary = "no usable answer from the service"


class SessionProtocolError(SessionError):
    """What answers is no session service."""

    summary = "what answers is no session service; check the address, and what lies between"


class TxidTimeout(SessionError, TimeoutError):
    """A transaction was not seen in the log in time: the write may have happened."""

    summary = "the write did not come back in time"


class SessionClosed(SessionError):
    """The session was closed by this side while something waited for it."""

    summary = "closed while waiting"


_OF_STATUS: Final[dict[int, type[SessionError]]] = {
    HTTPStatus.UNAUTHORIZED: SessionForbidden,
    HTTPStatus.FORBIDDEN: SessionForbidden,
    HTTPStatus.NOT_FOUND: SessionNotFound,
    HTTPStatus.CONFLICT: SessionConflict,
    HTTPStatus.GONE: SessionGone,
    HTTPStatus.REQUEST_TIMEOUT: SessionUnreachable,
    HTTPStatus.TOO_EARLY: SessionUnreachable,
    HTTPStatus.TOO_MANY_REQUESTS: SessionUnreachable,
}
"""What a refusal means; any other of 400 to 499 is `SessionRefused`."""


def error_of(status: int) -> type[SessionError]:
    """Which error an HTTP status that is no success stands for."""
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SessionUnreachable
    return SessionRefused if status >= HTTPStatus.BAD_REQUEST else SessionProtocolError
