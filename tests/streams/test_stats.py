"""What a log counts about itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Append, Create, Log, StorageError
from durable_streams_server._stats import Batch, Stats
from durable_streams_server.figures import Histogram
from streams.serving import PATIENT, served

if TYPE_CHECKING:
    from durable_streams_server._store import Commit

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("value", "counts"),
    [(0, [1, 0, 0]), (1, [1, 0, 0]), (1.5, [0, 1, 0]), (2, [0, 1, 0]), (3, [0, 0, 1])],
)
def test_a_histogram_counts_up_to_and_with_a_bound(value: float, counts: list[int]) -> None:
    histogram = Histogram((1, 2))
    histogram.add(value)
    assert (histogram.counts, histogram.sum) == (counts, value)


def test_a_failed_batch_is_an_error_and_nothing_else() -> None:
    stats = Stats()
    stats.add(Batch(3, 0, 1.0, 0.1, StorageError("no")))
    assert (stats.errors, stats.appended, stats.batch_sizes.sum) == (1, 0, 0)


async def test_a_log_counts_its_commits(log: Log) -> None:
    seen: list[Batch] = []
    threads = set()

    def watch(batch: Batch) -> None:
        threads.add(threading.current_thread().name)
        seen.append(batch)

    log.on_batch(watch)
    await log.transact(Create("s", data=b"abc"), Append("s", b"de"))
    await log.transact(Append("s", b"f"), Append("nowhere", b"lost"))
    await log.close()
    # Among the heartbeats of its opening and, where other nodes wait for it, of its closing.
    found = [(batch.requests, batch.appended, batch.error) for batch in seen]
    assert (1, 5, None) in found
    after = found[found.index((1, 5, None)) + 1 :]
    assert after
    assert set(after) == {(1, 0, None)}
    assert all(batch.seconds > 0 for batch in seen)
    assert threads == {"durable-log-writer"}
    assert log.stats.appended == 5
    assert sum(log.stats.batch_sizes.counts) in (3, 4)


async def test_a_failed_commit_is_counted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Commit:
        raise StorageError("no disk")

    monkeypatch.setattr(log._store, "commit", fail)
    with pytest.raises(StorageError):
        await log.transact(Create("s"))
    monkeypatch.undo()
    await log.close()
    assert log.stats.errors == 1


async def test_who_looks_on_cannot_stop_the_writer(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: Batch) -> None:
        raise ValueError("a defect")

    log.on_batch(stumble)
    await log.transact(Create("s"))
    await log.transact(Append("s", b"x"))
    await log.close()
    assert "watching a commit failed" in caplog.text


async def test_readers_are_known_by_mode_and_lag() -> None:
    async with served(PATIENT) as server:
        await server.put("s", b"0123456789")
        async with (
            server.live("s?offset=now&live=sse"),
            server.live("s?offset=-1&live=raw"),
            server.log.reader("s", 4),
        ):
            await server.settled(
                lambda: (
                    sorted((one.path, one.mode, one.lag) for one in server.log.readers())
                    == [("s", "program", 6), ("s", "raw", 0), ("s", "sse", 0)]
                )
            )
        await server.settled(lambda: server.log.readers() == [])
