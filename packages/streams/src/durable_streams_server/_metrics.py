"""A log's figures in Prometheus' words, made when somebody asks for them."""

from collections.abc import Iterator, Sequence
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

from durable_streams_server._stats import Histogram, Stats

READER_MODES = ("catch-up", "long-poll", "sse", "raw", "program")
_PREFIX = "durable_streams_"


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


class _Streams(Collector):
    def __init__(self, stats: Stats, snapshot: Snapshot) -> None:
        self._stats = stats
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        stats, now = self._stats, self._snapshot
        yield _histogram("batch_requests", "Requests in one commit", stats.batch_sizes)
        yield _histogram("commit_seconds", "Time of one commit", stats.commit_seconds)
        yield _counter("appended_bytes", "Bytes appended and on disk", stats.appended)
        yield _counter("store_errors", "Commits that the store failed", stats.errors)
        up = now.store_size is not None and not now.failing
        yield _gauge("store_up", "The last commit passed and the store answers", int(up))
        if now.store_size is not None:
            yield _gauge("store_bytes", "Size of the store on disk", now.store_size)
        yield from _of_readers(now.readers)
        yield _of_responses(now.responses)
        yield _gauge("uptime_seconds", "Since the server was made", now.uptime)


def _of_responses(responses: Sequence[int]) -> Metric:
    text = "HTTP answers about streams that have ended, live ones too"
    family = CounterMetricFamily(_PREFIX + "http_responses", text, labels=["class"])
    for first_digit, count in enumerate(responses):
        if first_digit:
            family.add_metric([f"{first_digit}xx"], count)
    return family


def _of_readers(readers: Sequence[tuple[str, int]]) -> Iterator[Metric]:
    count = _by_mode("readers", "Readers at this moment")
    behind = _by_mode("readers_behind", "Readers that have not taken all that is on disk")
    lag = _by_mode("reader_lag_bytes", "Bytes on disk that readers have yet to take, all together")
    longest = _by_mode("reader_lag_max_bytes", "The same of the reader that is furthest behind")
    for mode in READER_MODES:
        lags = [lag for its_mode, lag in readers if its_mode == mode]
        count.add_metric([mode], len(lags))
        behind.add_metric([mode], sum(lag > 0 for lag in lags))
        lag.add_metric([mode], sum(lags))
        longest.add_metric([mode], max(lags, default=0))
    yield from (count, behind, lag, longest)


def _by_mode(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=["mode"])


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, value=value)


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip([*histogram.bounds, "+Inf"], list(histogram.counts), strict=True):
        total += count
        buckets.append((str(bound), total))
    return HistogramMetricFamily(_PREFIX + name, text, buckets=buckets, sum_value=histogram.sum)


def render_metrics(stats: Stats, snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The answer to a scrape: body and content type.

    Each has a registry of its own, so that any number of servers in a process do not collide.
    Blocking, for it looks at the process's own files.
    """
    registry = CollectorRegistry()
    registry.register(_Streams(stats, snapshot))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
