"""The metrics of the whole service, from PostgreSQL, broker and Redis, for Prometheus.

Every process sees the same values, so any process of web may answer for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts import throttling
from scheduler_service import __version__
from scheduler_service.db import clock
from tasks_api.domain.ids import first_id_at
from tasks_api.domain.states import RunState
from tasks_api.messaging import broker
from tasks_api.messaging.errors import BrokerAway, UnusableBroker
from tasks_api.metrics import registry
from tasks_api.metrics.registry import TimeZones
from tasks_api.monitoring import heartbeats
from tasks_api.monitoring.collector_statements import (
    COUNT_FROZEN_TENANTS,
    COUNT_WAITING_RUNS,
    MAX_COUNTED,
)
from tasks_api.monitoring.recent_statements import LOAD_RECENT
from tasks_api.services import rollups
from tasks_api.storage import partitions, retention

WAITING_STATES = (
    RunState.PENDING,
    RunState.RUNNING,
    RunState.OPEN,
    RunState.RETRYING,
)

DATABASE_UP_HELP = "1 if PostgreSQL answers, else 0."
BROKER_UP_HELP = "1 if the broker answers and takes messages, else 0."


def exposition() -> bytes:
    """Return the metrics for a scrape, also while one of them is away."""
    found = CollectorRegistry()
    found.register(ServiceCollector())
    found.register(TimeZones())
    found.register(Version())
    return registry.exposition(found)


class ServiceCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        yield from self._database()
        yield from self._broker()
        yield from _refusals()

    def _database(self) -> Iterator[Metric]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(COUNT_WAITING_RUNS)
                waiting = cursor.fetchall()
            census = heartbeats.count_alive()
            now = clock.now()
            lag = retention.lag(now=now)
            days_ahead = partitions.count_days_ahead(now=now)
            rollup_lag = rollups.lag(now=now)
            recent = _load_recent(now)
            frozen = _load_frozen()
        except DatabaseError:
            yield _gauge("scheduler_database_up", DATABASE_UP_HELP, 0)
            return
        yield _gauge("scheduler_database_up", DATABASE_UP_HELP, 1)
        yield from _runs(waiting)
        yield _gauges(
            "scheduler_processes_alive",
            "Beats and workers with a heartbeat within the last 15 seconds.",
            "kind",
            {
                kinds.removesuffix("s"): found["alive"] or 0
                for kinds, found in census.items()
            },
        )
        yield from _upkeep(lag, days_ahead, rollup_lag)
        yield from _recent(*recent)
        yield from _frozen(*frozen)

    def _broker(self) -> Iterator[Metric]:
        try:
            depth = broker.count_messages(settings.CELERY_BROKER_URL)
            takes_messages = _takes_messages()
        except BrokerAway:
            yield _gauge("scheduler_broker_up", BROKER_UP_HELP, 0)
            return
        yield _gauge("scheduler_broker_up", BROKER_UP_HELP, int(takes_messages))
        yield _gauge(
            "scheduler_broker_depth",
            "Messages at the broker that wait for a worker.",
            depth,
        )


def _takes_messages() -> bool:
    try:
        broker.check_usable(settings.CELERY_BROKER_URL)
    except UnusableBroker:
        return False
    return True


def _refusals() -> Iterator[Metric]:
    try:
        refused = throttling.load_refusal_counts()
    except (redis.RedisError, OSError):
        return
    if refused:
        yield _counters(
            "scheduler_refused_total",
            "Requests and logins refused because of a missing or wrong credential.",
            "credential",
            refused,
        )


def _runs(waiting: Sequence[tuple[str, int, int, float | None]]) -> Iterator[Metric]:
    """Yield the metrics of runs from the rows of COUNT_WAITING_RUNS."""
    counts = {state: count for state, count, _, _ in waiting}
    yield _gauges(
        "scheduler_runs_waiting",
        f"Unfinished runs by their state, up to {MAX_COUNTED:,} of those that wait.",
        "state",
        {state: counts.get(state, 0) for state in WAITING_STATES},
    )
    yield _gauge(
        "scheduler_due",
        f"Due fire times that no worker has taken, up to {MAX_COUNTED:,} of each kind.",
        sum(due for _, _, due, _ in waiting),
    )
    yield _gauge(
        "scheduler_oldest_due_seconds",
        "Seconds since the oldest due fire time came.",
        max(age or 0.0 for _, _, _, age in waiting),
    )


def _upkeep(lag: float, days_ahead: int, rollup_lag: float) -> Iterator[Metric]:
    """Yield the metrics of what housekeeping does to history."""
    yield _gauge(
        "scheduler_retention_lag_seconds",
        "Seconds since retention should have deleted the oldest run.",
        lag,
    )
    yield _gauge(
        "scheduler_history_days_ahead",
        "Coming days that have a partition of history.",
        days_ahead,
    )
    yield _gauge(
        "scheduler_rollup_lag_seconds",
        "Seconds of the hours that are over and that nobody has summed up.",
        rollup_lag,
    )


def _load_recent(now: datetime) -> tuple[float, float, int]:
    values = {
        "first": first_id_at(now - timedelta(minutes=1)),
        "last": first_id_at(now),
    }
    with connection.cursor() as cursor:
        cursor.execute(LOAD_RECENT, values)
        runs, late, tasks = cursor.fetchone()
    return runs, late, tasks


def _recent(runs: float, late: float, tasks: int) -> Iterator[Metric]:
    """Yield what one looks at first, where there are several cells."""
    yield _gauge(
        "scheduler_recent_runs_per_second",
        "Runs sent for fire times of the last minute.",
        runs,
    )
    yield _gauge(
        "scheduler_recent_late_seconds",
        "The p99 of the lateness of these runs.",
        late,
    )
    yield _gauge(
        "scheduler_tasks_stored",
        "About how many tasks are stored, as PostgreSQL estimates it.",
        tasks,
    )


def _load_frozen() -> tuple[int, float]:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_FROZEN_TENANTS)
        tenants, seconds = cursor.fetchone()
    return tenants, seconds


def _frozen(tenants: int, seconds: float) -> Iterator[Metric]:
    """Yield what shows a move that was not finished."""
    yield _gauge(
        "scheduler_frozen_tenants",
        "Tenants of which nothing is sent, because they move and live nowhere else yet.",
        tenants,
    )
    yield _gauge(
        "scheduler_oldest_frozen_seconds",
        "Seconds since the first of them was frozen.",
        seconds,
    )


class Version(Collector):
    """The version of the code."""

    def collect(self) -> Iterator[Metric]:
        yield _gauges(
            "scheduler_version",
            "Always 1; the label says which version of the service this is.",
            "version",
            {__version__: 1},
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counters(
    name: str, text: str, label: str, values: Mapping[Any, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _gauges(
    name: str, text: str, label: str, values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
