"""What differs between waiting in a task and waiting in a thread: the half for threads."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

HeaderSource = Mapping[str, str] | Callable[[], Mapping[str, str]] | None
"""``headers=``: a mapping, or a function that is called for every request."""

sleep = time.sleep
Lock = threading.Lock


def evaluate(source: HeaderSource) -> Mapping[str, str]:
    """The headers to send now."""
    if source is None or isinstance(source, Mapping):
        return source or {}
    return source()


def run_blocking(function: Callable[[], Any]) -> Any:
    """Call a function that waits for a disk."""
    return function()


def finish(parts: Iterator[bytes]) -> None:
    """Close an iterator over the body of a closed answer."""
    close = getattr(parts, "close", None)
    if close is not None:
        close()


def bounded_cleanup(seconds: float) -> AbstractContextManager[object]:  # noqa: ARG001
    """Nothing cancels a thread, and a thread cannot leave a block early."""
    return nullcontext()


def at_most(seconds: float) -> AbstractContextManager[object]:  # noqa: ARG001
    """As above: here the connection's own time limits are the bound."""
    return nullcontext()
