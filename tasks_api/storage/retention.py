"""Delete old history: whole days at once, and the rest in batches, the oldest first.

Any number of processes may run retention at once: each skips rows that another one has
locked. docs/explanation/retention.md says how long each tenant's history is kept.
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
from tasks_api.storage import partitions, retention_days, task_counts
from tasks_api.storage.partition_statements import of_table
from tasks_api.storage.retention_statements import (
    BATCH_SIZE,
    DELETE_RUNS,
    DELETE_TASKS,
    FIND_OLDEST_RUNS,
    FIND_OLDEST_RUNS_OF_FEW,
    FIND_OLDEST_TASKS,
    READ_LAG,
    READ_LAG_OF_FEW,
    SWEEPS,
    TURNS,
)
from tasks_api.storage.tenant_turns import take_turn

# The most tenants in one batch. Rows of equal age lie on the same pages, so PostgreSQL
# writes a page once for all of these tenants.
MAX_TENANTS_IN_BATCH = 50
# The rows among which one statement looks for old ones.
MAX_ROWS_IN_TURN = 5000
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


class _DeletedShare(NamedTuple):
    """The rows of a tenant in a batch: those found, those deleted, and the newest."""

    of: _Overdue
    found: int
    deleted: int
    last: datetime


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
    plan = retention_days.plan(now=now)
    overdue = [now - day.drop_at for day in plan if day.drop_at <= now]
    for table, held in _tables_to_empty(plan, now):
        statement = READ_LAG_OF_FEW if _is_of_few(held) else READ_LAG
        with connection.cursor() as cursor:
            cursor.execute(of_table(statement, table), _values(now, held=held))
            overdue += [age for (age,) in cursor.fetchall() if age is not None]
    return max(overdue, default=timedelta()).total_seconds()


def _delete_in_batches(now: datetime) -> Iterator[tuple[str, int]]:
    """Delete batch by batch; yield the kind and the number of rows of each batch.

    The kinds take turns, so that many rows of one kind do not delay the others.
    """
    plan = retention_days.plan(now=now)
    patience = retention_days.patience_with_tasks(plan).total_seconds()
    tasks = _Kind(
        "task", FIND_OLDEST_TASKS, DELETE_TASKS, _values(now, patience=patience)
    )
    turns = deque(
        [
            retention_days.drop_days(plan, now=now),
            _delete_runs(_tables_to_empty(plan, now), now),
            tasks.delete_oldest_first(),
            *(_sweep_in_turns(kind, turn, now) for kind, turn in TURNS.items()),
            *(_sweep(kind, statement, now) for kind, statement in SWEEPS.items()),
        ]
    )
    while turns:
        kind = turns.popleft()
        for batch in kind:
            yield batch
            turns.append(kind)
            break


def _tables_to_empty(
    plan: Sequence[retention_days.PlannedDay], now: datetime
) -> list[tuple[str, int | None]]:
    """Return tables of runs, and the retention from which on tenants wait for a drop."""
    plain: list[tuple[str, int | None]] = [
        (table, None) for table in partitions.list_plain_tables()
    ]
    return plain + [(day.table, day.held_days) for day in plan if day.drop_at > now]


def _is_of_few(held: int | None) -> bool:
    """Whether all tenants with a shorter retention than this have one of their own."""
    return held is not None and held <= settings.SCHEDULER_RETENTION_DAYS


def _delete_runs(
    tables: Sequence[tuple[str, int | None]], now: datetime
) -> Iterator[tuple[str, int]]:
    for table, held in tables:
        oldest = FIND_OLDEST_RUNS_OF_FEW if _is_of_few(held) else FIND_OLDEST_RUNS
        runs = _Kind(
            "run",
            of_table(oldest, table),
            of_table(DELETE_RUNS, table),
            _values(now, held=held),
        )
        yield from runs.delete_oldest_first()


def _sweep_in_turns(
    kind: str, statement: str, now: datetime
) -> Iterator[tuple[str, int]]:
    """Go around the rows, some at a time, for as long as many of them are old."""
    count = BATCH_SIZE
    while count >= BATCH_SIZE:
        rows = take_turn(statement, _values(now), most=MAX_ROWS_IN_TURN)
        count = sum(is_old for _, is_old in rows)
        yield kind, count


def _sweep(kind: str, statement: str, now: datetime) -> Iterator[tuple[str, int]]:
    count = BATCH_SIZE
    while count >= BATCH_SIZE:
        with connection.cursor() as cursor:
            cursor.execute(statement, _values(now))
            [count] = cursor.fetchone()
        yield kind, count


class _Kind(NamedTuple):
    """A kind of rows that are deleted tenant by tenant, and the statements for that."""

    name: str
    oldest: str
    delete: str
    values: dict[str, Any]

    def delete_oldest_first(self) -> Iterator[tuple[str, int]]:
        overdue = [
            _Overdue(since, tenant_id, before)
            for tenant_id, since, before in take_turn(self.oldest, self.values)
            if since is not None
        ]
        heapq.heapify(overdue)
        while overdue:
            chosen = [
                heapq.heappop(overdue)
                for _ in range(min(MAX_TENANTS_IN_BATCH, len(overdue)))
            ]
            share = max(1, BATCH_SIZE // len(chosen))
            gone = _delete_batch(self.delete, chosen, share)
            for each in gone:
                # A tenant with fewer rows than its share has no more. Rows that cannot
                # be deleted, and are of one moment, would be found again.
                if each.found == share and (each.deleted or each.last > each.of.since):
                    heapq.heappush(overdue, each.of._replace(since=each.last))
            yield self.name, sum(each.deleted for each in gone)


def _delete_batch(
    statement: str, chosen: Sequence[_Overdue], share: int
) -> list[_DeletedShare]:
    """Delete up to a share of each tenant; return what was found and deleted."""
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
            _DeletedShare(by_tenant[tenant_id], found, deleted, last)
            for tenant_id, found, deleted, last in cursor.fetchall()
        ]


def _values(now: datetime, **more: float | None) -> dict[str, Any]:
    return {"now": now, "days": settings.SCHEDULER_RETENTION_DAYS, **more}
