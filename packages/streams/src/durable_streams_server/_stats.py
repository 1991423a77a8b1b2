"""What a log counts about itself: plain numbers, written by one thread each and read by any. Pure.

A commit costs a few additions and two look-ups in a table, however many appends it holds; names,
labels and text are made when somebody asks (`_metrics`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from durable_streams_server._errors import LogError, StorageError
from durable_streams_server._store import Commit
from durable_streams_server.figures import Histogram

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Batch:
    """One commit, or the attempt at one.

    Attributes:
        requests: How many groups of operations it carried out.
        appended: Bytes that it added to streams; 0 when it failed.
        ended_at: Epoch seconds.
        seconds: What the store took for it, down to the disk.
        error: Why nothing of it was written.
    """

    requests: int
    appended: int
    ended_at: float
    seconds: float
    error: LogError | None


OnBatch = Callable[[Batch], None]
"""Called in the writer's thread after those who wait for the batch were told; must not block."""


def batch_of(requests: int, result: Commit | LogError, ended_at: float, seconds: float) -> Batch:
    """The figures of a batch that came to ``result``."""
    if isinstance(result, LogError):
        return Batch(requests, 0, ended_at, seconds, result)
    chunks = result.effects.chunks.values()
    appended = sum(len(piece) for pieces in chunks for piece in pieces)
    return Batch(requests, appended, ended_at, seconds, None)


class Stats:
    """Counts since the log was opened."""

    def __init__(self) -> None:
        self.appended = 0
        self.errors = 0
        self.batch_sizes = Histogram(BATCH_SIZES)
        self.commit_seconds = Histogram(COMMIT_SECONDS)

    def add(self, batch: Batch) -> None:
        """Count a batch; only the writer's thread calls this."""
        if batch.error is None:
            self.appended += batch.appended
            self.batch_sizes.add(batch.requests)
            self.commit_seconds.add(batch.seconds)
        elif isinstance(batch.error, StorageError):
            self.errors += 1
