"""What has come of an answer and is not fetched yet, and whoever waits for more of it."""

import asyncio
from abc import ABC, abstractmethod

from durable_proxy._http1 import GarbageError, TruncatedError

BUFFERED_BYTES = 128 * 1024
"""How much of an answer may wait to be fetched."""


class SilentError(Exception):
    """Nothing came within the limit."""


class BrokenError(Exception):
    """The connection broke: the other side did not end it in good order."""


class NotTakenError(Exception):
    """The other side says that it has not begun to look at the request: it may be sent again."""


Failure = GarbageError | TruncatedError | SilentError | BrokenError | NotTakenError


class Incoming(ABC):
    """The receiving half of a request: its answer's body as it comes, and how that went wrong.

    One task waits at a time. What knows of the wire underneath fills in the three methods at the
    end.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._body: list[bytes] = []
        self._failure: Failure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None

    async def read(self, patience: float) -> bytes:
        """What has come of the body, at least one byte; nothing at its end.

        Args:
            patience: Seconds that nothing may come for, while this waits.

        Raises:
            GarbageError, TruncatedError, BrokenError, SilentError: it ended in any other way.
                What came before that has been returned.
        """
        if not self._body:
            await self._wait_for_body(patience)
        if not self._body:
            return b""
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._fetched()
        return data

    def _forget(self) -> None:
        """The rest of the answer is of no interest."""
        self._body.clear()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _wait_for_body(self, patience: float) -> None:
        """Wait for a piece of the body or its end."""
        # One timer for the whole body, set anew when it fires: it only counts while this waits,
        # and not while the log is what is slow.
        self._waiting_since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(patience, self._look, patience)
        try:
            while not (self._body or self._is_over()):
                if self._failure is not None:
                    raise self._failure
                await self._wait()
        finally:
            self._waiting_since = None

    def _look(self, patience: float) -> None:
        now = self._loop.time()
        since = now if self._waiting_since is None else self._waiting_since
        if now - since >= patience:
            self._fail(SilentError())
        else:
            self._watch = self._loop.call_at(since + patience, self._look, patience)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
        self._give_up()
        self._wake()

    # ------------------------------------------------------------------ known by the wire

    @abstractmethod
    def _is_over(self) -> bool:
        """The body has come to its promised end."""

    @abstractmethod
    def _fetched(self) -> None:
        """Everything that had come is fetched: more may come."""

    @abstractmethod
    def _give_up(self) -> None:
        """Nothing more may come."""
