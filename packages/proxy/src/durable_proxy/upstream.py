"""The proxy's way to call an upstream, for programs that relay answers of their own.

The call itself (`open_upstream`), and what of the answer waits to be written (`Pipe`). Which URLs
may be called is in `durable_proxy.targets`, how it all ends in `durable_proxy.generation`.
"""

from durable_proxy._egress import Egress, EgressError
from durable_proxy._pipe import Batch, Pipe
from durable_proxy._upstream import (
    Timeouts,
    Upstream,
    UpstreamAnswer,
    UpstreamError,
    open_upstream,
)
from durable_proxy._upstream_request import UpstreamRequest

__all__ = [
    "Batch",
    "Egress",
    "EgressError",
    "Pipe",
    "Timeouts",
    "Upstream",
    "UpstreamAnswer",
    "UpstreamError",
    "UpstreamRequest",
    "open_upstream",
]
