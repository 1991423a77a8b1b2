"""Chat sessions as live collections: messages, tool calls, approvals, presence, from one log.

`durable_ai_db.live` holds collections that follow changes and what can be derived from them,
`durable_ai_db.state` the messages of the State Protocol.
"""

from importlib.metadata import version

from durable_ai_db._errors import (
    InvalidSession,
    NotConnected,
    SessionClosed,
    SessionConflict,
    SessionError,
    SessionForbidden,
    SessionGone,
    SessionNotFound,
    SessionProtocolError,
    SessionRefused,
    SessionUnreachable,
    TxidTimeout,
)
from durable_ai_db._rows import AgentRow, PresenceRow, SessionMetaRow
from durable_ai_db._session_db import SessionDB
from durable_ai_db._session_state import SessionCollections
from durable_ai_db.live import Collection, Deleted, Inserted, Source, Updated, follow

__version__ = version("durable-ai-db")

__all__ = [
    "AgentRow",
    "Collection",
    "Deleted",
    "Inserted",
    "InvalidSession",
    "NotConnected",
    "PresenceRow",
    "SessionClosed",
    "SessionCollections",
    "SessionConflict",
    "SessionDB",
    "SessionError",
    "SessionForbidden",
    "SessionGone",
    "SessionMetaRow",
    "SessionNotFound",
    "SessionProtocolError",
    "SessionRefused",
    "SessionUnreachable",
    "Source",
    "TxidTimeout",
    "Updated",
    "__version__",
    "follow",
]
