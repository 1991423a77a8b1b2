"""Chat sessions as live collections: messages, tool calls, approvals, presence, from one log."""

from importlib.metadata import version

__version__ = version("durable-ai-db")

__all__ = ["__version__"]
