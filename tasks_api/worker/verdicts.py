"""Judge answers and write verdicts down, so that the trouble of one is nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from tasks_api.delivery import faults, retry
from tasks_api.delivery.request import Claimed, Outcome
from tasks_api.domain.specs import Overlap
from tasks_api.services import removal
from tasks_api.storage import run_rows
from tasks_api.worker import failure_streaks
from tasks_api.worker.record import Finished

logger = logging.getLogger(__name__)


def judged(run: Claimed, outcome: Outcome, ended_at: datetime) -> Finished:
    """An attempt with its verdict, whatever may be wrong with it."""
    spent = timedelta(milliseconds=outcome.duration_ms)
    try:
        verdict = retry.judge(outcome, run, now=ended_at)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this run's alone)
        verdict = retry.GiveUp(_told("judged", run, error))
    return Finished(run, outcome, verdict, ended_at - spent)


def write(finished: Sequence[Finished]) -> set[UUID]:
    """Record and count; returns the runs that were still ours to judge.

    Where what is to be written of one cannot be written, the others are, and that one
    fails. Raises only what is the database's own trouble.
    """
    try:
        return failure_streaks.record_and_count(finished)
    except Exception as error:
        if faults.is_outage(error):
            raise
        if half := len(finished) // 2:
            return write(finished[:half]) | write(finished[half:])
        return _write_failure(finished[0], error)


def _write_failure(item: Finished, error: Exception) -> set[UUID]:
    """Say of a run that what became of it cannot be written; no more, lest that fails."""
    run = item.run
    reason = _told("recorded", run, error)
    outcome = Outcome(None, reason, max(0, min(item.outcome.duration_ms, 2**31 - 1)))
    failed = Finished(run, outcome, retry.GiveUp(reason), item.started_at)
    try:
        return failure_streaks.record_and_count([failed])
    except Exception as again:
        if faults.is_outage(again):
            raise
        # Held by nobody, it comes back when its lease is over, and not for ever.
        _told("recorded as a failure", run, again)
        return set()


def _told(what: str, run: Claimed, error: Exception) -> str:
    logger.error(
        "A run could not be %s: %s",
        what,
        faults.brief(error),
        extra={"run_id": run.run_id, "tenant_id": run.tenant_id},
    )
    return f"what became of it could not be {what} ({type(error).__name__})"


def follow_up(finished: Sequence[Finished], *, now: datetime) -> list[UUID]:
    """End tasks whose targets are gone; returns the runs that may begin after these.

    What fails here is made up for: by a beat, or by the next answer of the target.
    """
    moved_up: list[UUID] = []
    try:
        _end_tasks(finished, now)
        moved_up = _move_up(finished)
    except Exception as error:  # noqa: BLE001 (the verdicts are written, and stay so)
        logger.warning(
            "What waits for some runs will begin later: %s", faults.brief(error)
        )
    return moved_up


def _end_tasks(finished: Iterable[Finished], now: datetime) -> None:
    """End the tasks whose targets said that they are gone for good."""
    gone = {
        item.run.task_id: item.run.url
        for item in finished
        if isinstance(item.verdict, retry.GiveUp) and item.verdict.ends_task
    }
    if gone:
        removal.end_gone_tasks(gone, now=now)


def _move_up(finished: Iterable[Finished]) -> list[UUID]:
    """Let the runs begin that waited for these; a beat does it where this does not."""
    in_line = {f.run.task_id for f in finished if f.run.overlap == Overlap.QUEUE_ONE}
    return run_rows.start_waiting_runs(list(in_line)) if in_line else []


def tell(
    listener: Callable[[Sequence[Finished]], None], told: Sequence[Finished]
) -> None:
    """Let somebody hear of what was written, who cannot undo it."""
    try:
        listener(told)
    except Exception as error:  # noqa: BLE001 (nobody who listens may fail the work)
        logger.error("Finished runs could not be told of: %s", faults.brief(error))
