"""Appends of several tasks share requests: what arrives while one is under way goes with the next.

Nothing is held back: the first append is sent at once, and an awaited one is acknowledged by the
server when `submit` returns.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from durable_transport._stream._calls import Appended, Entry, take_together
from durable_transport._stream._errors import StreamError

Send = Callable[[Sequence[Entry]], Awaitable[Appended]]


class Appends:
    """The appends to one stream, in the order in which they were submitted."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[Entry, asyncio.Future[Appended]]] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def submit(self, entry: Entry) -> Appended:
        """Append; raises what became of it. A cancelled append may have been sent already."""
        acknowledged: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, acknowledged))
        if self._sender is None:
            self._sender = asyncio.create_task(self._run())
        return await acknowledged

    async def aclose(self) -> None:
        """Give up what was not sent."""
        sender = self._sender
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender])

    async def _run(self) -> None:
        try:
            while together := self._next():
                await self._settle(together)
        finally:
            self._sender = None
            for _, acknowledged in self._waiting:
                acknowledged.cancel()
            self._waiting.clear()

    def _next(self) -> list[tuple[Entry, asyncio.Future[Appended]]]:
        while self._waiting and self._waiting[0][1].cancelled():
            self._waiting.popleft()
        count = take_together([entry for entry, _ in self._waiting])
        taken = [self._waiting.popleft() for _ in range(count)]
        return [one for one in taken if not one[1].cancelled()] or (
            self._next() if self._waiting else []
        )

    async def _settle(self, together: list[tuple[Entry, asyncio.Future[Appended]]]) -> None:
        try:
            result = await self._send([entry for entry, _ in together])
        except StreamError as error:
            if error.status == HTTPStatus.BAD_REQUEST and len(together) > 1:
                # One of them is bad, and none was appended: find out which.
                for one in together:
                    await self._settle([one])
                return
            self._fail(together, error)
        except asyncio.CancelledError:
            for _, acknowledged in together:
                acknowledged.cancel()
            raise
        except Exception as error:  # noqa: BLE001  (whoever awaits the append is told)
            self._fail(together, error)
        else:
            for _, acknowledged in together:
                if not acknowledged.done():
                    acknowledged.set_result(result)

    @staticmethod
    def _fail(together: list[tuple[Entry, asyncio.Future[Appended]]], error: Exception) -> None:
        for _, acknowledged in together:
            if not acknowledged.done():
                acknowledged.set_exception(error)
