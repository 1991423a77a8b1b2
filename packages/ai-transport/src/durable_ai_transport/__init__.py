"""Chat SDKs over durable streams: ``vercel`` and ``tanstack``, each with both halves.

`StreamTarget` names the stream that an answer is written into, and `drain` waits at shutdown for
those that are being written. ``native`` makes Python's own clients durable: openai, anthropic,
LangChain, pydantic-ai.
"""

from durable_ai_transport import native, tanstack, vercel
from durable_ai_transport._errors import AnswerInterrupted
from durable_ai_transport._response import StreamTarget, drain

__all__ = ["AnswerInterrupted", "StreamTarget", "drain", "native", "tanstack", "vercel"]
