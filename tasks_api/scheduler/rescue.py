"""Wake the runs that wait: nobody took them, their worker died, or a retry is due."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from scheduler_service.db.statements import prepared
from tasks_api.delivery.retry import MAX_LOST_ATTEMPTS
from tasks_api.domain.states import RING_AGAIN, RunState
from tasks_api.metrics import counters
from tasks_api.scheduler.dispatch import BATCH, Dispatched
from tasks_api.services import owners
from tasks_api.storage import beat_tables, run_rows
from tasks_api.worker.leases import UNSENT_REASON

logger = logging.getLogger(__name__)

# However long nobody has taken a run, it is rung for as often as this.
LONGEST_SILENCE = timedelta(minutes=1)
# A worker that waits for a place says so, and may be cut off before it says that it has
# begun. So the attempt is written down, and speaks not against the run.
UNSEEN = "The worker was lost, and had not said that it had begun."


def wake_due(
    *,
    limit: int = BATCH,
    leases_until: datetime | None = None,
    since: datetime | None = None,
) -> Dispatched:
    """Make every run that waited long enough ready for a worker again.

    Leases that ran out after `leases_until` are left alone; without it, none are. So are
    runs that wait since before `since`.

    A lost message, a dead worker, an emptied Redis and a retry are all the same case:
    `wake_at` has passed. Runs of tasks that were removed or paused end here instead.
    """
    with prepared() as cursor:
        cursor.execute(
            _WAKE.replace("{limit}", str(limit)).replace(
                "{since}", "" if since is None else _SINCE
            ),
            {
                "since": since,
                "leases_until": leases_until,
                "most_lost": MAX_LOST_ATTEMPTS,
                "unsent": UNSENT_REASON,
                "unseen": UNSEEN,
                "soonest": RING_AGAIN.total_seconds(),
                "latest": LONGEST_SILENCE.total_seconds(),
            },
        )
        rows = cursor.fetchall()
    woken = [row[:3] for row in rows]
    counters.count_woken(woken)
    # Whoever waits behind one that has just ended, or was not seen when it did.
    in_line = {task_id for *_, task_id, _ in rows if task_id is not None}
    # Made by a request that was under way when their user was deactivated.
    if gone := {owner_id for *_, owner_id in rows if owner_id is not None}:
        owners.suspend(gone)
    moved_up = run_rows.move_up(list(in_line)) if in_line else []
    lost = [run_id for run_id, _, was in woken if was == RunState.RUNNING]
    if lost:
        logger.warning("Leases ran out for %d runs; they are sent again.", len(lost))
    ringing = [run_id for run_id, state, _ in woken if state == RunState.PENDING]
    return Dispatched(ringing + moved_up, is_full=len(woken) == limit)


_SINCE = "AND run.wake_at >= %(since)s::timestamptz"
# The next silence of one that nobody took is as long as it has waited already, which
# doubles it. One that is made ready here has not waited yet, however old it is.
_WAKE = f"""
    WITH waiting AS (
        SELECT run.id, run.state AS was, run.attempt_count, run.started_at,
            run.state = 'running' AS is_lost,
            run.state = 'running' AND run.reason = %(unsent)s AS is_unseen,
            CASE
                WHEN task.ended_at IS NOT NULL AND task.end_reason <> 'over'
                    AND (NOT run.by_hand OR task.end_reason = 'removed') THEN 'removed'
                WHEN run.scheduled_for > periodic.expires AND NOT run.by_hand THEN 'over'
                WHEN NOT ({beat_tables.GOES} OR run.by_hand OR periodic.one_off)
                    THEN 'paused'
                WHEN NOT ({beat_tables.GOES} OR run.by_hand) THEN 'held'
                WHEN run.attempt_count > (
                        run.state = 'running' AND run.reason = %(unsent)s)::int
                    AND task.replaced_at > run.started_at
                    THEN 'replaced'
                WHEN run.state = 'running' AND run.reason <> %(unsent)s
                    AND run.lost_count + 1 >= %(most_lost)s
                    AND run.lost_count + 1 - (
                        SELECT count(*) FROM tasks_api_attempt attempt
                        WHERE attempt.run_id = run.id AND attempt.error = %(unseen)s
                    ) >= %(most_lost)s THEN 'poison'
                WHEN run.is_next THEN 'held'
                ELSE 'ready'
            END AS fate, task.overlap = 'queue_one' AS is_in_line,
            CASE WHEN periodic.enabled AND NOT {beat_tables.GOES}
                THEN task.owner_id END AS gone
        FROM tasks_api_run run
        JOIN tasks_api_task task ON task.id = run.task_id
        JOIN django_celery_beat_periodictask periodic
            ON periodic.id = task.periodic_task_id
        {beat_tables.OWNER}
        WHERE run.wake_at <= now() {{since}} AND run.state <> 'open' AND (run.state <> 'running'
            OR run.wake_at <= coalesce(%(leases_until)s::timestamptz, now()))
        ORDER BY run.wake_at LIMIT {{limit}}
        FOR UPDATE OF run SKIP LOCKED
    ), lost AS (
        INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms, error,
            answer)
        SELECT id, attempt_count, started_at,
            extract(epoch FROM now() - started_at) * 1000,
            CASE WHEN is_unseen THEN %(unseen)s ELSE 'The worker was lost.' END, ''
        FROM waiting WHERE is_lost
        ON CONFLICT (run_id, number) DO NOTHING
    )
    UPDATE tasks_api_run run SET
        state = CASE waiting.fate
            WHEN 'ready' THEN 'pending' WHEN 'held' THEN 'pending'
            WHEN 'poison' THEN 'failed' ELSE 'cancelled' END,
        reason = CASE waiting.fate
            WHEN 'removed' THEN 'The task was removed.'
            WHEN 'over' THEN 'The end of the task was moved to before this run.'
            WHEN 'paused' THEN 'The task was paused.'
            WHEN 'replaced' THEN 'The task was replaced.'
            WHEN 'poison' THEN 'Its worker was lost too often.'
            ELSE CASE WHEN waiting.was = 'pending' THEN run.reason ELSE '' END END,
        lease = NULL,
        lost_count = run.lost_count + waiting.is_lost::int,
        wake_at = CASE WHEN waiting.fate IN ('ready', 'held') THEN
            now() + least(
                greatest(CASE WHEN waiting.was = 'pending'
                    THEN now() - greatest(run.scheduled_for, run.started_at) END,
                    make_interval(secs => %(soonest)s)),
                -- Nobody rings for it that could be away for long.
                CASE WHEN run.is_next THEN '30s'::interval
                    ELSE make_interval(secs => %(latest)s) END)
            END,
        finished_at = CASE WHEN waiting.fate NOT IN ('ready', 'held') THEN now() END
    FROM waiting WHERE run.id = waiting.id
    RETURNING run.id, CASE waiting.fate WHEN 'held' THEN 'held' ELSE run.state END,
        waiting.was,
        CASE WHEN waiting.is_in_line AND waiting.fate <> 'ready' THEN run.task_id END,
        waiting.gone
"""  # noqa: S608 (constants)
