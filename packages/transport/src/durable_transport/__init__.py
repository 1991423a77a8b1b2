"""Durable transports for httpx and httpx2: streaming responses that survive a drop.

`AsyncDurableTransport` and `DurableTransport` go into an httpx2 client (and, from
`durable_transport.httpx`, into an httpx client); requests then run through a durable proxy, which
writes each response to a log. A dropped connection is invisible, and a response that was left can
be read on later, by another process too. `session` and `resume` say which conversation a request
belongs to.
"""

from durable_transport._entries import ActiveGeneration, Sessions, Storage
from durable_transport._errors import (
    DurableTransportError,
    GenerationAborted,
    GenerationError,
    GenerationFailed,
    GenerationNotFound,
    GenerationOrphaned,
    GenerationTimedOut,
    HeaderCollision,
    InvalidProxyURL,
    NoDataTimeout,
    NotADurableProxy,
    OffsetOutOfRange,
    ProxyError,
    ProxyProtocolError,
    ProxyRefused,
    ProxyUnreachable,
    StorageError,
    UpstreamUnreachable,
)
from durable_transport._headers import DurableHeaders, resume, session
from durable_transport._progress import Progress
from durable_transport._shell._async_httpx2 import AsyncDurableTransport
from durable_transport._shell._sync_httpx2 import DurableTransport
from durable_transport._storage import FileStorage, MemoryStorage
from durable_transport._timing import Timing

__all__ = [
    "ActiveGeneration",
    "AsyncDurableTransport",
    "DurableHeaders",
    "DurableTransport",
    "DurableTransportError",
    "FileStorage",
    "GenerationAborted",
    "GenerationError",
    "GenerationFailed",
    "GenerationNotFound",
    "GenerationOrphaned",
    "GenerationTimedOut",
    "HeaderCollision",
    "InvalidProxyURL",
    "MemoryStorage",
    "NoDataTimeout",
    "NotADurableProxy",
    "OffsetOutOfRange",
    "Progress",
    "ProxyError",
    "ProxyProtocolError",
    "ProxyRefused",
    "ProxyUnreachable",
    "Sessions",
    "Storage",
    "StorageError",
    "Timing",
    "UpstreamUnreachable",
    "resume",
    "session",
]
