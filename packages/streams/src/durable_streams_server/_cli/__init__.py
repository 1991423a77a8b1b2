"""``durable-streams``: the server as a command, and what looks after its streams.

Each command is a module of its own; `_main` puts them together.
"""

from durable_streams_server._cli._main import main

__all__ = ["main"]
