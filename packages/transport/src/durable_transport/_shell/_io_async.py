"""What differs between waiting in a task and waiting in a thread: the half for tasks (anyio)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from inspect import isawaitable
from typing import Any

import anyio
import anyio.to_thread

HeaderSource = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
)
"""``headers=``: a mapping, or a (possibly async) function that is called for every request."""

sleep = anyio.sleep
Lock = anyio.Lock


async def evaluate(source: HeaderSource) -> Mapping[str, str]:
    """The headers to send now."""
    if source is None or isinstance(source, Mapping):
        return source or {}
    headers = source()
    return await headers if isawaitable(headers) else headers


async def run_blocking(function: Callable[[], Any]) -> Any:
    """Call a function that waits for a disk, off the event loop.

    Abandoned when cancelled: a disk that hangs must not make a task that cannot be cancelled.
    """
    return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


async def finish(parts: AsyncIterator[bytes]) -> None:
    """Run an iterator over the body of a closed answer to its end.

    HTTP libraries nest generators and close only the outermost. What is left of the inner ones is
    closed by the garbage collector: in a task of its own, or not at all once the loop is closed.
    The connection is closed, so this meets an error as soon as what was buffered is through.
    """
    with bounded_cleanup(1.0), suppress(Exception):
        async for _ in parts:
            pass


def bounded_cleanup(seconds: float) -> AbstractContextManager[object]:
    """A block that a cancelled task may still run, but not for longer than this."""
    return anyio.move_on_after(seconds, shield=True)


def at_most(seconds: float) -> AbstractContextManager[object]:
    """A block that is left after this time."""
    return anyio.move_on_after(seconds)
