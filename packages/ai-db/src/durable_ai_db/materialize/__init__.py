"""What a session's chunks say: messages, tool calls, results, approvals, generations, counts. Pure.

materializer = Materializer(session_id="support-42")
for change in materializer.apply(rows):
    ...
materializer.messages["a1"].text
"""

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._format import (
    ChunkError,
    ChunkFormat,
    ChunkReader,
    UnknownChunkError,
)
from durable_ai_db.materialize._materializer import Materializer
from durable_ai_db.materialize._rows import (
    ActiveGenerationRow,
    ApprovalRow,
    BadRowError,
    ChunkRow,
    JsonPart,
    MessageRow,
    Part,
    Row,
    RowChange,
    Skipped,
    StatsRow,
    TextPart,
    ToolCallPart,
    ToolCallRow,
    ToolResultPart,
    ToolResultRow,
)
from durable_ai_db.materialize._text import Text
from durable_ai_db.materialize.formats import DEFAULT_FORMATS
from durable_ai_db.materialize.history import HISTORY_STYLES, HistoryStyle, to_messages, to_resume

__all__ = [
    "DEFAULT_FORMATS",
    "HISTORY_STYLES",
    "ActiveGenerationRow",
    "ApprovalRow",
    "BadRowError",
    "ChunkError",
    "ChunkFormat",
    "ChunkReader",
    "ChunkRow",
    "Draft",
    "HistoryStyle",
    "JsonPart",
    "Materializer",
    "MessageRow",
    "Part",
    "Row",
    "RowChange",
    "Skipped",
    "StatsRow",
    "Text",
    "TextPart",
    "ToolCallPart",
    "ToolCallRow",
    "ToolResultPart",
    "ToolResultRow",
    "UnknownChunkError",
    "to_messages",
    "to_resume",
]
