"""Runs that their targets are still at work on: complete, fail, hear of, and expire them.

A target that answers 202 to a task with long work leaves its run open. No worker holds
it then: it is a row whose `wake_at` is the target's deadline. Who speaks of it is the
target, by the run's own token, or a user that reaches the task.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import User
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery import retry, run_tokens
from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.domain.exceptions import InvalidState, RunAccessDenied, RunNotFound
from tasks_api.domain.specs import Overlap
from tasks_api.domain.states import FINAL, RunState
from tasks_api.models import Run
from tasks_api.storage import run_rows
from tasks_api.worker import failure_streaks
from tasks_api.worker.record import (
    ONE_OFFS_END,
    Finished,
    cancel_overtaken,
    state_of,
    text_of,
)

EXPIRED = "The work was not done by its deadline"
FAILED = "The target said that its work failed"
NOT_OPEN = "Nobody is at work on this run"
NOT_OF_THIS_RUN = "The token is not that of this run"
TOO_LATE = "The deadline of this run has passed"
OVER = "The run is over: {state}"
ANOTHER = "Another attempt of this run has begun since"

# What has failed, is tried again, or would be if its task were not gone or paused.
NOT_DONE = (RunState.FAILED, RunState.RETRYING, RunState.CANCELLED)
# No worker holds these.
NO_LEASE = UUID(int=0)
# Who speaks of a run: a user, or whoever shows the run's token.
Caller = User | str
# How many runs one statement ends.
EXPIRE_BATCH_SIZE = 1000


class Settled(NamedTuple):
    """Runs that ended, or are tried again, and those that may begin for it."""

    run_ids: list[UUID]
    to_ring: list[UUID]
    # What the first of them is now.
    state: str = ""


class _Row(NamedTuple):
    """A run with what it is judged by; the order is that of _COLUMNS."""

    run: Claimed
    owner_id: int
    state: RunState
    started_at: datetime | None
    is_late: bool
    now: datetime

    @property
    def turn(self) -> int:
        """The attempt that is under way, or was; those that were lost do not count."""
        begins_again = self.state == RunState.PENDING
        return self.run.turn + begins_again

    @property
    def is_live(self) -> bool:
        """Whether the target of its attempt may still say how it ended.

        It may be quicker than whoever writes down its answer; and where that one died,
        it may be at work though the run waits to be sent again.
        """
        match self.state:
            case RunState.OPEN:
                return not self.is_late
            case RunState.RUNNING:
                return retry.deadline_of(self.run) is not None
            case RunState.PENDING:
                return self.run.lost_count > 0
        return False


_COLUMNS = """
    run.id, run.task_id, run.tenant_id, run.scheduled_for, run.attempt_count,
    task.method, task.url, task.surface, task.queue, task.expected_status, task.retry,
    task.request, task.overlap, task.pause_after_failures, run.lost_count,
    task.owner_id, run.state, run.started_at, run.wake_at <= now(), now()
"""
_FIND = f"""
    SELECT {_COLUMNS}
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = %s FOR UPDATE OF run
"""  # noqa: S608 (constants)
_IS_EXPIRED = "run.wake_at <= now() AND run.state = 'open'"
_FIRST_EXPIRED = f"""
    SELECT run.id FROM tasks_api_run run
    WHERE {_IS_EXPIRED} {{since}} ORDER BY run.wake_at LIMIT %(limit)s
"""  # noqa: S608 (constants)
_EXPIRED = f"""
    SELECT {_COLUMNS}
    FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE run.id = ANY(%s) AND {_IS_EXPIRED}
    FOR UPDATE OF run SKIP LOCKED
"""  # noqa: S608 (constants)
# Before their runs, as whoever removes tasks and as dispatch locks them, those tasks whose
# failures are counted: they are written when their runs are.
_LOCK_COUNTED = """
    SELECT FROM tasks_api_task task WHERE task.pause_after_failures IS NOT NULL
        AND task.id IN (SELECT task_id FROM tasks_api_run WHERE id = ANY(%s))
    ORDER BY task.id FOR NO KEY UPDATE
"""


def keys() -> list[bytes]:
    """What tokens of runs are made with, and may have been: the newest first."""
    return _keys(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=2)
def _keys(*secret_keys: str) -> list[bytes]:
    # Each use of the secret has a key of its own.
    return [
        hmac.digest(secret_key.encode(), b"tokens of runs", "sha256")
        for secret_key in secret_keys
    ]


def complete(caller: Caller, run_id: UUID, *, answer: str = "") -> Settled:
    """End a run as succeeded; `answer` takes the place of what its request was answered.

    Says the same again where it succeeded before. Raises RunNotFound, RunAccessDenied, and
    InvalidState where it ended otherwise, or its deadline has passed.
    """
    with transaction.atomic(durable=True):
        row, turn = _find(caller, run_id)
        if turn == row.turn and row.state == RunState.SUCCEEDED:
            return Settled([], [], row.state)
        _require_live(row, turn)
        _settle([(row, Outcome(None, "", 0, answer.encode()))], succeeded=True)
        state = _state_now(row)
    return _follow_up([row], state)


def fail(caller: Caller, run_id: UUID, *, why: str = "", again: bool = True) -> Settled:
    """End a run as failed, or have it tried again by the rules of its task.

    Without `again` it is not tried again. Says the same again where the attempt failed
    before. Raises like `complete`, but for a deadline that has passed.
    """
    with transaction.atomic(durable=True):
        row, turn = _find(caller, run_id)
        if turn == row.turn and row.state in NOT_DONE:
            return Settled([], [], row.state)
        if turn == row.turn and row.state == RunState.OPEN and row.is_late:
            outcome = Outcome(None, EXPIRED, 0)
        else:
            _require_live(row, turn)
            error = f"{FAILED}: {why}" if why else FAILED
            outcome = Outcome(None, error, 0, no_retry=not again)
        _settle([(row, outcome)])
        state = _state_now(row)
    return _follow_up([row], state)


def hear(caller: Caller, run_id: UUID) -> datetime | None:
    """Let a run's deadline be as far away as at first; returns it.

    None while its first request is not answered yet: the deadline counts from then.
    Raises like `complete`.
    """
    with transaction.atomic():
        row, turn = _find(caller, run_id)
        _require_live(row, turn)
        seconds = retry.deadline_of(row.run)
        if row.state != RunState.OPEN or seconds is None:
            return None
        deadline = row.now + timedelta(seconds=seconds)
        with prepared() as cursor:
            cursor.execute(
                "UPDATE tasks_api_run SET wake_at = %s WHERE id = %s::uuid",
                [deadline, run_id],
            )
    return deadline


def expire(*, limit: int = EXPIRE_BATCH_SIZE, since: datetime | None = None) -> Settled:
    """Fail the runs whose deadlines have passed, or have them tried again.

    Any number of processes may do so at once. Deadlines before `since` are left alone.
    """
    begin = "" if since is None else "AND run.wake_at >= %(since)s::timestamptz"
    with prepared() as cursor:
        cursor.execute(
            _FIRST_EXPIRED.replace("{since}", begin), {"limit": limit, "since": since}
        )
        run_ids = [run_id for (run_id,) in cursor.fetchall()]
    if not run_ids:
        return Settled([], [])
    with transaction.atomic(durable=True):
        with prepared() as cursor:
            cursor.execute(_LOCK_COUNTED, [run_ids])
            cursor.execute(_EXPIRED, [run_ids])
            rows = [_row(values) for values in cursor.fetchall()]
        _settle([(row, Outcome(None, EXPIRED, 0)) for row in rows])
    return _follow_up(rows, RunState.FAILED)


def _find(caller: Caller, run_id: UUID) -> tuple[_Row, int]:
    """A run, locked, and the turn that the caller speaks of."""
    said = _turn_of(caller, run_id)
    with prepared() as cursor:
        cursor.execute(_LOCK_COUNTED, [[run_id]])
        cursor.execute(_FIND, [run_id])
        values = cursor.fetchone()
    if values is None:
        raise RunNotFound("Run not found")
    row = _row(values)
    if said is not None:
        return row, said
    # A user means what it is at the moment, and knows of no attempt that was lost.
    if row.state == RunState.PENDING:
        raise InvalidState(NOT_OPEN)
    return row, row.turn


def _turn_of(caller: Caller, run_id: UUID) -> int | None:
    """The turn that a token speaks of; None for a user. Nothing is locked for others."""
    if isinstance(caller, User):
        if not Run.objects.reached_by(caller).filter(pk=run_id).exists():
            raise RunNotFound("Run not found")
        return None
    turn = run_tokens.turn_of(caller, run_id, keys())
    if turn is None:
        raise RunAccessDenied(NOT_OF_THIS_RUN)
    return turn


def _row(values: tuple[Any, ...]) -> _Row:
    # Nothing is sent here, so for which fire time it would be does not matter.
    run = Claimed._make((*values[:7], "", NO_LEASE, *values[7:15], None, None))
    return _Row(run, values[15], RunState(values[16]), *values[17:])


def _require_live(row: _Row, turn: int) -> None:
    if turn != row.turn:
        raise InvalidState(ANOTHER)
    if row.is_live:
        return
    if row.state == RunState.OPEN:
        raise InvalidState(TOO_LATE)
    if row.state in FINAL:
        raise InvalidState(OVER.format(state=row.state))
    raise InvalidState(NOT_OPEN)


def _settle(ends: Sequence[tuple[_Row, Outcome]], *, succeeded: bool = False) -> None:
    """Write down how long work ended, as `record` does for what a worker holds."""
    if not ends:
        return
    finished = [
        Finished(
            row.run,
            outcome,
            retry.Succeed()
            if succeeded
            else retry.judge(outcome, row.run, now=row.now),
            row.started_at or row.now,
        )
        for row, outcome in ends
    ]
    with prepared() as cursor:
        cursor.execute(_SETTLE, columns(map(_values, finished)))
    cancel_overtaken(
        [f.run.run_id for f in finished if isinstance(f.verdict, retry.RetryAfter)]
    )
    failure_streaks.count(
        failure_streaks.ends_of(
            item for item in finished if item.run.pause_after_failures
        )
    )


def _values(item: Finished) -> tuple[object, ...]:
    state, reason = state_of(item.verdict)
    delay = item.verdict.delay if isinstance(item.verdict, retry.RetryAfter) else 0
    return (
        item.run.run_id,
        state,
        text_of(reason.encode()),
        delay,
        item.run.number,
        item.started_at,
        text_of(item.outcome.error.encode()),
        text_of(item.outcome.answer),
    )


# The rows are locked. An attempt whose answer is not written down yet is written here,
# and whoever comes with it then finds it there.
_SETTLE = f"""
    WITH verdict AS (
        SELECT *, state IN ('succeeded', 'failed') AS is_final
        FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::float[], %s::int[],
            %s::timestamptz[], %s::text[], %s::text[])
            AS v(run_id, state, reason, delay, number, started_at, error, answer)
    ), judged AS (
        UPDATE tasks_api_run run SET
            state = verdict.state, reason = verdict.reason, lease = NULL,
            wake_at = CASE WHEN NOT verdict.is_final
                THEN now() + make_interval(secs => verdict.delay) END,
            finished_at = CASE WHEN verdict.is_final THEN now() END
        FROM verdict WHERE run.id = verdict.run_id
        RETURNING run.id, run.task_id, run.scheduled_for, verdict.is_final
    ), {ONE_OFFS_END}
    INSERT INTO tasks_api_attempt AS attempt (run_id, number, started_at, duration_ms,
        error, answer)
    SELECT run_id, number, started_at,
        least(extract(epoch FROM now() - started_at) * 1000, 2147483647), error, answer
    FROM verdict
    ON CONFLICT (run_id, number) DO UPDATE SET
        error = coalesce(nullif(excluded.error, ''), attempt.error),
        answer = coalesce(nullif(excluded.answer, ''), attempt.answer)
"""  # noqa: S608 (constants)


def _state_now(row: _Row) -> str:
    """What a run is after it was settled; its task may have been removed meanwhile."""
    with prepared() as cursor:
        cursor.execute(
            "SELECT state FROM tasks_api_run WHERE id = %s::uuid", [row.run.run_id]
        )
        return str(cursor.fetchone()[0])


def _follow_up(rows: Sequence[_Row], state: str) -> Settled:
    in_line = {row.run.task_id for row in rows if row.run.overlap == Overlap.QUEUE_ONE}
    to_ring = run_rows.start_waiting_runs(list(in_line)) if in_line else []
    return Settled([row.run.run_id for row in rows], to_ring, state)


def ended(run_ids: Sequence[UUID]) -> list[Finished]:
    """How runs ended that were open, as whoever tells of runs wants it."""
    with prepared() as cursor:
        cursor.execute(
            f"""
            SELECT {_COLUMNS}, run.reason,
                extract(epoch FROM coalesce(run.finished_at, now()) - run.started_at),
                extract(epoch FROM run.wake_at - now())
            FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
            WHERE run.id = ANY(%s::uuid[])
                AND run.state IN ('succeeded', 'failed', 'retrying')
            """,  # noqa: S608 (constants)
            [array(run_ids)],
        )
        found = cursor.fetchall()
    return [
        _ended(*values[:-3], reason=values[-3], times=values[-2:]) for values in found
    ]


def _ended(*values: Any, reason: str, times: tuple[Any, Any]) -> Finished:
    row, (took, delay) = _row(values), times
    verdict: retry.Verdict
    match row.state:
        case RunState.SUCCEEDED:
            verdict = retry.Succeed()
        case RunState.RETRYING:
            verdict = retry.RetryAfter(reason, float(delay))
        case _:
            verdict = retry.GiveUp(reason)
    outcome = Outcome(retry.ACCEPTED, "", int((took or 0) * 1000))
    return Finished(row.run, outcome, verdict, row.started_at or row.now)
