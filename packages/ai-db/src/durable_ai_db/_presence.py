"""Saying that one is here, again and again, and goodbye at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from durable_ai_db._calls import Actor, Call
from durable_ai_db._errors import SessionError

FAREWELL: Final = 1.0
"""Longest time, in seconds, that saying goodbye may take."""


class Presence:
    """The presence of one actor.

    Args:
        call: Asks the service.
        every: Seconds between two signs of life.
    """

    def __init__(
        self, actor: Actor, call: Callable[[Call], Awaitable[Any]], *, every: float
    ) -> None:
        self._actor = actor
        self._call = call
        self._every = every
        self._task: asyncio.Task[None] | None = None

    async def set(self, status: str, name: str | None) -> None:
        """Tell it now, and again until it is another one."""
        await self._cancel()
        await self._tell(status, name)
        if status != "offline":
            self._task = asyncio.create_task(self._repeat(status, name))

    async def close(self) -> None:
        """Say goodbye, if there was a greeting."""
        if self._task is None:
            return
        await self._cancel()
        with suppress(SessionError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._tell("offline", None)

    async def _cancel(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _repeat(self, status: str, name: str | None) -> None:
        while True:
            await asyncio.sleep(self._every)
            # The next sign of life may get through.
            with suppress(SessionError):
                await self._tell(status, name)

    async def _tell(self, status: str, name: str | None) -> None:
        body = {"actorId": self._actor.id, "actorType": self._actor.type, "status": status}
        if name is not None:
            body["name"] = name
        await self._call(Call("POST", "/presence", body))
