"""What every package of the family has to agree on: headers, offsets, wire models, error codes.

Pure: nothing here does I/O, reads a clock or imports an HTTP library.
"""

from durable_transport.protocol._codes import ErrorCode, TerminalCode
from durable_transport.protocol._control import (
    ByteCounts,
    ControlEvent,
    ControlMessage,
    OptionsPayload,
    Rejected,
    StartPayload,
    StopPayload,
    TerminalPayload,
    Timing,
)
from durable_transport.protocol._generation import (
    GENERATIONS,
    GenerationPaths,
    StartAnswer,
    generation_paths,
    parse_generation_path,
    session_prefix,
    to_uuid,
)
from durable_transport.protocol._headers import (
    HOP_BY_HOP_HEADERS,
    ProxyHeader,
    StreamHeader,
)
from durable_transport.protocol._offsets import (
    BEGINNING,
    MAX_POSITION,
    NOW,
    OFFSET_WIDTH,
    InvalidOffsetError,
    format_offset,
    parse_offset,
)

__all__ = [
    "BEGINNING",
    "GENERATIONS",
    "HOP_BY_HOP_HEADERS",
    "MAX_POSITION",
    "NOW",
    "OFFSET_WIDTH",
    "ByteCounts",
    "ControlEvent",
    "ControlMessage",
    "ErrorCode",
    "GenerationPaths",
    "InvalidOffsetError",
    "OptionsPayload",
    "ProxyHeader",
    "Rejected",
    "StartAnswer",
    "StartPayload",
    "StopPayload",
    "StreamHeader",
    "TerminalCode",
    "TerminalPayload",
    "Timing",
    "format_offset",
    "generation_paths",
    "parse_generation_path",
    "parse_offset",
    "session_prefix",
    "to_uuid",
]
