"""Send runs again that were not delivered: one, or many by what became of them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db.arrays import array
from tasks_api.domain.exceptions import NotNow, RunNotFound
from tasks_api.domain.ids import ID_FOR
from tasks_api.domain.states import NOT_DELIVERED, RunState
from tasks_api.models import Run
from tasks_api.storage import run_rows


class Redriven(NamedTuple):
    """The new runs; which to ring for; and whether more of the kind are left."""

    run_ids: list[UUID]
    to_ring: list[UUID]
    has_more: bool


class _Made(NamedTuple):
    """Which new run sends which one again, and which runs may begin now."""

    again: dict[UUID, UUID]
    to_ring: list[UUID]


@transaction.atomic
def again(owner: User, run_id: UUID) -> Redriven:
    """Make a new run that sends one again, of the same task and beside its schedule.

    It is sent though the task is paused, or has ended by itself. Raises RunNotFound, and
    NotNow where there is nothing to send again, or not at the moment.
    """
    run = Run.objects.reached_by(owner).filter(pk=run_id).select_related("task").first()
    if run is None:
        raise RunNotFound("Run not found")
    if run.state not in NOT_DELIVERED:
        done = "was delivered" if run.state == RunState.SUCCEEDED else "is not over yet"
        raise NotNow(f"The run {done}")
    if run.task.end_reason == "removed":
        raise NotNow("The task of the run was removed")
    made = _make([run.pk])
    if not made.again:
        raise NotNow(
            "It is being sent again already, or the task is at work on another run"
        )
    audit.record(run.tenant_id, "run.redrive", [run.pk])
    [new] = made.again
    return Redriven([new], made.to_ring, has_more=False)


@transaction.atomic
def many(
    owner: User,
    states: Collection[RunState],
    *,
    limit: int,
    task_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Redriven:
    """Make new runs for those of a user's in these states, oldest first.

    Each run is sent again once in this way, however often it is asked for: what was
    redriven before is passed over, and so is a redrive after which there was a later one
    of the same run, and what belongs to a task that was removed or may not overlap with
    the run that it has. Notices are sent again by their ids only.
    """
    found = _found(owner, states, limit + 1, task_id, since, until)
    made = _make(found[:limit])
    audit.record(owner.tenant_id, "run.redrive", list(made.again.values()))
    has_more = len(found) > len(made.again)
    return Redriven(list(made.again), made.to_ring, has_more)


def _found(
    owner: User,
    states: Collection[RunState],
    limit: int,
    task_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            _FIND.replace("{limit}", str(limit)),
            {
                "owner": owner.pk,
                "reaches_all": owner.reaches_tenant,
                "tenant": owner.tenant_id,
                "states": array(sorted(states)),
                "task": task_id,
                "since": since,
                "until": until,
            },
        )
        return [run_id for (run_id,) in cursor.fetchall()]


# The list of states is repeated as constants, so that the index of what was not delivered
# serves it.
_FIND = f"""
    SELECT run.id FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.tenant_id = %(tenant)s
        AND (%(reaches_all)s OR task.owner_id = %(owner)s)
        AND task.end_reason <> 'removed'
        AND run.state IN ({", ".join(f"'{state}'" for state in sorted(NOT_DELIVERED))})
        AND run.state = ANY(%(states)s::text[])
        AND CASE WHEN %(task)s::uuid IS NULL THEN task.surface <> 'notices'
            ELSE run.task_id = %(task)s END
        AND (%(since)s::timestamptz IS NULL OR run.scheduled_for >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR run.scheduled_for < %(until)s)
        AND NOT EXISTS (SELECT FROM tasks_api_run again WHERE again.redrive_of = run.id)
        AND NOT EXISTS (
            SELECT FROM tasks_api_run later WHERE later.redrive_of = run.redrive_of
                AND later.scheduled_for > run.scheduled_for)
        AND (task.overlap = 'allow' OR NOT EXISTS (
            SELECT FROM tasks_api_run other WHERE other.task_id = task.id
                AND other.finished_at IS NULL AND CASE task.overlap
                    WHEN 'skip' THEN other.exclusive ELSE other.is_next END))
    ORDER BY run.scheduled_for LIMIT {{limit}}
"""  # noqa: S608 (constants)

# Moments that are a microsecond apart, and past: a task has one run for each. The slot is
# that of the run which was the first one to be sent again.
_MAKE = """
    WITH run AS (
        SELECT run.id, run.task_id, run.tenant_id, task.overlap,
            coalesce(run.slot, run.scheduled_for) AS slot,
            (SELECT clock_timestamp()) - '1 microsecond'::interval
                * row_number() OVER (ORDER BY run.scheduled_for DESC) AS at
        FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
        WHERE run.id = ANY(%(runs)s::uuid[])
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, exclusive, is_next, attempt_count, lost_count, by_hand, redrive_of,
        slot)
    SELECT {id}, task_id, tenant_id, at, 'pending',
        CASE overlap WHEN 'queue_one' THEN %(waits)s ELSE '' END, now(),
        overlap = 'skip', overlap = 'queue_one', 0, 0, true, id, slot
    FROM run ORDER BY at
    ON CONFLICT DO NOTHING
    RETURNING id, redrive_of, is_next, task_id
""".replace("{id}", ID_FOR.format(moment="at", tenant_id="tenant_id"))


# In one order everywhere. Whoever lets a run wait holds its task.
_LOCK = """
    SELECT FROM tasks_api_task WHERE overlap = 'queue_one' AND id IN (
        SELECT task_id FROM tasks_api_run WHERE id = ANY(%s::uuid[]))
    ORDER BY id FOR NO KEY UPDATE
"""


def _make(run_ids: Collection[UUID]) -> _Made:
    """Store the new runs that no constraint forbids."""
    if not run_ids:
        return _Made({}, [])
    ids = array(run_ids)
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [ids])
        cursor.execute(_MAKE, {"runs": ids, "waits": run_rows.WAITS})
        rows = cursor.fetchall()
    to_ring = [new for new, _, waits, _ in rows if not waits]
    to_ring += run_rows.start_waiting_runs_of_locked(
        [task_id for *_, waits, task_id in rows if waits]
    )
    return _Made({new: old for new, old, *_ in rows}, to_ring)
