"""Complete, fail, extend and expire long work.

A target that answers 202 to a task with long work leaves its run open. Then no worker
holds the run: it is a row whose `wake_at` is the target's deadline. The target reports
with the run's own token, or a user does who may see the task.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.backends.utils import CursorWrapper

from accounts.models import User
from scheduler_service.db import locks
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.delivery import retry, run_tokens
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.domain.exceptions import (
    InvalidState,
    RunAccessDenied,
    RunNotFound,
    TenantFrozen,
)
from tasks_api.domain.ids import TENANT_BITS_RANGE, tenant_bits
from tasks_api.domain.states import FINAL_STATES, RunState
from tasks_api.models import Run
from tasks_api.storage import run_rows
from tasks_api.taking.statements import CLAIMED_RUN_COLUMNS
from tasks_api.worker import failure_streaks, run_events, statements
from tasks_api.worker.record import (
    AttemptResult,
    cancel_overtaken,
    get_new_state,
    to_text,
)

EXPIRED = "The work was not done by its deadline"
FAILED = "The target said that its work failed"
NOT_OPEN = "Nobody is at work on this run"
NOT_OF_THIS_RUN = "The token is not that of this run"
TOO_LATE = "The deadline of this run has passed"
RUN_IS_OVER = "The run is over: {state}"
ANOTHER_ATTEMPT = "Another attempt of this run has begun since"

# A run that failed, is tried again, or would be if its task were not gone or paused.
NOT_SUCCEEDED = (RunState.FAILED, RunState.RETRYING, RunState.CANCELLED)
# Runs in one statement.
EXPIRE_BATCH_SIZE = 1000

# Who reports about a run: a user, or the token that the run's target was given.
Caller = User | str


class LongWorkResult(NamedTuple):
    """Runs that ended or are tried again, and whether others may begin after them."""

    run_ids: list[UUID]
    has_next: bool
    # The new state of the first of them.
    state: str = ""


class _LongRun(NamedTuple):
    """A run with what it is judged by, as `LOCK_RUN` and `LOCK_EXPIRED` read it."""

    run: ClaimedRun
    state: RunState
    started_at: datetime | None
    is_late: bool
    now: datetime

    @property
    def turn(self) -> int:
        """The attempt that is in flight, or was the last; lost attempts do not count."""
        begins_again = self.state == RunState.PENDING
        return self.run.turn + begins_again

    @property
    def is_live(self) -> bool:
        """Whether the target of its attempt may still say how it ended.

        The target may be quicker than the worker that records its answer. If that worker
        died, the target may be at work though the run waits to be sent again.
        """
        match self.state:
            case RunState.OPEN:
                return not self.is_late
            case RunState.RUNNING:
                return retry.get_deadline(self.run) is not None
            case RunState.PENDING:
                return self.run.lost_count > 0
        return False


def run_token_keys() -> list[bytes]:
    """The keys of run tokens, from SECRET_KEY and its former values: the newest first."""
    return _derive_keys(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


@lru_cache(maxsize=2)
def _derive_keys(*secret_keys: str) -> list[bytes]:
    # Each use of the secret has a key of its own.
    return [
        hmac.digest(secret_key.encode(), b"tokens of runs", "sha256")
        for secret_key in secret_keys
    ]


def complete(caller: Caller, run_id: UUID, *, answer: str = "") -> LongWorkResult:
    """End a run as succeeded; `answer` replaces the answer to its request.

    Returns the same again if it succeeded before. Raises RunNotFound, RunAccessDenied, and
    InvalidState if it ended otherwise, or its deadline has passed.
    """
    with transaction.atomic(durable=True):
        row, turn = _lock_run(caller, run_id)
        if turn == row.turn and row.state == RunState.SUCCEEDED:
            return LongWorkResult([], False, row.state)
        _require_live(row, turn)
        result = HttpResult(None, "", 0, answer.encode())
        _record_ends([(row, result)], succeeded=True)
        state = _read_state(row)
    return _follow_up([row], state)


def fail(
    caller: Caller, run_id: UUID, *, why: str = "", again: bool = True
) -> LongWorkResult:
    """End a run as failed, or have it tried again by the rules of its task.

    Without `again` it is not tried again. Returns the same again if the attempt failed
    before. Raises like `complete`, but for a deadline that has passed.
    """
    with transaction.atomic(durable=True):
        row, turn = _lock_run(caller, run_id)
        if turn == row.turn and row.state in NOT_SUCCEEDED:
            return LongWorkResult([], False, row.state)
        if turn == row.turn and row.state == RunState.OPEN and row.is_late:
            result = HttpResult(None, EXPIRED, 0)
        else:
            _require_live(row, turn)
            error = f"{FAILED}: {why}" if why else FAILED
            result = HttpResult(None, error, 0, no_retry=not again)
        _record_ends([(row, result)])
        state = _read_state(row)
    return _follow_up([row], state)


def heartbeat(caller: Caller, run_id: UUID) -> datetime | None:
    """Set a run's deadline as far away as it was at first, and return it.

    None while its request is not answered yet: the deadline counts from the answer.
    Raises like `complete`.
    """
    with transaction.atomic():
        row, turn = _lock_run(caller, run_id)
        _require_live(row, turn)
        seconds = retry.get_deadline(row.run)
        if row.state != RunState.OPEN or seconds is None:
            return None
        deadline = row.now + timedelta(seconds=seconds)
        with prepared() as cursor:
            cursor.execute(statements.SET_DEADLINE, [deadline, run_id])
    return deadline


def expire(
    *, limit: int = EXPIRE_BATCH_SIZE, since: datetime | None = None
) -> LongWorkResult:
    """Fail runs whose deadlines have passed, or have them tried again.

    Deadlines before `since` are left alone. Nothing is done while another process does so:
    it would wait for the same tasks.
    """
    run_ids = _find_expired(limit, since)
    if not run_ids:
        return LongWorkResult([], False)
    with transaction.atomic(durable=True):
        if not locks.try_turn(LockKind.DEADLINES):
            return LongWorkResult([], False)
        with prepared() as cursor:
            cursor.execute(statements.LOCK_COUNTED_TASKS, [run_ids])
            cursor.execute(statements.LOCK_EXPIRED, [run_ids])
            rows = [_make_long_run(found) for found in _fetch_dicts(cursor)]
        _record_ends([(row, HttpResult(None, EXPIRED, 0)) for row in rows])
    return _follow_up(rows, RunState.FAILED)


def fetch_ended(run_ids: Sequence[UUID]) -> list[AttemptResult]:
    """How runs ended that were open, in the form in which workers report results."""
    with prepared() as cursor:
        cursor.execute(statements.FETCH_ENDED, [array(run_ids)])
        return [_to_result(found) for found in _fetch_dicts(cursor)]


def _find_expired(limit: int, since: datetime | None) -> list[UUID]:
    statement = (
        statements.FIND_EXPIRED if since is None else statements.FIND_EXPIRED_SINCE
    )
    with prepared() as cursor:
        cursor.execute(with_limit(statement, limit), {"since": since})
        return [run_id for (run_id,) in cursor.fetchall()]


def _lock_run(caller: Caller, run_id: UUID) -> tuple[_LongRun, int]:
    """Lock a run; returns it with the turn that the caller means."""
    turn = _read_turn(caller, run_id)
    with prepared() as cursor:
        cursor.execute(statements.LOCK_COUNTED_TASKS, [[run_id]])
        cursor.execute(statements.LOCK_RUN, [run_id])
        found = _fetch_dicts(cursor)
        if not found:
            # It may have ended while this statement waited for its lock.
            cursor.execute(statements.READ_ENDED_RUN, [run_id])
            found = _fetch_dicts(cursor)
            if found and found[0]["state"] not in FINAL_STATES:
                # It is parked.
                raise TenantFrozen
        if not found:
            _refuse_unknown_run(cursor, run_id)
    row = _make_long_run(found[0])
    if turn is not None:
        return row, turn
    # A user means the run as it is now, and knows of no attempt that was lost.
    if row.state == RunState.PENDING:
        raise InvalidState(NOT_OPEN)
    return row, row.turn


def _refuse_unknown_run(cursor: CursorWrapper, run_id: UUID) -> NoReturn:
    """Raise TenantFrozen if the run may have been made where its tenant lives now."""
    values = [TENANT_BITS_RANGE, tenant_bits(run_id)]
    cursor.execute(statements.FIND_FROZEN_TENANT, values)
    if cursor.fetchone():
        raise TenantFrozen
    raise RunNotFound("Run not found")


def _read_turn(caller: Caller, run_id: UUID) -> int | None:
    """The turn that a token is for; None for a user. Nothing is locked for strangers."""
    if isinstance(caller, User):
        if not Run.objects.visible_to(caller).filter(pk=run_id).exists():
            raise RunNotFound("Run not found")
        return None
    turn = run_tokens.read_turn(caller, run_id, run_token_keys())
    if turn is None:
        raise RunAccessDenied(NOT_OF_THIS_RUN)
    return turn


def _fetch_dicts(cursor: CursorWrapper) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _make_long_run(found: dict[str, Any]) -> _LongRun:
    return _LongRun(
        run=ClaimedRun(**{name: found[name] for name in CLAIMED_RUN_COLUMNS}),
        state=RunState(found["state"]),
        started_at=found["started_at"],
        is_late=found["is_late"],
        now=found["now"],
    )


def _require_live(row: _LongRun, turn: int) -> None:
    if turn != row.turn:
        raise InvalidState(ANOTHER_ATTEMPT)
    if row.is_live:
        return
    if row.state == RunState.OPEN:
        raise InvalidState(TOO_LATE)
    if row.state in FINAL_STATES:
        raise InvalidState(RUN_IS_OVER.format(state=row.state))
    raise InvalidState(NOT_OPEN)


def _record_ends(
    ends: Sequence[tuple[_LongRun, HttpResult]], *, succeeded: bool = False
) -> None:
    """Record how long work ended, as `record_results` does for what a worker holds."""
    if not ends:
        return
    results = [_judge_end(row, result, succeeded=succeeded) for row, result in ends]
    with prepared() as cursor:
        cursor.execute(statements.RECORD_ENDS, columns(map(_make_row, results)))
    cancel_overtaken(
        [
            item.run.run_id
            for item in results
            if isinstance(item.verdict, retry.RetryAfter)
        ]
    )
    counted = failure_streaks.counted_of(results)
    failure_streaks.count_ends(failure_streaks.find_ends(counted))
    failure_streaks.end_stopping(results)
    are_expired = results[0].result.error == EXPIRED
    run_events.note_long_work(results, are_expired=are_expired)


def _judge_end(row: _LongRun, result: HttpResult, *, succeeded: bool) -> AttemptResult:
    verdict: retry.Verdict = retry.Succeed()
    if not succeeded:
        verdict = retry.judge(result, row.run, now=row.now)
    return AttemptResult(row.run, result, verdict, row.started_at or row.now)


def _make_row(item: AttemptResult) -> tuple[object, ...]:
    """The values of a verdict in `RECORD_ENDS`, in their order there."""
    state, reason = get_new_state(item.verdict)
    delay = item.verdict.delay if isinstance(item.verdict, retry.RetryAfter) else 0
    return (
        item.run.run_id,
        state,
        to_text(reason.encode()),
        delay,
        item.run.number,
        item.started_at,
        to_text(item.result.error.encode()),
        to_text(item.result.answer),
        item.run.tenant_id,
    )


def _read_state(row: _LongRun) -> str:
    """The state after a verdict; the run's task may have been removed meanwhile."""
    with prepared() as cursor:
        cursor.execute(statements.READ_STATE, [row.run.run_id])
        return str(cursor.fetchone()[0])


def _follow_up(rows: Sequence[_LongRun], state: str) -> LongWorkResult:
    in_line = {row.run.task_id for row in rows if row.run.holds_others_up}
    has_next = bool(in_line and run_rows.start_waiting_runs(list(in_line)))
    return LongWorkResult([row.run.run_id for row in rows], has_next, state)


def _to_result(found: dict[str, Any]) -> AttemptResult:
    row = _make_long_run(found)
    verdict: retry.Verdict
    match row.state:
        case RunState.SUCCEEDED:
            verdict = retry.Succeed()
        case RunState.CANCELLED:
            verdict = retry.Cancel(found["reason"])
        case RunState.RETRYING:
            verdict = retry.RetryAfter(found["reason"], float(found["delay"]))
        case _:
            verdict = retry.GiveUp(found["reason"])
    result = HttpResult(retry.ACCEPTED, "", int((found["seconds"] or 0) * 1000))
    return AttemptResult(row.run, result, verdict, row.started_at or row.now)
