"""A service for chat sessions that people and agents share, each of them one durable log."""

from importlib.metadata import version

__version__ = version("durable-ai-db-proxy")

__all__ = ["__version__"]
