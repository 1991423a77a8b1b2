"""``durable-proxy``: the proxy as a command, and what looks after its generations.

Each command is in a module of its own or beside its like; `_main` puts them together.
"""

from durable_proxy._cli._main import main

__all__ = ["main"]
