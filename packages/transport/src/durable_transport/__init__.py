"""Durable transports for httpx and httpx2: streaming responses that survive a drop.

`AsyncDurableTransport` and `DurableTransport` go into an httpx2 client (and, from
`durable_transport.httpx`, into an httpx client); requests then run through a durable proxy, which
writes each response to a log. A dropped connection is invisible, and a response that was left can
be read on later, by another process too. `session` and `resume` say which conversation a request
belongs to.

`DurableStream` reads and writes a stream on any server of the Durable Streams protocol, and
`IdempotentProducer` writes to one without waiting and without repeating itself.
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
from durable_transport._shell._async_stream import DurableStream, StreamReader
from durable_transport._shell._producer import IdempotentProducer
from durable_transport._shell._sync_httpx2 import DurableTransport
from durable_transport._shell._sync_stream import SyncDurableStream, SyncStreamReader
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
]
