"""Names that clients choose, and the streams they stand for. Pure."""

import re

from durable_ai_db_proxy._errors import refused
from durable_transport.protocol import ErrorCode

SESSIONS = "sessions/"
"""Session streams: what clients read."""
AGENTS = "session-agents/"
"""Where a session's agents are called, and with which headers: nobody reads that from outside."""
NODES = "session-nodes/"
"""Which sessions a node has to do with: for whoever cleans up after it."""

_SESSION = re.compile(r"[A-Za-z0-9_.~:@=+,!$-]{1,200}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


def session_id(text: str) -> str:
    """A session's id, checked.

    Raises:
        RefusedError: it cannot be one.
    """
    if _SESSION.fullmatch(text) and text not in (".", ".."):
        return text
    raise refused(
        ErrorCode.INVALID_ID,
        "a session's id has 1 to 200 characters of A-Z a-z 0-9 and _ . ~ : @ = + , ! $ -",
    )


def name(text: str, what: str) -> str:
    """An id of anything else, checked.

    Raises:
        RefusedError: it cannot be one.
    """
    if _NAME.fullmatch(text):
        return text
    raise refused(
        ErrorCode.INVALID_ID, f"{what} has 1 to 256 characters, and no control characters"
    )


def session_path(session: str) -> str:
    """The stream of a session."""
    return SESSIONS + session


def agents_path(session: str) -> str:
    """The stream of a session's agents."""
    return AGENTS + session
