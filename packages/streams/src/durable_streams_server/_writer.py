"""Group commit: one thread that turns everything that is waiting into one transaction.

While a commit runs, operations collect; the next commit takes them all. An idle writer commits at
once, so waiting costs one commit at most, and throughput does not fall with the number of streams.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from durable_streams_server._errors import LogClosedError, LogError, StorageError
from durable_streams_server._model import Append, Create, Operation, Outcome
from durable_streams_server._stats import OnBatch, batch_of
from durable_streams_server._store import Commit, Store

T = TypeVar("T")
Work = Callable[[Connection], T]
"""What runs in a transaction of its own, see `Store.control`."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A commit takes no more operations once it holds this many bytes: bounds latency and memory."""


class Request(NamedTuple):
    """A group of operations, and who waits for what becomes of them (nobody: None)."""

    group: tuple[Operation, ...]
    waiting: asyncio.Future[tuple[Outcome, ...]] | None

    @property
    def size(self) -> int:
        """Bytes that the group may add to the store."""
        return sum(
            len(operation.data)
            for operation in self.group
            if isinstance(operation, Append | Create)
        )

    def finish(self, outcomes: tuple[Outcome, ...]) -> None:
        """Tell who waits; in the thread of the event loop."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(outcomes)

    def fail(self, error: LogError) -> None:
        """Tell who waits that nothing was written; in the thread of the event loop."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(error)


_NUDGE = Request((), None)
"""Wakes the thread when there is something else to do than to commit."""

Finished = tuple[Sequence[Request], Commit | LogError]
"""Requests of one batch and what became of them."""


class Writer:
    """Owns the writing side of a store.

    Args:
        store: Its `Store.commit` is called from this writer's thread only.
        deliver: Called in the writer's thread after each batch, once; must not block.
        clock: Epoch seconds.
        observe: Called in the writer's thread after ``deliver``, with the figures of the batch.
    """

    def __init__(
        self,
        store: Store,
        deliver: Callable[[Finished], None],
        clock: Callable[[], float] = time.time,
        observe: OnBatch | None = None,
    ) -> None:
        self._observe = observe
        self._store = store
        self._deliver = deliver
        self._clock = clock
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._works: SimpleQueue[tuple[Work[Any], Future[Any]]] = SimpleQueue()
        self._stopped: Future[None] = Future()
        self._thread = Thread(target=self._run, name="durable-log-writer", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request; it is part of the next commit."""
        self._queue.put(request)

    def control(self, work: Work[T]) -> "Future[T]":
        """Run ``work`` between two commits, see `Store.control`; the result is what it returned."""
        future: Future[T] = Future()
        self._works.put((work, future))
        self._queue.put(_NUDGE)
        return future

    def stop(self) -> Future[None]:
        """Commit what is queued, then end the thread; the result is done when it has ended."""
        self._queue.put(None)
        return self._stopped

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                started = time.perf_counter()
                result = self._commit(batch)
                seconds = time.perf_counter() - started
                self._deliver((batch, result))
                requests = sum(request is not _NUDGE for request in batch)
                if requests and self._observe is not None:
                    self._observe(batch_of(requests, result, self._clock(), seconds))
                if not self._works.empty():
                    self._run_works()
        finally:
            try:
                self._refuse_rest()
            finally:
                self._stopped.set_result(None)

    def _next_batch(self) -> list[Request] | None:
        request = self._queue.get()
        if request is None:
            return None
        batch, size = [request], request.size
        while size < MAX_BATCH_BYTES:
            try:
                request = self._queue.get_nowait()
            except Empty:
                break
            if request is None:
                self._queue.put(None)  # commit these first, then end
                break
            batch.append(request)
            size += request.size
        return batch

    def _commit(self, batch: list[Request]) -> Commit | LogError:
        try:
            return self._store.commit([request.group for request in batch], self._clock())
        except LogError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a defect must fail these requests, not hang all
            failure = StorageError(f"the store failed: {error!r}")
            failure.__cause__ = error
            return failure

    def _run_works(self) -> None:
        """What waits by now, each in its own transaction; what comes meanwhile lets appends by."""
        for _ in range(self._works.qsize()):
            work, future = self._works.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._store.control(work))
            except Exception as error:  # noqa: BLE001 - for who waits; this thread serves all
                future.set_exception(error)

    def _refuse_rest(self) -> None:
        while not self._works.empty():
            _, future = self._works.get()
            if future.set_running_or_notify_cancel():
                future.set_exception(LogClosedError())
        rest: list[Request] = []
        while not self._queue.empty():
            request = self._queue.get()
            if request is not None:
                rest.append(request)
        if rest:
            self._deliver((rest, LogClosedError()))
