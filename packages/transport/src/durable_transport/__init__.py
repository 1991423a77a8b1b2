"""Durable transports for httpx and httpx2: streaming responses that survive a drop.

`AsyncDurableTransport` and `DurableTransport` go into an httpx2 client (and, from
`durable_transport.httpx`, into an httpx client); requests then run through a durable proxy, which
writes each response to a log. A dropped connection is invisible, and a response that was left can
be read on later, by another process too. `session`, `turn` and `resume` say which conversation a
request belongs to.

`DurableStream` reads and writes a stream on any server of the Durable Streams protocol, and
`IdempotentProducer` writes to one without waiting and without repeating itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from durable_transport._entries import ActiveGeneration, Sessions, Storage
from durable_transport._errors import (
    DurableTransportError,
    GenerationAborted,
    GenerationError,
    GenerationFailed,
    GenerationNotFound,
    GenerationOrphaned,
    GenerationTimedOut,
    GenerationTooLarge,
    GenerationTruncated,
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
from durable_transport._headers import DurableHeaders, resume, session, turn
from durable_transport._progress import Progress
from durable_transport._stop import Stopped
from durable_transport._storage import FileStorage, MemoryStorage
from durable_transport._stream._calls import Appended, StreamInfo
from durable_transport._stream._errors import (
    AppendUncertain,
    ContentTypeMismatch,
    InvalidOffset,
    InvalidStreamURL,
    ProducerFenced,
    ProducerGap,
    SequenceConflict,
    StreamClosed,
    StreamConflict,
    StreamError,
    StreamExists,
    StreamGone,
    StreamNotFound,
    StreamProtocolError,
    StreamRefused,
    StreamUnreachable,
)
from durable_transport._stream._follow import Batch
from durable_transport._stream._snapshot import Snapshot
from durable_transport._timing import Timing

if TYPE_CHECKING:
    from durable_transport._shell._async_httpx2 import AsyncDurableTransport
    from durable_transport._shell._async_stream import DurableStream, StreamReader
    from durable_transport._shell._producer import IdempotentProducer
    from durable_transport._shell._sync_httpx2 import DurableTransport
    from durable_transport._shell._sync_stream import SyncDurableStream, SyncStreamReader

_SHELLS = {
    "AsyncDurableTransport": "_async_httpx2",
    "DurableStream": "_async_stream",
    "StreamReader": "_async_stream",
    "IdempotentProducer": "_producer",
    "DurableTransport": "_sync_httpx2",
    "SyncDurableStream": "_sync_stream",
    "SyncStreamReader": "_sync_stream",
}
"""What needs an HTTP client, and where it is."""


def __getattr__(name: str) -> Any:
    """Load what needs an HTTP client when it is asked for.

    That takes longer than all the rest, and a server needs only what is in `protocol`.
    """
    if name not in _SHELLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    shell = import_module(f"durable_transport._shell.{_SHELLS[name]}")
    globals()[name] = found = getattr(shell, name)
    return found


__all__ = [
    "ActiveGeneration",
    "AppendUncertain",
    "Appended",
    "AsyncDurableTransport",
    "Batch",
    "ContentTypeMismatch",
    "DurableHeaders",
    "DurableStream",
    "DurableTransport",
    "DurableTransportError",
    "FileStorage",
    "GenerationAborted",
    "GenerationError",
    "GenerationFailed",
    "GenerationNotFound",
    "GenerationOrphaned",
    "GenerationTimedOut",
    "GenerationTooLarge",
    "GenerationTruncated",
    "HeaderCollision",
    "IdempotentProducer",
    "InvalidOffset",
    "InvalidProxyURL",
    "InvalidStreamURL",
    "MemoryStorage",
    "NoDataTimeout",
    "NotADurableProxy",
    "OffsetOutOfRange",
    "ProducerFenced",
    "ProducerGap",
    "Progress",
    "ProxyError",
    "ProxyProtocolError",
    "ProxyRefused",
    "ProxyUnreachable",
    "SequenceConflict",
    "Sessions",
    "Snapshot",
    "Stopped",
    "Storage",
    "StorageError",
    "StreamClosed",
    "StreamConflict",
    "StreamError",
    "StreamExists",
    "StreamGone",
    "StreamInfo",
    "StreamNotFound",
    "StreamProtocolError",
    "StreamReader",
    "StreamRefused",
    "StreamUnreachable",
    "SyncDurableStream",
    "SyncStreamReader",
    "Timing",
    "UpstreamUnreachable",
    "resume",
    "session",
    "turn",
]
