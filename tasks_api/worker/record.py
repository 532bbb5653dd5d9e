"""Record verdicts and attempts of runs, many in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import (
    Cancel,
    GiveUp,
    KeepOpen,
    PassOn,
    Release,
    RetryAfter,
    Succeed,
    Verdict,
)
from tasks_api.domain.states import RunState
from tasks_api.worker import statements

_FINAL = (Succeed, GiveUp, Cancel)


class AttemptResult(NamedTuple):
    """An attempt that is over: its run, what happened, and what follows from it."""

    run: ClaimedRun
    result: HttpResult
    verdict: Verdict
    started_at: datetime


def record_results(results: Sequence[AttemptResult]) -> set[UUID]:
    """Store verdicts and attempts; returns the runs that were still ours to judge.

    Only the holder of a run's lease may judge it. A one-off task ends here, with its run.
    """
    with prepared() as cursor:
        cursor.execute(statements.RECORD_RESULTS, columns(map(_make_row, results)))
        ours = {run_id for (run_id,) in cursor.fetchall()}
    cancel_overtaken(
        [item.run.run_id for item in results if not isinstance(item.verdict, _FINAL)]
    )
    return ours


def cancel_overtaken(unfinished: Sequence[UUID]) -> None:
    """Cancel retries of tasks that were removed or replaced meanwhile.

    Runs that a user cancelled meanwhile end, too.
    """
    if unfinished:
        with prepared() as cursor:
            cursor.execute(statements.CANCEL_OVERTAKEN, [array(unfinished)])


def _make_row(item: AttemptResult) -> tuple[object, ...]:
    """The values of a verdict in `RECORD_RESULTS`, in their order there."""
    run, result, verdict = item.run, item.result, item.verdict
    state, reason = get_new_state(verdict)
    return (
        run.run_id,
        run.lease,
        state,
        to_text(reason.encode()),
        _get_delay(verdict),
        isinstance(verdict, PassOn),
        run.number,
        item.started_at,
        result.duration_ms,
        result.status_code,
        to_text(result.error.encode()),
        to_text(result.answer),
        run.tenant_id,
    )


def to_text(raw: bytes) -> str:
    """The text that PostgreSQL can store of some bytes: valid UTF-8 without NUL."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _get_delay(verdict: Verdict) -> float:
    """Seconds until a worker may take the run again, or until its deadline."""
    match verdict:
        case RetryAfter(delay=delay) | Release(delay=delay) | PassOn(delay=delay):
            return delay
        case KeepOpen(deadline=deadline):
            return deadline
    return 0


def get_new_state(verdict: Verdict) -> tuple[RunState, str]:
    """The state of a run after a verdict, and the reason."""
    match verdict:
        case Succeed():
            return RunState.SUCCEEDED, ""
        case GiveUp(reason=reason):
            return RunState.FAILED, reason
        case Cancel(reason=reason):
            return RunState.CANCELLED, reason
        case RetryAfter(reason=reason):
            return RunState.RETRYING, reason
        case KeepOpen():
            return RunState.OPEN, "The target answered 202 and is at work on it."
        case Release(reason=reason) | PassOn(reason=reason):
            return RunState.PENDING, reason
