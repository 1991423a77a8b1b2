"""A Durable Streams server on an embedded log: every acknowledged append is on disk.

    `create_app`    the server as an ASGI application
    `Log`           the log itself, for programs that write and read streams in process
    `StreamsApp`    the HTTP surface of a log, to mount into an application of your own
    `Subscriptions` tells workers of a log's streams, by webhook or wake stream
    `send_raw`      a stream as the live body of an answer of your own

Operations (`Create`, `Append`, ...) go into `Log.transact`, outcomes (`Appended`, `StreamClosed`,
...) come out.
"""

from durable_streams_server._access import AdminAccess, was_passed_on
from durable_streams_server._asgi import StreamsApp
from durable_streams_server._errors import (
    LogClosedError,
    LogError,
    OffsetGoneError,
    OffsetOutOfRangeError,
    StorageError,
    StoreBrokenError,
    StoreDriverError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    StoreUrlError,
    StreamGoneError,
    StreamNotFoundError,
)
from durable_streams_server._exchange import ClientGoneError, Exchange, Limits
from durable_streams_server._json_mode import (
    json_array,
    json_items,
    json_prefix_length,
    json_record,
)
from durable_streams_server._live import send_raw
from durable_streams_server._log import Log
from durable_streams_server._model import (
    Append,
    Appended,
    Chunk,
    ConfigMismatch,
    ContentTypeMismatch,
    Create,
    Created,
    Delete,
    Deleted,
    Duplicate,
    EpochNotAtZero,
    Exists,
    Expected,
    Fork,
    ForkOutOfRange,
    ForkSourceGone,
    Gone,
    Heartbeat,
    Inspection,
    Noted,
    NotFound,
    NotOwner,
    Operation,
    Outcome,
    Outdated,
    Producer,
    Retention,
    SequenceConflict,
    SequenceGap,
    StaleEpoch,
    StreamClosed,
    StreamInfo,
    Touch,
    Trim,
)
from durable_streams_server._reader import Reader
from durable_streams_server._server import StreamsServer, create_app
from durable_streams_server._serving import LOOPBACK_HOSTS, BindError, bind, run, serve
from durable_streams_server._subscriptions import Subscriptions, SubscriptionSettings
from durable_streams_server._url import store_name
from durable_streams_server._webhook_policy import OriginPatternError, WebhookPolicy

__all__ = [
    "LOOPBACK_HOSTS",
    "AdminAccess",
    "Append",
    "Appended",
    "BindError",
    "Chunk",
    "ClientGoneError",
    "ConfigMismatch",
    "ContentTypeMismatch",
    "Create",
    "Created",
    "Delete",
    "Deleted",
    "Duplicate",
    "EpochNotAtZero",
    "Exchange",
    "Exists",
    "Expected",
    "Fork",
    "ForkOutOfRange",
    "ForkSourceGone",
    "Gone",
    "Heartbeat",
    "Inspection",
    "Limits",
    "Log",
    "LogClosedError",
    "LogError",
    "NotFound",
    "NotOwner",
    "Noted",
    "OffsetGoneError",
    "OffsetOutOfRangeError",
    "Operation",
    "OriginPatternError",
    "Outcome",
    "Outdated",
    "Producer",
    "Reader",
    "Retention",
    "SequenceConflict",
    "SequenceGap",
    "StaleEpoch",
    "StorageError",
    "StoreBrokenError",
    "StoreDriverError",
    "StoreFormatError",
    "StoreFullError",
    "StoreLockedError",
    "StoreUrlError",
    "StreamClosed",
    "StreamGoneError",
    "StreamInfo",
    "StreamNotFoundError",
    "StreamsApp",
    "StreamsServer",
    "SubscriptionSettings",
    "Subscriptions",
    "Touch",
    "Trim",
    "WebhookPolicy",
    "bind",
    "create_app",
    "json_array",
    "json_items",
    "json_prefix_length",
    "json_record",
    "run",
    "send_raw",
    "serve",
    "store_name",
    "was_passed_on",
]
