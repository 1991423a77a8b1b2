"""Holds a call of a store's thread until the test lets it go."""

from __future__ import annotations

import asyncio
import os
from threading import Event
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
PATIENCE = 20 * UNIT
"""Longest wait of a test for something that is to happen."""


class Gate:
    """Closed when it is made; `open` lets everybody pass from then on."""

    def __init__(self) -> None:
        self._reached = Event()
        self._open = Event()

    def before(self, work: Callable[P, T]) -> Callable[P, T]:
        """The same work, done after the gate."""

        def held(*args: P.args, **kwargs: P.kwargs) -> T:
            self._pass()
            return work(*args, **kwargs)

        return held

    def after(self, work: Callable[P, T]) -> Callable[P, T]:
        """The same work, whose result waits at the gate."""

        def held(*args: P.args, **kwargs: P.kwargs) -> T:
            result = work(*args, **kwargs)
            self._pass()
            return result

        return held

    def open(self) -> None:
        self._open.set()

    async def reached(self) -> None:
        """Wait until somebody stands at the gate."""
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)

    def _pass(self) -> None:
        self._reached.set()
        assert self._open.wait(PATIENCE)
