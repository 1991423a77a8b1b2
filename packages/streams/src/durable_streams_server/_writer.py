"""Group commit: one thread that turns everything that is waiting into one transaction.

While a commit runs, operations collect; the next commit takes them all. An idle writer commits at
once, so waiting costs one commit at most, and throughput does not fall with the number of streams.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from durable_streams_server._errors import LogClosedError, LogError, StorageError
from durable_streams_server._model import Append, Create, Operation, Outcome
from durable_streams_server._stats import OnBatch, batch_of
from durable_streams_server._store import Commit, Store

T = TypeVar("T")
Work = Callable[[Store], T]
"""What the writer's thread does for somebody between two commits."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A commit takes no more operations once it holds this many bytes: bounds latency and memory."""


Settle = Callable[[tuple[Outcome, ...] | LogError], None]
"""Takes the outcomes of a group, or why nothing of it was written. Must not raise."""


class Request(NamedTuple):
    """A group of operations, and who is told in the loop's thread what became of them."""

    group: tuple[Operation, ...]
    settle: Settle | None


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
        self._queue: SimpleQueue[Sequence[Request] | None] = SimpleQueue()
        self._works: SimpleQueue[tuple[Work[Any], Future[Any]]] = SimpleQueue()
        self._stopped: Future[None] = Future()
        self._thread = Thread(target=self._run, name="durable-log-writer", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; they are part of the next commits, in their order."""
        self._queue.put(requests)

    def run(self, work: Work[T]) -> "Future[T]":
        """Call ``work`` with the store between two commits; the result is what it returned."""
        future: Future[T] = Future()
        self._works.put((work, future))
        self._queue.put(())  # wakes the thread
        return future

    def stop(self) -> Future[None]:
        """Commit what is queued, then end the thread; the result is done when it has ended."""
        self._queue.put(None)
        return self._stopped

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if batch:
                    self._carry_out(batch)
                if not self._works.empty():
                    self._run_works()
        finally:
            try:
                self._refuse_rest()
            finally:
                self._stopped.set_result(None)

    def _carry_out(self, batch: list[Request]) -> None:
        started = time.perf_counter()
        result = self._commit(batch)
        seconds = time.perf_counter() - started
        self._deliver((batch, result))
        if self._observe is not None:
            self._observe(batch_of(len(batch), result, self._clock(), seconds))

    def _next_batch(self) -> list[Request] | None:
        requests = self._queue.get()
        if requests is None:
            return None
        batch, size = list(requests), _size(requests)
        while size < MAX_BATCH_BYTES:
            try:
                requests = self._queue.get_nowait()
            except Empty:
                break
            if requests is None:
                self._queue.put(None)  # commit these first, then end
                break
            batch += requests
            size += _size(requests)
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
                future.set_result(work(self._store))
            except Exception as error:  # noqa: BLE001 - for who waits; this thread serves all
                future.set_exception(error)

    def _refuse_rest(self) -> None:
        while not self._works.empty():
            _, future = self._works.get()
            if future.set_running_or_notify_cancel():
                future.set_exception(LogClosedError())
        rest: list[Request] = []
        while not self._queue.empty():
            requests = self._queue.get()
            if requests is not None:
                rest += requests
        if rest:
            self._deliver((rest, LogClosedError()))


def _size(requests: Sequence[Request]) -> int:
    """Bytes that requests may add to the store."""
    return sum(
        len(operation.data)
        for request in requests
        for operation in request.group
        if isinstance(operation, Append | Create)
    )
