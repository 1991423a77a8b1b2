"""A service for chat sessions that people and agents share, each of them one durable log.

`create_app` is the service as an ASGI application; ``durable-sessions serve`` runs it.
"""

from durable_ai_db_proxy._app import SessionServer, __version__, create_app
from durable_ai_db_proxy._auth import Principal, Right, SecretError
from durable_ai_db_proxy._embedded import EmbeddedLog
from durable_ai_db_proxy._log import SessionLog
from durable_ai_db_proxy._models import AgentSpec
from durable_ai_db_proxy._policy import RunPolicy, Trigger
from durable_ai_db_proxy._remote import RemoteLog
from durable_ai_db_proxy._runs import AgentLimits

__all__ = [
    "AgentLimits",
    "AgentSpec",
    "EmbeddedLog",
    "Principal",
    "RemoteLog",
    "Right",
    "RunPolicy",
    "SecretError",
    "SessionLog",
    "SessionServer",
    "Trigger",
    "__version__",
    "create_app",
]
