"""Delete old history: the oldest first, in batches that hold no lock for long.

Any number of processes may run retention at once: each skips rows that another one has
locked. docs/explanation/retention.md says how long each tenant's history is kept, and
why rows are deleted one by one.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from scheduler_service.db.arrays import columns
from tasks_api.metrics import counters
from tasks_api.storage import task_counts
from tasks_api.storage.retention_statements import (
    BATCH_SIZE,
    DELETE_RUNS,
    DELETE_TASKS,
    FIND_OLDEST_RUNS,
    FIND_OLDEST_TASKS,
    SWEEPS,
)

# The most tenants in one batch. Rows of equal age lie on the same pages, so PostgreSQL
# writes a page once for all of these tenants.
MAX_TENANTS_IN_BATCH = 50
# The seconds of a round, and the rest after each batch as a share of the time that it
# took. During the rest, workers have the database to themselves.
ROUND_SECONDS = 30.0
REST_RATIO = 1.0

# Waits for so many seconds, and may return something true to end the round.
Pause = Callable[[float], object]


class _Overdue(NamedTuple):
    """A tenant with rows to delete: those from `since` on, older than `before`."""

    since: datetime
    tenant_id: int
    before: datetime


def prune(*, now: datetime, pause: Pause = time.sleep) -> Counter[str]:
    """Delete history that is older than its tenant's retention, for one round.

    Deletes finished runs with their attempts, ended tasks without runs with their
    schedules, messages without a retry left, old idempotency keys, old schedule changes
    and old heartbeats. Returns the number of each kind. `pause` may end the round by
    returning something true.
    """
    # A task is counted until it is marked as ended, also while no beat runs.
    task_counts.end_all_expired_tasks()
    gone: Counter[str] = Counter()
    began = time.monotonic()
    ends_at = began + ROUND_SECONDS
    for kind, count in _delete_in_batches(now):
        gone[kind] += count
        counters.ROWS_PRUNED.labels(kind).inc(count)
        ended = time.monotonic()
        if ended > ends_at or pause((ended - began) * REST_RATIO):
            break
        began = time.monotonic()
    return gone


def lag(*, now: datetime) -> float:
    """Return the seconds since the oldest run should have been deleted, at least 0."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_OLDEST_RUNS, _values(now))
        kept = [before - finished_at for _, _, before, finished_at in cursor.fetchall()]
    return max(kept, default=timedelta()).total_seconds()


def _delete_in_batches(now: datetime) -> Iterator[tuple[str, int]]:
    """Delete batch by batch; yield the kind and the number of rows of each batch.

    The kinds take turns, so that many rows of one kind do not delay the others.
    """
    turns = deque(
        [
            _delete_oldest_first("run", FIND_OLDEST_RUNS, DELETE_RUNS, now),
            _delete_oldest_first("task", FIND_OLDEST_TASKS, DELETE_TASKS, now),
            *(_sweep(kind, statement, now) for kind, statement in SWEEPS.items()),
        ]
    )
    while turns:
        kind = turns.popleft()
        for batch in kind:
            yield batch
            turns.append(kind)
            break


def _sweep(kind: str, statement: str, now: datetime) -> Iterator[tuple[str, int]]:
    count = BATCH_SIZE
    while count >= BATCH_SIZE:
        with connection.cursor() as cursor:
            cursor.execute(statement, _values(now))
            [count] = cursor.fetchone()
        yield kind, count


def _delete_oldest_first(
    kind: str, oldest: str, batch: str, now: datetime
) -> Iterator[tuple[str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(oldest, _values(now))
        overdue = [_Overdue._make(row[:3]) for row in cursor.fetchall()]
    heapq.heapify(overdue)
    while overdue:
        chosen = [
            heapq.heappop(overdue)
            for _ in range(min(MAX_TENANTS_IN_BATCH, len(overdue)))
        ]
        share = max(1, BATCH_SIZE // len(chosen))
        gone = _delete_batch(batch, chosen, share)
        for each, count, last in gone:
            # A tenant with fewer rows than its share has no more.
            if count == share:
                heapq.heappush(overdue, each._replace(since=last))
        yield kind, sum(count for _, count, _ in gone)


def _delete_batch(
    statement: str, chosen: Sequence[_Overdue], share: int
) -> list[tuple[_Overdue, int, datetime]]:
    """Delete up to a share of each tenant; return the number of rows and the newest."""
    since, tenants, before = columns(chosen)
    values: dict[str, Any] = {
        "since": since,
        "tenants": tenants,
        "before": before,
        "share": share,
    }
    by_tenant = {each.tenant_id: each for each in chosen}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [
            (by_tenant[tenant_id], count, last)
            for tenant_id, count, last in cursor.fetchall()
        ]


def _values(now: datetime) -> dict[str, Any]:
    return {"now": now, "days": settings.SCHEDULER_RETENTION_DAYS}
