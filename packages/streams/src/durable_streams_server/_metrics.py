"""A log's figures in Prometheus' words, made when somebody asks for them."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from durable_streams_server._errors import StorageError
from durable_streams_server._log import Log
from durable_streams_server._stats import Stats
from durable_streams_server.figures import Histogram

__all__ = ["Families", "Metric", "log_metrics", "render_metrics"]

READER_MODES = ("catch-up", "long-poll", "sse", "raw", "program")


class Families:
    """Makes metrics whose names begin alike.

    Args:
        prefix: What they begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def counter(self, name: str, text: str, value: float) -> Metric:
        """A number that only grows; ``_total`` is put behind its name."""
        return CounterMetricFamily(self._prefix + name, text, value=value)

    def counters(self, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
        """Numbers that only grow, told apart by a label."""
        family = CounterMetricFamily(self._prefix + name, text, labels=[label])
        for value, count in values.items():
            family.add_metric([value], count)
        return family

    def gauge(self, name: str, text: str, value: float) -> Metric:
        """A number of this moment."""
        return GaugeMetricFamily(self._prefix + name, text, value=value)

    def gauges(self, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
        """Numbers of this moment, told apart by a label."""
        family = GaugeMetricFamily(self._prefix + name, text, labels=[label])
        for value, count in values.items():
            family.add_metric([value], count)
        return family

    def histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        """How many values there were up to each bound."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip([*histogram.bounds, "+Inf"], list(histogram.counts), strict=True):
            total += count
            buckets.append((str(bound), total))
        return HistogramMetricFamily(
            self._prefix + name, text, buckets=buckets, sum_value=histogram.sum
        )


_OURS = Families("durable_streams_")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is true at one moment only, gathered in the event loop's thread.

    Attributes:
        readers: Mode and lag in bytes of each reader.
        responses: HTTP answers that have ended, by the first digit of their status.
        store_size: Bytes on disk; None when the store did not answer.
        failing: The last commit failed.
        uptime: Seconds since the server was made.
    """

    readers: Sequence[tuple[str, int]]
    responses: Sequence[int]
    store_size: int | None
    failing: bool
    uptime: float


async def log_metrics(log: Log, responses: Sequence[int], uptime: float) -> list[Metric]:
    """The figures of a log and of its streams' surface; see `Snapshot`."""
    try:
        size = await log.store_size()
        log.check()
        failing = False
    except StorageError:
        size, failing = None, True
    snapshot = Snapshot(
        readers=[(one.mode, one.lag) for one in log.readers()],
        responses=tuple(responses),
        store_size=size,
        failing=failing,
        uptime=uptime,
    )
    return list(_of_log(log.stats, snapshot))


def _of_log(stats: Stats, now: Snapshot) -> Iterator[Metric]:
    yield _OURS.histogram("batch_requests", "Requests in one commit", stats.batch_sizes)
    yield _OURS.histogram("commit_seconds", "Time of one commit", stats.commit_seconds)
    yield _OURS.counter("appended_bytes", "Bytes appended and on disk", stats.appended)
    yield _OURS.counter("store_errors", "Commits that the store failed", stats.errors)
    up = now.store_size is not None and not now.failing
    yield _OURS.gauge("store_up", "The last commit passed and the store answers", int(up))
    if now.store_size is not None:
        yield _OURS.gauge("store_bytes", "Size of the store on disk", now.store_size)
    yield from _of_readers(now.readers)
    yield _of_responses(now.responses)
    yield _OURS.gauge("uptime_seconds", "Since the server was made", now.uptime)


def _of_responses(responses: Sequence[int]) -> Metric:
    text = "HTTP answers about streams that have ended, live ones too"
    classes = {f"{digit}xx": count for digit, count in enumerate(responses) if digit}
    return _OURS.counters("http_responses", text, "class", classes)


def _of_readers(readers: Sequence[tuple[str, int]]) -> Iterator[Metric]:
    lags = {mode: [lag for its, lag in readers if its == mode] for mode in READER_MODES}
    for name, text, figure in (
        ("readers", "Readers at this moment", len),
        ("readers_behind", "Readers that have not taken all that is on disk", _behind),
        ("reader_lag_bytes", "Bytes on disk that readers have yet to take, all together", sum),
        ("reader_lag_max_bytes", "The same of the reader that is furthest behind", _longest),
    ):
        yield _OURS.gauges(name, text, "mode", {mode: figure(one) for mode, one in lags.items()})


def _behind(lags: Sequence[int]) -> int:
    return sum(lag > 0 for lag in lags)


def _longest(lags: Sequence[int]) -> int:
    return max(lags, default=0)


class _Given(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def render_metrics(metrics: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """The answer to a scrape, with the figures of the process: body and content type.

    Each has a registry of its own, so that any number of servers in a process do not collide.

    Args:
        metrics: What is told besides.
        accept: The request's ``Accept``.
    """
    return await asyncio.to_thread(_render, metrics, accept)


def _render(metrics: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """Blocking, for it looks at the process's own files."""
    registry = CollectorRegistry()
    registry.register(_Given(metrics))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
