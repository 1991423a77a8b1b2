"""A proxy that writes streaming HTTP responses to a durable log while they are generated.

`create_app` is the proxy as an ASGI application; ``durable-proxy serve`` runs it.
"""

from durable_proxy._allowlist import PatternError
from durable_proxy._app import __version__, create_app
from durable_proxy._guard import Principal, Right, SecretError
from durable_proxy._service import Proxy
from durable_proxy._start_request import Limits
from durable_proxy._upstream import Timeouts

__all__ = [
    "Limits",
    "PatternError",
    "Principal",
    "Proxy",
    "Right",
    "SecretError",
    "Timeouts",
    "__version__",
    "create_app",
]
