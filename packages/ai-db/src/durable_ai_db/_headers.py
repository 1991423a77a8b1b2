"""Headers for every request, such as credentials."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TypeAlias

HeaderSource: TypeAlias = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
)
"""A mapping, or a (possibly async) function that is called for every request."""


async def evaluated(source: HeaderSource) -> Mapping[str, str]:
    """The headers to send now."""
    if source is None or isinstance(source, Mapping):
        return source or {}
    headers = source()
    return await headers if isawaitable(headers) else headers
