"""TanStack AI: AG-UI events, a connection, and the answering half."""

from durable_ai_transport.tanstack._chunks import (
    Chunk,
    ChunkDecoder,
    ChunkLike,
    Received,
    decode,
    encode,
    typed,
    wire,
)
from durable_ai_transport.tanstack._connection import DurableConnection, Run
from durable_ai_transport.tanstack._errors import (
    ChatRefused,
    ChunkError,
    TanStackError,
)
from durable_ai_transport.tanstack._legacy import Upgrade
from durable_ai_transport.tanstack._messages import Part, UIMessage
from durable_ai_transport.tanstack._processor import RunFailure, StreamProcessor
from durable_ai_transport.tanstack._read_proxy import read_proxy
from durable_ai_transport.tanstack._runs import join_run_response, to_resumable_run_response
from durable_ai_transport.tanstack._session import (
    SessionSnapshot,
    ensure_stream,
    materialize_snapshot,
    message_echo,
    sanitize_chunk,
    to_durable_chat_session_response,
    to_durable_stream_response,
)
from durable_ai_transport.tanstack._wire import run_input, to_wire

__all__ = [
    "ChatRefused",
    "Chunk",
    "ChunkDecoder",
    "ChunkError",
    "ChunkLike",
    "DurableConnection",
    "Part",
    "Received",
    "Run",
    "RunFailure",
    "SessionSnapshot",
    "StreamProcessor",
    "TanStackError",
    "UIMessage",
    "Upgrade",
    "decode",
    "encode",
    "ensure_stream",
    "join_run_response",
    "materialize_snapshot",
    "message_echo",
    "read_proxy",
    "run_input",
    "sanitize_chunk",
    "to_durable_chat_session_response",
    "to_durable_stream_response",
    "to_resumable_run_response",
    "to_wire",
    "typed",
    "wire",
]
