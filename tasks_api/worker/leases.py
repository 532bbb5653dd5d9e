"""Hold runs while their requests are under way: claim them, and keep them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.conf import settings

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery.request import ClaimedRun
from tasks_api.storage import beat_tables

# The presence of somebody who is never missed.
NO_PRESENCE = 0


def new_lease(presence: int) -> UUID:
    """A lease that says by its first 32 bits whose it is."""
    return UUID(int=presence << 96 | random.getrandbits(96))


# Said on a run that a worker holds and has not begun: without it, it may be under way.
UNSENT_REASON = "Waits for its turn at its host."
# More than any claim has; for whoever need not hold the requests in memory.
UNLIMITED_BYTES = 2**62


def count_bytes(run: ClaimedRun) -> int:
    """What a run takes up in memory, as the statement below has it."""
    return sum(map(_count_octets, (run.body, run.request, run.url)))


def _count_octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def claim(
    run_ids: Sequence[UUID],
    *,
    presence: int = NO_PRESENCE,
    lease: UUID | None = None,
    most_bytes: int = UNLIMITED_BYTES,
) -> list[ClaimedRun]:
    """Take those of the runs that are due and free, and whose task may fire.

    The earliest first, and none any more once they weigh `most_bytes` together.

    Pause, removal and end win over messages that are already here: the rows of task
    and schedule are read now. What is left out is somebody else's, or stays for
    a beat to settle when its `wake_at` comes.
    """
    lease = lease or new_lease(presence)
    with prepared() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "runs": array(run_ids),
                "lease": lease,
                "term": settings.SCHEDULER_LEASE,
                "bytes": most_bytes,
            },
        )
        return [
            ClaimedRun._make((*row[:8], lease, *row[8:])) for row in cursor.fetchall()
        ]


_CLAIM = f"""
    WITH free AS (
        SELECT run.id, task.method, task.url, task.body, task.surface, task.queue,
            task.expected_status, task.retry, task.request, task.overlap,
            task.pause_after_failures, octet_length(task.body)
                + octet_length(task.request) + octet_length(task.url) AS weight
        FROM tasks_api_run run
        JOIN tasks_api_task task ON task.id = run.task_id
        JOIN django_celery_beat_periodictask periodic
            ON periodic.id = task.periodic_task_id
        {beat_tables.OWNER}
        WHERE run.id = ANY(%(runs)s::uuid[]) AND run.state = 'pending'
            AND NOT run.is_next AND run.scheduled_for <= now()
            AND ({beat_tables.GOES} OR run.by_hand)
            AND (task.ended_at IS NULL OR task.end_reason = 'over'
                OR run.by_hand AND task.end_reason <> 'removed')
            AND (periodic.expires IS NULL OR run.scheduled_for <= periodic.expires
                OR run.by_hand)
        FOR UPDATE OF run SKIP LOCKED
    ), weighed AS (
        SELECT *, sum(weight) OVER (ORDER BY id) - weight AS before FROM free
    )
    UPDATE tasks_api_run run SET
        state = 'running', lease = %(lease)s,
        wake_at = now() + make_interval(secs => %(term)s),
        attempt_count = run.attempt_count + 1, started_at = now(), reason = ''
    FROM weighed free WHERE run.id = free.id AND free.before < %(bytes)s
    RETURNING run.id, run.task_id, run.tenant_id, run.scheduled_for,
        run.attempt_count, free.method, free.url, free.body, free.surface,
        free.queue, free.expected_status, free.retry, free.request,
        free.overlap, free.pause_after_failures, run.lost_count, run.slot,
        run.redrive_of
"""  # noqa: S608 (constants)


def undo_claim(run_ids: Iterable[UUID], lease: UUID) -> None:
    """Undo a claim of which nobody knows what it took."""
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_run SET state = 'pending', lease = NULL, wake_at = now(),
                attempt_count = attempt_count - 1
            WHERE id = ANY(%s::uuid[]) AND lease = %s AND state = 'running'
            """,
            [array(run_ids), lease],
        )


def mark_unsent(held: Iterable[tuple[UUID, UUID]], *, is_unsent: bool) -> None:
    """Say of (run, lease) pairs that their requests have not begun, or that they have.

    What is not begun when its worker dies was not lost with it.
    """
    run_ids, lease_ids = columns(held)
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_run run SET reason = %s
            FROM unnest(%s::uuid[], %s::uuid[]) AS held(id, lease)
            WHERE run.id = held.id AND run.lease = held.lease
            """,
            [UNSENT_REASON if is_unsent else "", run_ids, lease_ids],
        )


def explain_wait(run_ids: Iterable[UUID]) -> None:
    """Say on runs that nobody has begun that they wait for others of their tenant."""
    with prepared() as cursor:
        cursor.execute(
            """
            UPDATE tasks_api_run SET
                reason = 'Waits: its tenant has as many requests under way as it may.'
            WHERE id = ANY(%s::uuid[]) AND state = 'pending'
            """,
            [array(run_ids)],
        )


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
