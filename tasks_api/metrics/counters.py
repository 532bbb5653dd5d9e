"""What this process has done, counted for Prometheus.

Everything is added up in batches, as the work is done: a run costs two microseconds
here. No tenant, no URL and no id of a run is in any of it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol
from uuid import UUID

import prometheus_client
from django.conf import settings
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tasks_api.delivery.retry import GiveUp, PassOn, Release, Succeed
from tasks_api.domain.states import FINAL, RunState, Trouble
from tasks_api.worker.record import Finished

# Each counter would have a twin that says when it was made.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


class TimeZones(Collector):
    """Which rules of time zones count in this process."""

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "scheduler_time_zones",
            "1, for the rules of time zones that count: their version, and whose.",
            labels=("version", "source"),
        )
        family.add_metric(settings.TIME_ZONE_RULES, 1)
        yield family


REGISTRY.register(TimeZones())

NO_ANSWER = "none"
_ENDS = {Succeed: RunState.SUCCEEDED, GiveUp: RunState.FAILED}


class Histogram(Collector):
    """Takes a batch of values at once, which the library's own does one by one."""

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


def _counter(
    name: str, text: str, label: str, values: Iterable[str]
) -> prometheus_client.Counter:
    made = prometheus_client.Counter(name, text, [label], registry=REGISTRY)
    # From zero, because the first increase of what was not there is no increase.
    for value in values:
        made.labels(value)
    return made


LATENESS = Histogram(
    "scheduler_lateness_seconds",
    "From a fire time to the first request that is made for it.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ATTEMPTS = Histogram(
    "scheduler_attempt_seconds",
    "How long requests took, by the class of the answer's status.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    label="outcome",
)
RUNS = _counter(
    "scheduler_runs_total", "Runs that ended, by their state.", "state", sorted(FINAL)
)
MADE = prometheus_client.Counter(
    "scheduler_runs_made_total", "Runs made for fire times.", registry=REGISTRY
)
RUNG_AGAIN = prometheus_client.Counter(
    "scheduler_rung_again_total",
    "Runs rung for again, because no worker took them.",
    registry=REGISTRY,
)
PRUNED = _counter(
    "scheduler_pruned_total",
    "Rows of old history that were deleted; a run's attempts count with it.",
    "kind",
    ("run", "task", "message", "schedule change", "heartbeat"),
)
LEASES_LOST = prometheus_client.Counter(
    "scheduler_lease_lost_total",
    "Leases that ran out, or whose worker was gone: their runs are sent again.",
    registry=REGISTRY,
)
UNSIGNED = prometheus_client.Counter(
    "scheduler_unsigned_total",
    "Requests without a signature: no secret of their tenant could be read.",
    registry=REGISTRY,
)
PREVENTED = _counter(
    "scheduler_doubles_prevented_total",
    "Runs not claimed because they were taken, not sent or not judged because their "
    "lease was over.",
    "by",
    ("claim", "lease", "record"),
)
DROPPED = prometheus_client.Counter(
    "scheduler_messages_dropped_total",
    "Messages in the broker that no worker could read.",
    registry=REGISTRY,
)
GIVEN_BACK = _counter(
    "scheduler_given_back_total",
    "Runs that a worker could not send and left to others, and why.",
    "because",
    tuple(Trouble),
)


def count_finished(finished: Sequence[Finished]) -> None:
    """Count what a worker has written down."""
    ends: Counter[RunState] = Counter()
    lateness: list[float] = []
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    released = 0
    for run, outcome, verdict, started_at in finished:
        if outcome.trouble and isinstance(verdict, Release | PassOn):
            GIVEN_BACK.labels(outcome.trouble).inc()
            continue
        if isinstance(verdict, Release):
            released += 1
            continue
        if end := _ENDS.get(type(verdict)):
            ends[end] += 1
        if run.number == 1:
            lateness.append((started_at - run.scheduled_for).total_seconds())
        if not run.queue:
            status = outcome.status_code
            answer = NO_ANSWER if status is None else f"{status // 100}xx"
            seconds[answer].append(outcome.duration_ms / 1000)
    LATENESS.observe(lateness)
    for answer, values in seconds.items():
        ATTEMPTS.observe(values, answer)
    for end, count in ends.items():
        RUNS.labels(end).inc(count)
    PREVENTED.labels("lease").inc(released)


def count_ended(finished: Sequence[Finished]) -> None:
    """Count runs that ended long after their requests, as their targets said."""
    for item in finished:
        if end := _ENDS.get(type(item.verdict)):
            RUNS.labels(end).inc()


def count_unclaimed(count: int) -> None:
    """Runs that a worker was rung for, and that were not free."""
    PREVENTED.labels("claim").inc(count)


def count_unsigned(count: int) -> None:
    """Runs that a worker has to send without a signature."""
    UNSIGNED.inc(count)


def count_late(count: int) -> None:
    """Answers that came when their run was somebody else's already."""
    PREVENTED.labels("record").inc(count)


class _New(Protocol):
    @property
    def run_id(self) -> UUID: ...
    @property
    def state(self) -> str: ...


def count_made(stored: Collection[UUID], runs: Iterable[_New]) -> None:
    """Count those of a beat's new runs that were stored."""
    kept = set(stored)
    MADE.inc(len(kept))
    states = Counter(run.state for run in runs if run.run_id in kept)
    for state, count in states.items():
        if state in FINAL:
            RUNS.labels(state).inc(count)


def count_woken(woken: Sequence[tuple[UUID, str, str]]) -> None:
    """Count what a beat did with runs that waited: (run, state, what it was)."""
    for (state, was), count in Counter((new, old) for _, new, old in woken).items():
        if was == RunState.RUNNING:
            LEASES_LOST.inc(count)
        if was == state == RunState.PENDING:
            RUNG_AGAIN.inc(count)
        if state in FINAL:
            RUNS.labels(state).inc(count)


def show(name: str, text: str, value: Callable[[], float]) -> None:
    """Let a gauge of this process be asked for its value at each scrape."""
    prometheus_client.Gauge(name, text, registry=REGISTRY).set_function(value)


def exposition() -> bytes:
    """What this process has counted since its start, for a scrape."""
    return prometheus_client.generate_latest(REGISTRY)
