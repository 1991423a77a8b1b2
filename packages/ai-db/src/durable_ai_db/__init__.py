"""Chat sessions as live collections: messages, tool calls, approvals, presence, from one log.

`durable_ai_db.live` holds collections that follow changes and what can be derived from them,
`durable_ai_db.state` the messages of the State Protocol.
"""

from importlib.metadata import version

from durable_ai_db.live import Collection, Deleted, Inserted, Source, Updated, follow

__version__ = version("durable-ai-db")

__all__ = [
    "Collection",
    "Deleted",
    "Inserted",
    "Source",
    "Updated",
    "__version__",
    "follow",
]
