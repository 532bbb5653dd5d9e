"""The statements of a beat; the comment above each says what it does."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from tasks_api.storage import beat_tables


class FromMoment(NamedTuple):
    """A statement in two forms: one reads its index from the beginning, one from a moment.

    The second one is for callers who know that only dead rows lie before the moment. Two
    texts, because PostgreSQL plans a condition that may be absent for the worse case.
    """

    beginning: str
    moment: str

    def since(self, since: datetime | None) -> str:
        return self.beginning if since is None else self.moment


def _from_moment(statement: str, condition: str) -> FromMoment:
    return FromMoment(
        statement.replace("{since}", ""), statement.replace("{since}", condition)
    )


# Finds out what a beat has to do, and reads the first entry of each index only. It uses
# min(), because EXISTS reads the whole table when many rows were due at the time of the
# last ANALYZE. OFFSET 0 keeps PostgreSQL from reading each index twice.
FIND_WORK = f"""
    SELECT clock_timestamp(), ({beat_tables.LAST_EDIT}),
        coalesce(fire_at <= now() + make_interval(secs => %(ahead)s), false),
        coalesce(wake_at <= now(), false),
        change_id IS NOT NULL,
        coalesce(ends_at < now(), false),
        coalesce((
            SELECT extract(epoch FROM min(next_fire_at) - now()) FROM tasks_api_task
            WHERE overlap <> 'allow' AND next_fire_at IS NOT NULL
                AND next_fire_at > now()
                AND next_fire_at < now() + make_interval(secs => %(at_most)s)
        ), %(at_most)s)::float,
        least(fire_at, past), least(wake_at, past), least(ends_at, past),
        coalesce(change_id, (SELECT max(id) FROM tasks_api_schedulechange), 0)
    FROM (
        SELECT now() - make_interval(secs => %(margin)s) AS past, (
            SELECT min(next_fire_at) FROM tasks_api_task
            WHERE next_fire_at IS NOT NULL AND next_fire_at >= %(fire_at)s::timestamptz
        ) AS fire_at, (
            SELECT min(wake_at) FROM tasks_api_run
            WHERE wake_at IS NOT NULL AND wake_at >= %(wake_at)s::timestamptz
        ) AS wake_at, (
            SELECT min(ends_at) FROM tasks_api_task
            WHERE ended_at IS NULL AND next_fire_at IS NULL AND ends_at IS NOT NULL
                AND ends_at >= %(ends_at)s::timestamptz
        ) AS ends_at, (
            SELECT min(id) FROM tasks_api_schedulechange
            WHERE open_from IS NOT NULL AND id >= %(change_id)s::bigint
        ) AS change_id
        OFFSET 0
    ) AS first
"""

# Makes runs ready for a worker whose `wake_at` has passed, or ends them where their task
# may not be sent any more. A run that no worker took is rung for after as long again as
# it has waited, so the waits double; a run that is made ready here has not waited yet.
_WAKE_RUNS = f"""
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
                THEN task.owner_id END AS inactive_owner_id
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
    RETURNING run.id AS run_id,
        CASE waiting.fate WHEN 'held' THEN 'held' ELSE run.state END AS state,
        waiting.was,
        CASE WHEN waiting.is_in_line AND waiting.fate <> 'ready' THEN run.task_id END
            AS queued_task_id,
        waiting.inactive_owner_id
"""
WAKE_RUNS = _from_moment(_WAKE_RUNS, "AND run.wake_at >= %(since)s::timestamptz")
