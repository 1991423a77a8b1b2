"""Chat sessions as live collections: messages, tool calls, approvals, presence, from one log.

`durable_ai_db.live` holds collections that follow changes and what can be derived from them,
`durable_ai_db.state` the messages of the State Protocol.
"""

from importlib.metadata import version

from durable_ai_db._calls import AgentSpec, Fork
from durable_ai_db._chat_client import DurableChatClient
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
from durable_ai_db._outbox import PendingWrite
from durable_ai_db._rows import AgentRow, PresenceRow, SessionMetaRow
from durable_ai_db._session_db import SessionDB
from durable_ai_db._session_state import SessionCollections
from durable_ai_db._sync_client import SyncDurableChatClient
from durable_ai_db.live import Collection, Deleted, Inserted, Source, Updated, follow

__version__ = version("durable-ai-db")

__all__ = [
    "AgentRow",
    "AgentSpec",
    "Collection",
    "Deleted",
    "DurableChatClient",
    "Fork",
    "Inserted",
    "InvalidSession",
    "NotConnected",
    "PendingWrite",
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
    "SyncDurableChatClient",
    "TxidTimeout",
    "Updated",
    "__version__",
    "follow",
]
