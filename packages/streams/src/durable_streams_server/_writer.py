"""The one thread that writes: it carries out batches, and what others want done between them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from durable_streams_server._errors import LogClosedError, LogError, StorageError
from durable_streams_server._model import Operation, Outcome
from durable_streams_server._stats import OnBatch, batch_of
from durable_streams_server._store import Commit, Store

T = TypeVar("T")
Work = Callable[[Store], T]
"""What the writer's thread does for somebody between two commits."""

Settle = Callable[[tuple[Outcome, ...] | LogError], None]
"""Takes the outcomes of a group, or why nothing of it was written. Must not raise."""


class Request(NamedTuple):
    """A group of operations, and who is told in the loop's thread what became of them."""

    group: tuple[Operation, ...]
    settle: Settle | None


class Submission(NamedTuple):
    """What is committed as one transaction.

    Attributes:
        requests: In the order of their submission.
        prepared: What `Store.prepare` made of them.
    """

    requests: Sequence[Request]
    prepared: Commit | None


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
        self._queue: SimpleQueue[Submission | _Job | None] = SimpleQueue()
        self._stopped: Future[None] = Future()
        self._thread = Thread(target=self._run, name="durable-log-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Submission) -> None:
        """Queue a batch."""
        self._queue.put(batch)

    def run(self, work: Work[T]) -> "Future[T]":
        """Call ``work`` with the store between two commits; the result is what it returned."""
        future: Future[T] = Future()
        self._queue.put(_Job(work, future))
        return future

    def stop(self) -> Future[None]:
        """Carry out what is queued, then end the thread; the result is done when it has ended."""
        self._queue.put(None)
        return self._stopped

    def _run(self) -> None:
        try:
            while (next_ := self._queue.get()) is not None:
                if isinstance(next_, Submission):
                    self._carry_out(next_)
                else:
                    self._do(next_)
        finally:
            try:
                self._refuse_rest()
            finally:
                self._stopped.set_result(None)

    def _carry_out(self, batch: Submission) -> None:
        started = time.perf_counter()
        result = self._commit(batch)
        seconds = time.perf_counter() - started
        self._deliver((batch.requests, result))
        if self._observe is not None:
            self._observe(batch_of(len(batch.requests), result, self._clock(), seconds))

    def _commit(self, batch: Submission) -> Commit | LogError:
        groups = [request.group for request in batch.requests]
        try:
            return self._store.commit(groups, self._clock(), batch.prepared)
        except LogError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a defect must fail these requests, not hang all
            failure = StorageError(f"the store failed: {error!r}")
            failure.__cause__ = error
            return failure

    def _do(self, job: "_Job") -> None:
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.future.set_result(job.work(self._store))
        except Exception as error:  # noqa: BLE001 - for who waits; this thread serves all
            job.future.set_exception(error)

    def _refuse_rest(self) -> None:
        while not self._queue.empty():
            next_ = self._queue.get()
            if isinstance(next_, Submission):
                self._deliver((next_.requests, LogClosedError()))
            elif next_ is not None and next_.future.set_running_or_notify_cancel():
                next_.future.set_exception(LogClosedError())


class _Job(NamedTuple):
    work: Work[Any]
    future: Future[Any]
