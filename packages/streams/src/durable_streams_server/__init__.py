"""A Durable Streams server on an embedded log: every acknowledged append is on disk."""

from durable_streams_server._errors import (
    LogClosedError,
    LogError,
    OffsetOutOfRangeError,
    StorageError,
    StoreFormatError,
    StoreLockedError,
    StreamNotFoundError,
)
from durable_streams_server._json_mode import json_array, json_items, json_record
from durable_streams_server._log import Log, Reader
from durable_streams_server._model import *  # noqa: F403
