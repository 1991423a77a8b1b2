"""The chunk formats that are known. Pure."""

from typing import Final

from durable_ai_db.materialize._format import ChunkFormat
from durable_ai_db.materialize.formats._agui import AGUI
from durable_ai_db.materialize.formats._anthropic import ANTHROPIC
from durable_ai_db.materialize.formats._openai_chat import OPENAI_CHAT
from durable_ai_db.materialize.formats._openai_responses import OPENAI_RESPONSES
from durable_ai_db.materialize.formats._tanstack import TANSTACK
from durable_ai_db.materialize.formats._vercel import VERCEL

DEFAULT_FORMATS: Final[tuple[ChunkFormat, ...]] = (
    TANSTACK,
    AGUI,
    VERCEL,
    OPENAI_RESPONSES,
    ANTHROPIC,
    OPENAI_CHAT,
)
"""In the order in which they are asked; no two know the same chunk."""

__all__ = [
    "AGUI",
    "ANTHROPIC",
    "DEFAULT_FORMATS",
    "OPENAI_CHAT",
    "OPENAI_RESPONSES",
    "TANSTACK",
    "VERCEL",
]
