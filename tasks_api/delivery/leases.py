"""Hold runs while their requests are under way: claim them, and keep them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from scheduler_service.statements import prepared
from tasks_api.arrays import array, columns
from tasks_api.delivery.request import Claimed

# The presence of somebody who is never missed.
NOBODY = 0


def new_lease(presence: int) -> UUID:
    """A lease that says by its first 32 bits whose it is."""
    return UUID(int=presence << 96 | random.getrandbits(96))


class Crowded(NamedTuple):
    """A run that waits because its tenant holds as many as it may in this worker."""

    run_id: UUID
    tenant_id: int
    limit: int


class Claims(NamedTuple):
    claimed: list[Claimed]
    crowded: list[Crowded]


def claim(
    run_ids: Sequence[UUID],
    *,
    presence: int = NOBODY,
    held: Mapping[int, int] | None = None,
) -> Claims:
    """Take those of the runs that are due and free, and whose task may fire.

    Pause, removal and end win over messages that are already here: the rows of task
    and schedule are read now. What is left out is somebody else's, or stays for
    dispatch to settle when its `wake_at` comes; or its tenant is at its limit, given
    how many runs of each this worker holds already.
    """
    lease = new_lease(presence)
    holding = Counter(held or {})
    with prepared() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "runs": array(run_ids),
                "lease": lease,
                "term": settings.SCHEDULER_LEASE,
                "most": settings.SCHEDULER_MAX_PER_TENANT,
                "tenants": array(holding.keys()),
                "held": array(holding.values()),
            },
        )
        claimed = [
            Claimed._make((*row[:8], lease, *row[8:])) for row in cursor.fetchall()
        ]
    holding.update(run.tenant_id for run in claimed)
    left = set(run_ids) - {run.run_id for run in claimed}
    return Claims(claimed, _crowded(left, holding) if left and holding else [])


def _crowded(run_ids: Iterable[UUID], holding: Mapping[int, int]) -> list[Crowded]:
    """Which of the runs were left because of their tenant; those that are late say so."""
    with prepared() as cursor:
        cursor.execute(
            _CROWDED,
            {
                "runs": array(run_ids),
                "most": settings.SCHEDULER_MAX_PER_TENANT,
                "tenants": array(holding.keys()),
                "held": array(holding.values()),
            },
        )
        return [Crowded._make(row) for row in cursor.fetchall()]


_CLAIM = """
    WITH candidate AS (
        SELECT run.id, run.tenant_id,
            row_number() OVER (PARTITION BY run.tenant_id ORDER BY run.id) AS place
        FROM tasks_api_run run
        WHERE run.id = ANY(%(runs)s::uuid[]) AND run.state = 'pending'
            AND run.scheduled_for <= now()
    ), free AS (
        SELECT run.id FROM candidate
        JOIN accounts_tenant tenant ON tenant.id = candidate.tenant_id
        LEFT JOIN unnest(%(tenants)s::bigint[], %(held)s::int[]) AS holding(id, held)
            ON holding.id = tenant.id
        JOIN tasks_api_run run ON run.id = candidate.id
        JOIN tasks_api_task task ON task.id = run.task_id
        JOIN django_celery_beat_periodictask periodic
            ON periodic.id = task.periodic_task_id
        WHERE run.state = 'pending' AND task.ended_at IS NULL AND periodic.enabled
            AND (periodic.expires IS NULL OR run.scheduled_for <= periodic.expires)
            AND candidate.place + coalesce(holding.held, 0)
                <= coalesce(tenant.max_in_flight, %(most)s)
        FOR UPDATE OF run SKIP LOCKED
    )
    UPDATE tasks_api_run run SET
        state = 'running', lease = %(lease)s,
        wake_at = now() + make_interval(secs => %(term)s),
        attempt_count = run.attempt_count + 1, started_at = now(), reason = ''
    FROM free, tasks_api_task task
    WHERE run.id = free.id AND task.id = run.task_id
    RETURNING run.id, run.task_id, run.tenant_id, run.scheduled_for,
        run.attempt_count, task.method, task.url, task.body, task.surface,
        task.queue, task.expected_status, task.retry
"""

_CROWDED = """
    WITH crowded AS (
        SELECT run.id, run.tenant_id,
            run.reason = '' AND run.scheduled_for < now() - '2s'::interval AS is_news,
            coalesce(tenant.max_in_flight, %(most)s) AS most
        FROM unnest(%(tenants)s::bigint[], %(held)s::int[]) AS holding(id, held)
        JOIN accounts_tenant tenant ON tenant.id = holding.id
            AND holding.held >= coalesce(tenant.max_in_flight, %(most)s)
        JOIN tasks_api_run run ON run.tenant_id = tenant.id
        WHERE run.id = ANY(%(runs)s::uuid[]) AND run.state = 'pending'
    ), told AS (
        UPDATE tasks_api_run run SET
            reason = 'Waits: its tenant has as many requests under way as it may.'
        FROM crowded WHERE run.id = crowded.id AND crowded.is_news
    )
    SELECT id, tenant_id, most FROM crowded
"""


def renew(held: Iterable[tuple[UUID, UUID]]) -> set[UUID]:
    """Prolong the leases of (run, lease) pairs; returns the runs that are still ours."""
    run_ids, lease_ids = columns(held)
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_run run SET wake_at = now() + make_interval(secs => %s)
            FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, lease)
            WHERE run.id = held.id AND run.lease = held.lease
            RETURNING run.id
            """,
            [settings.SCHEDULER_LEASE, run_ids, lease_ids],
        )
        return {run_id for (run_id,) in cursor.fetchall()}


def release(presences: Iterable[int]) -> int:
    """Let the leases of workers that are gone be over now; returns how many there were."""
    bounds = [
        (UUID(int=presence << 96), UUID(int=(presence + 1 << 96) - 1))
        for presence in presences
    ]
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_run run SET wake_at = now()
            FROM unnest(%s::uuid[], %s::uuid[]) AS gone(first, last)
            WHERE run.state = 'running' AND run.wake_at > now()
                AND run.lease BETWEEN gone.first AND gone.last
            """,
            columns(bounds),
        )
        return int(cursor.rowcount)
