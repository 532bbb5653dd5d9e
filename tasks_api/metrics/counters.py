"""Count the work of this process for Prometheus.

Callers count in batches, as they work: a run costs two microseconds here. No label
contains a tenant, a URL or the id of a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol
from uuid import UUID

import prometheus_client

from tasks_api.domain.states import FINAL_STATES, RunState, Trouble
from tasks_api.metrics.registry import REGISTRY, Histogram, counter

LATENESS = Histogram(
    "scheduler_lateness_seconds",
    "Seconds from a fire time to the start of the first request for it.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ATTEMPTS = Histogram(
    "scheduler_attempt_seconds",
    "Seconds that requests took, by the class of the answer's status.",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    label="outcome",
)
RUNS = counter(
    "scheduler_runs_total",
    "Runs that ended, by their state.",
    "state",
    sorted(FINAL_STATES),
)
RUNS_MADE = prometheus_client.Counter(
    "scheduler_runs_made_total", "Runs made for fire times.", registry=REGISTRY
)
ROWS_PRUNED = counter(
    "scheduler_pruned_total",
    "Rows that retention deleted; a run and its attempts count as one.",
    "kind",
    ("run", "task", "message", "schedule change", "heartbeat", "heartbeat gap"),
)
LEASES_LOST = prometheus_client.Counter(
    "scheduler_lease_lost_total",
    "Leases that ran out or whose worker died; their runs are sent again.",
    registry=REGISTRY,
)
UNSIGNED_REQUESTS = prometheus_client.Counter(
    "scheduler_unsigned_total",
    "Requests sent without a signature, because no signing secret could be read.",
    registry=REGISTRY,
)
DOUBLES_PREVENTED = counter(
    "scheduler_doubles_prevented_total",
    "Runs that a worker did not send or judge, because its lease was over.",
    "by",
    ("lease", "record"),
)
MESSAGES_DROPPED = prometheus_client.Counter(
    "scheduler_messages_dropped_total",
    "Messages in the broker that no worker could read.",
    registry=REGISTRY,
)
RUNS_GIVEN_BACK = counter(
    "scheduler_given_back_total",
    "Runs that a worker could not send and gave back, by the reason.",
    "because",
    tuple(Trouble),
)


def count_unsigned(count: int) -> None:
    """Count runs that a worker has to send without a signature."""
    UNSIGNED_REQUESTS.inc(count)


def count_late(count: int) -> None:
    """Count answers that came when another worker held the lease already."""
    DOUBLES_PREVENTED.labels("record").inc(count)


class _New(Protocol):
    @property
    def run_id(self) -> UUID: ...
    @property
    def state(self) -> str: ...


def count_made(stored: Collection[UUID], runs: Iterable[_New]) -> None:
    """Count the new runs that were stored."""
    kept = set(stored)
    RUNS_MADE.inc(len(kept))
    states = Counter(run.state for run in runs if run.run_id in kept)
    for state, count in states.items():
        if state in FINAL_STATES:
            RUNS.labels(state).inc(count)


def count_rescued(rescued: Iterable[tuple[str, str]]) -> None:
    """Count runs that a beat rescued, by their states after and before."""
    for (state, was), count in Counter(rescued).items():
        if was == RunState.RUNNING:
            LEASES_LOST.inc(count)
        if state in FINAL_STATES:
            RUNS.labels(state).inc(count)
