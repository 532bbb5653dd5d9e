"""The registry of this process's metrics, and a histogram that takes batches."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

import prometheus_client
from django.conf import settings
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# Otherwise each counter has a second metric with the time of its creation.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


class TimeZones(Collector):
    """The version of the time zone rules that this process uses."""

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "scheduler_time_zones",
            "Always 1; the labels say which time zone rules the process uses.",
            labels=("version", "source"),
        )
        family.add_metric(settings.TIME_ZONE_RULES, 1)
        yield family


REGISTRY.register(TimeZones())


class Histogram(Collector):
    """A histogram that takes a batch of values at once; the library's takes one."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], label: str = ""):
        self._name, self._text, self._label = name, text, label
        self._buckets = tuple(buckets)
        self._names = [*map(str, buckets), "+Inf"]
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = defaultdict(float)
        self._changing = threading.Lock()
        REGISTRY.register(self)

    def observe(self, values: Iterable[float], label: str = "") -> None:
        """Count values, in seconds."""
        with self._changing:
            counts = self._counts.setdefault(label, [0] * len(self._names))
            for value in values:
                counts[bisect_left(self._buckets, value)] += 1
                self._sums[label] += value

    def collect(self) -> Iterator[Metric]:
        labels = [self._label] if self._label else []
        family = HistogramMetricFamily(self._name, self._text, labels=labels)
        with self._changing:
            for label, counts in self._counts.items():
                steps = list(zip(self._names, accumulate(counts), strict=True))
                family.add_metric([label] * len(labels), steps, self._sums[label])
        yield family


def counter(
    name: str, text: str, label: str, values: Iterable[str]
) -> prometheus_client.Counter:
    made = prometheus_client.Counter(name, text, [label], registry=REGISTRY)
    # Start each label at zero: Prometheus does not see the first increase otherwise.
    for value in values:
        made.labels(value)
    return made


def register_gauge(name: str, text: str, value: Callable[[], float]) -> None:
    """Add a gauge whose value is read at each scrape."""
    prometheus_client.Gauge(name, text, registry=REGISTRY).set_function(value)


def exposition(registry: Collector = REGISTRY) -> bytes:
    """Return the metrics of a registry for a scrape; the default is this process's."""
    if settings.SCHEDULER_CELL:
        registry = LabelledByCell(registry)
    return prometheus_client.generate_latest(registry)


class LabelledByCell(Collector):
    """All metrics of a registry, each with the name of the cell."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        cell = {"cell": settings.SCHEDULER_CELL}
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels=sample.labels | cell)
                for sample in metric.samples
            ]
            yield metric
