"""Write down what became of runs, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.delivery.retry import (
    GiveUp,
    Open,
    PassOn,
    Release,
    RetryAfter,
    Succeed,
    Verdict,
)
from tasks_api.domain.states import RunState
from tasks_api.storage import count_statements, sending_rules


class Finished(NamedTuple):
    """An attempt that is over: whose, how it went, and what we make of it."""

    run: Claimed
    outcome: Outcome
    verdict: Verdict
    started_at: datetime


def record(finished: Sequence[Finished]) -> set[UUID]:
    """Store verdicts and attempts; returns the runs that were still ours to judge.

    Only the holder of a run's lease may judge it. The attempt is kept either way: it
    was made. A one-off task ends here, with its run.
    """
    with prepared() as cursor:
        cursor.execute(_RECORD, columns(map(_row, finished)))
        ours = {run_id for (run_id,) in cursor.fetchall()}
    cancel_overtaken(
        [f.run.run_id for f in finished if isinstance(f.verdict, RetryAfter)]
    )
    return ours


def cancel_overtaken(retried: Sequence[UUID]) -> None:
    """Let those runs be tried again no more whose task was removed or replaced."""
    if retried:
        with prepared() as cursor:
            cursor.execute(_OVERTAKEN, [array(retried)])


def _row(item: Finished) -> tuple[object, ...]:
    run, outcome, verdict = item.run, item.outcome, item.verdict
    state, reason = state_of(verdict)
    return (
        run.run_id,
        run.lease,
        state,
        text_of(reason.encode()),
        _delay(verdict),
        isinstance(verdict, PassOn),
        run.number,
        item.started_at,
        outcome.duration_ms,
        outcome.status_code,
        text_of(outcome.error.encode()),
        text_of(outcome.answer),
    )


def text_of(raw: bytes) -> str:
    """What PostgreSQL can hold of it: valid UTF-8 without NUL."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _delay(verdict: Verdict) -> float:
    """Seconds until somebody must look at the run again."""
    match verdict:
        case RetryAfter(delay=delay) | Release(delay=delay) | PassOn(delay=delay):
            return delay
        case Open(deadline=deadline):
            return deadline
    return 0


def state_of(verdict: Verdict) -> tuple[RunState, str]:
    """What a run is after a verdict, and why."""
    match verdict:
        case Succeed():
            return RunState.SUCCEEDED, ""
        case GiveUp(reason=reason):
            return RunState.FAILED, reason
        case RetryAfter(reason=reason):
            return RunState.RETRYING, reason
        case Open():
            return RunState.OPEN, "The target answered 202 and is at work on it."
        case Release(reason=reason) | PassOn(reason=reason):
            return RunState.PENDING, reason


# For statements that judge runs as `judged`: id, task_id, scheduled_for, is_final.
ONE_OFFS_END = f"""
    ended AS (
        UPDATE tasks_api_task task SET
            ended_at = now(), end_reason = 'completed', next_fire_at = NULL
        FROM judged, django_celery_beat_periodictask periodic
        WHERE task.id = judged.task_id AND judged.is_final
            AND task.last_fire_at = judged.scheduled_for AND task.ended_at IS NULL
            AND periodic.id = task.periodic_task_id AND periodic.one_off
        RETURNING task.periodic_task_id, {count_statements.ENDED_COLUMNS}
    ), {count_statements.ENDED}, disabled AS (
        UPDATE django_celery_beat_periodictask periodic SET
            enabled = false, last_run_at = now(), total_run_count = total_run_count + 1
        FROM ended WHERE periodic.id = ended.periodic_task_id
    )
"""  # noqa: S608 (constants)

_RECORD = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed') AS is_final
        FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::float[],
            %s::bool[], %s::int[], %s::timestamptz[], %s::int[], %s::smallint[], %s::text[],
            %s::text[])
            AS v(run_id, lease, state, reason, delay, is_lost, number, started_at,
                duration_ms, status_code, error, answer)
    ), judged AS (
        UPDATE tasks_api_run run SET
            state = verdict.state, reason = verdict.reason, lease = NULL,
            wake_at = CASE WHEN NOT verdict.is_final
                THEN now() + make_interval(secs => verdict.delay) END,
            finished_at = CASE WHEN verdict.is_final THEN now() END,
            attempt_count = run.attempt_count
                - (verdict.state = 'pending' AND NOT verdict.is_lost)::int,
            lost_count = run.lost_count + verdict.is_lost::int
        FROM verdict
        WHERE run.id = verdict.run_id AND run.lease = verdict.lease
        RETURNING run.id, run.task_id, run.scheduled_for, verdict.is_final
    ), {ONE_OFFS_END}, attempts AS (
        INSERT INTO tasks_api_attempt (run_id, number, started_at, duration_ms,
            status_code, error, answer)
        SELECT run_id, number, started_at, duration_ms, status_code, error, answer
        FROM verdict WHERE state <> 'pending' OR is_lost
        ON CONFLICT (run_id, number) DO NOTHING
    )
    SELECT id FROM judged
"""  # noqa: S608 (constants)

# An end or a replacement that came while the request was under way is the last word.
_OVERTAKEN = f"""
    UPDATE tasks_api_run run SET
        state = 'cancelled', wake_at = NULL, finished_at = now(),
        reason = run.reason || '; not tried again, the task was ' ||
            CASE WHEN task.ended_at IS NULL THEN 'replaced' ELSE 'removed' END || '.'
    FROM tasks_api_task task
    WHERE run.id = ANY(%s::uuid[]) AND run.state = 'retrying' AND task.id = run.task_id
        AND ({sending_rules.IS_REMOVED} OR task.replaced_at > run.started_at)
"""  # noqa: S608 (a constant)
