"""Writes that are shown at once, sent in order, and kept until the service has answered.

queued ──answer──► sent ──comes back in the log──► done
│ ▲                │
│ └─ unreachable   └──never comes──► failed (TxidTimeout)
└──refused──► failed
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Generator
from itertools import count
from typing import Any, Final

from durable_ai_db._calls import Call, Draft
from durable_ai_db._errors import SessionClosed, SessionError, SessionUnreachable, TxidTimeout
from durable_ai_db._session_db import SessionDB

BACKOFF_FIRST: Final = 0.1
BACKOFF_LIMIT: Final = 2.0

_NUMBERS = count()


class PendingWrite:
    """A write on its way: ``await`` it for its end, or leave it to itself.

    Awaiting gives the message's id (for an approval, the approval's) when the log has the write.

    Raises:
        SessionError: (when awaited) It was refused, and is not shown any more.
    """

    def __init__(self, draft: Draft) -> None:
        self.message_id = draft.message_id
        self.txid = draft.txid
        self.draft = draft
        self.number = next(_NUMBERS)
        self._future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # Whoever does not wait hears of it by on_error.
        self._future.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def done(self) -> bool:
        """It is in the log, or was refused."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, str]:
        return asyncio.shield(self._future).__await__()

    def settle(self, error: SessionError | None) -> None:
        """It has ended."""
        if self._future.done():
            return
        if error is None:
            self._future.set_result(self.message_id)
        else:
            self._future.set_exception(error)


class Outbox:
    """The writes of one client, in order.

    Args:
        call: Sends one.
        on_end: Is told of every write's end, with the error if there is one.
        confirm_within: Seconds in which what the service has taken comes back in the log.
    """

    def __init__(
        self,
        db: SessionDB,
        call: Callable[[Call], Any],
        *,
        on_end: Callable[[SessionError | None], None],
        confirm_within: float,
    ) -> None:
        self._db = db
        self._call = call
        self._on_end = on_end
        self._confirm_within = confirm_within
        self._queue: deque[PendingWrite] = deque()
        self._open: dict[int, PendingWrite] = {}
        self._wakeup = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> tuple[PendingWrite, ...]:
        """Writes that are not in the log yet, in order."""
        return tuple(self._open.values())

    def start(self) -> None:
        """Begin to send."""
        self._spawn(self._send_all())

    def add(self, draft: Draft) -> PendingWrite:
        """Show a write, and send it when those before it are through.

        Raises:
            TypeError: It is no JSON.
            ValueError: Likewise.
        """
        json.dumps(draft.call.body, allow_nan=False)
        write = PendingWrite(draft)
        self._open[write.number] = write
        with self._db.state.graph.batch():
            for collection, patch in draft.patches:
                self._db.state.patches[collection].set(write.number, patch)
        self._queue.append(write)
        self._wakeup.set()
        return write

    async def close(self) -> None:
        """Send no more; what was not in the log fails with `SessionClosed`."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self._queue.clear()
        for write in self.pending:
            self._end(write, SessionClosed(self._db.session_id))

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self) -> None:
        while True:
            while not self._queue:
                self._wakeup.clear()
                await self._wakeup.wait()
            write = self._queue[0]
            try:
                await self._send(write)
            except SessionError as error:
                self._end(write, error)
            else:
                self._spawn(self._confirm(write))
            self._queue.popleft()

    async def _send(self, write: PendingWrite) -> None:
        """Send until there is an answer. Sent twice it counts once: by its id."""
        wait = BACKOFF_FIRST
        while True:
            try:
                await self._call(write.draft.call)
            except SessionUnreachable:
                if self._is_logged(write):
                    return
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
                wait = min(2 * wait, BACKOFF_LIMIT)
            else:
                return

    def _is_logged(self, write: PendingWrite) -> bool:
        return self._db.state.has_seen(write.txid) or write.draft.is_logged(self._db.state.logged)

    async def _confirm(self, write: PendingWrite) -> None:
        """Wait until the log shows the write. Another's may have been the same before it."""
        seen = asyncio.Event()
        with self._db.collections.session_meta.subscribe(lambda _: seen.set()):
            while not self._is_logged(write):
                seen.clear()
                try:
                    async with asyncio.timeout(self._confirm_within):
                        await seen.wait()
                except TimeoutError:
                    if self._db.status == "connected":
                        self._end(write, TxidTimeout(self._db.session_id, f"txid {write.txid}"))
                        return
        self._end(write, None)

    def _end(self, write: PendingWrite, error: SessionError | None) -> None:
        if self._open.pop(write.number, None) is None:
            return
        with self._db.state.graph.batch():
            for collection, _ in write.draft.patches:
                self._db.state.patches[collection].delete(write.number)
        write.settle(error)
        self._on_end(error)
