"""Forget old history: the oldest first, in bites that hold no lock for long.

Any number of processes may do so at once: each takes rows that the others have not
locked. What every tenant may keep for how long, and why rows are deleted one by one, is
in docs/explanation/retention.md.
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
from tasks_api.storage.task_deletion import DELETE_SCHEDULES

# Rows in one statement: some tens of milliseconds.
BATCH_SIZE = 1000
# Tenants that share a bite. Taken together, those that are equally old lie on the same
# pages, which are then written once.
MAX_TENANTS_IN_BATCH = 50
# How long a round works on, in seconds, and the rest after each bite, in parts of the
# time that it took: so that who sends requests has the database to itself between two.
ROUND_SECONDS = 30.0
REST_RATIO = 1.0

# Waits for so many seconds; true when there is no time left.
Pause = Callable[[float], object]


class _Overdue(NamedTuple):
    """Whose rows have to go: those from `since` on that are older than `before`."""

    since: datetime
    tenant_id: int
    before: datetime


# A tenant's moment before which everything has to go.
_BEFORE = """
    (SELECT id, %(now)s::timestamptz
        - make_interval(days => coalesce(retention_days, %(days)s)) AS before
     FROM accounts_tenant) AS tenant
"""
_OLDEST_RUN = f"""
    SELECT oldest.scheduled_for, tenant.id, tenant.before, oldest.finished_at
    FROM {_BEFORE} CROSS JOIN LATERAL (
        SELECT run.scheduled_for, run.finished_at FROM tasks_api_run run
        WHERE run.tenant_id = tenant.id AND run.scheduled_for < tenant.before
            AND run.finished_at < tenant.before
        ORDER BY run.scheduled_for LIMIT 1
    ) AS oldest
"""  # noqa: S608 (a constant)
_OLDEST_TASK = f"""
    SELECT oldest.ended_at, tenant.id, tenant.before
    FROM {_BEFORE} CROSS JOIN LATERAL (
        SELECT task.ended_at FROM tasks_api_task task
        WHERE task.tenant_id = tenant.id AND task.ended_at < tenant.before
        ORDER BY task.ended_at LIMIT 1
    ) AS oldest
"""  # noqa: S608 (a constant)

# Of each tenant its share, from where the bite before it ended: an index whose old end
# is full of dead entries is walked through once in a round, and not once for each bite.
# Rows are locked, so they lie where they were found.
_OF_EACH = """
    unnest(%(since)s::timestamptz[], %(tenants)s::bigint[], %(before)s::timestamptz[])
        AS share(since, tenant_id, before)
"""
_RUNS = f"""
    WITH old AS MATERIALIZED (
        SELECT share.tenant_id, run.* FROM {_OF_EACH} CROSS JOIN LATERAL (
            SELECT run.ctid AS place, run.id, run.scheduled_for AS at
            FROM tasks_api_run run
            WHERE run.tenant_id = share.tenant_id AND run.scheduled_for >= share.since
                AND run.scheduled_for < share.before AND run.finished_at < share.before
            ORDER BY run.scheduled_for LIMIT %(share)s
            FOR UPDATE SKIP LOCKED
        ) AS run
    ), attempts AS (
        DELETE FROM tasks_api_attempt WHERE run_id = ANY(ARRAY(SELECT id FROM old))
    ), runs AS (
        DELETE FROM tasks_api_run WHERE ctid = ANY(ARRAY(SELECT place FROM old))
    )
    SELECT tenant_id, count(*), max(at) FROM old GROUP BY tenant_id
"""  # noqa: S608 (a constant)

# The oldest ended tasks of each tenant that have no runs left.
_TASKS = f"""
    WITH old AS MATERIALIZED (
        SELECT share.tenant_id, task.* FROM {_OF_EACH} CROSS JOIN LATERAL (
            SELECT task.ctid AS place, task.periodic_task_id, task.ended_at AS at
            FROM tasks_api_task task
            WHERE task.tenant_id = share.tenant_id AND task.ended_at >= share.since
                AND task.ended_at < share.before
                AND NOT EXISTS (SELECT FROM tasks_api_run run WHERE run.task_id = task.id)
            ORDER BY task.ended_at LIMIT %(share)s
            FOR UPDATE SKIP LOCKED
        ) AS task
    ), tasks AS (
        DELETE FROM tasks_api_task WHERE ctid = ANY(ARRAY(SELECT place FROM old))
        RETURNING id, periodic_task_id
    ), {DELETE_SCHEDULES}
    SELECT tenant_id, count(*), max(at) FROM old GROUP BY tenant_id
"""  # noqa: S608 (a constant)

# What is not found by tenant. Each is repeated until it deletes less than a bite; it
# returns how much that was.
_SWEEPS = {
    # Their last lease ran out, and nobody has looked into their queue since.
    "message": f"""
        WITH old AS MATERIALIZED (
            SELECT message.id FROM tasks_api_message message
            JOIN {_BEFORE} ON tenant.id = message.tenant_id
            WHERE message.leased_until < tenant.before AND message.max_retries >= 0
                AND message.retry_count >= message.max_retries
            LIMIT {BATCH_SIZE} FOR UPDATE OF message SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_message WHERE id = ANY(ARRAY(SELECT id FROM old))
            RETURNING tenant_id, queue
        ), tally AS (
            INSERT INTO tasks_api_queuetally AS tally (tenant_id, queue, exhausted)
            SELECT tenant_id, queue, count(*) FROM deleted
            GROUP BY tenant_id, queue ORDER BY tenant_id, queue
            ON CONFLICT (tenant_id, queue) DO UPDATE
                SET exhausted = tally.exhausted + excluded.exhausted
        )
        SELECT count(*) FROM old
    """,  # noqa: S608 (a constant)
    "idempotency key": f"""
        WITH old AS (
            SELECT id FROM tasks_api_idempotencykey
            WHERE created_at < %(now)s::timestamptz - '24 hours'::interval
            LIMIT {BATCH_SIZE} FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_idempotencykey
            WHERE id = ANY(ARRAY(SELECT id FROM old))
        )
        SELECT count(*) FROM old
    """,  # noqa: S608 (a constant)
    # Of a task that lives on. Not the last one that is old: from there the next goes on.
    "schedule change": f"""
        WITH old AS MATERIALIZED (
            SELECT change.id FROM tasks_api_schedulechange change
            JOIN tasks_api_task task ON task.id = change.task_id
            JOIN {_BEFORE} ON tenant.id = task.tenant_id
            WHERE change.at < tenant.before AND change.open_from IS NULL AND EXISTS (
                SELECT FROM tasks_api_schedulechange later
                WHERE later.task_id = change.task_id AND later.id > change.id
                    AND later.at < tenant.before)
            LIMIT {BATCH_SIZE} FOR UPDATE OF change SKIP LOCKED
        ), deleted AS (
            DELETE FROM tasks_api_schedulechange
            WHERE id = ANY(ARRAY(SELECT id FROM old))
        )
        SELECT count(*) FROM old
    """,  # noqa: S608 (a constant)
    "heartbeat": """
        WITH old AS (
            DELETE FROM tasks_api_heartbeat
            WHERE seen_at < %(now)s::timestamptz - make_interval(days => %(days)s)
            RETURNING 1
        )
        SELECT count(*) FROM old
    """,
}


def prune(*, now: datetime, pause: Pause = time.sleep) -> Counter[str]:
    """Delete what is over for longer than its tenant's retention, for one round.

    That is: runs that finished, with their attempts; tasks that ended and have no run
    left, with their schedules; messages that nobody may have; old heartbeats. Returns
    how many of each kind. `pause` may end the round by returning something true.
    """
    # As beats do all the time: only what has ended is no longer counted.
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
    """For how many seconds a run is kept that should be gone; 0 if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_RUN, _values(now))
        kept = [before - finished_at for _, _, before, finished_at in cursor.fetchall()]
    return max(kept, default=timedelta()).total_seconds()


def _delete_in_batches(now: datetime) -> Iterator[tuple[str, int]]:
    """Delete bite by bite; says after each how many there were of which kind.

    The kinds take turns, so that much of one keeps none of the others waiting.
    """
    turns = deque(
        [
            _delete_oldest_first("run", _OLDEST_RUN, _RUNS, now),
            _delete_oldest_first("task", _OLDEST_TASK, _TASKS, now),
            *(_sweep(kind, statement, now) for kind, statement in _SWEEPS.items()),
        ]
    )
    while turns:
        kind = turns.popleft()
        for bite in kind:
            yield bite
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
    kind: str, oldest: str, bite: str, now: datetime
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
        gone = _delete_batch(bite, chosen, share)
        for each, count, last in gone:
            # Less than its share is all that it has.
            if count == share:
                heapq.heappush(overdue, each._replace(since=last))
        yield kind, sum(count for _, count, _ in gone)


def _delete_batch(
    statement: str, chosen: Sequence[_Overdue], share: int
) -> list[tuple[_Overdue, int, datetime]]:
    """Delete up to a share of each; returns how many of whom, and the youngest of them."""
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
