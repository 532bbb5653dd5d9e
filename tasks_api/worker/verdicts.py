"""Judge results and record verdicts; the error of one run affects no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from tasks_api.delivery import faults, retry
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.services import removal
from tasks_api.storage import run_rows
from tasks_api.worker import run_events
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

Listener = Callable[[Sequence[AttemptResult]], None]


def judge_attempt(
    run: ClaimedRun, result: HttpResult, ended_at: datetime
) -> AttemptResult:
    """An attempt with its verdict. If judging it fails, the run fails."""
    spent = timedelta(milliseconds=result.duration_ms)
    try:
        verdict = retry.judge(result, run, now=ended_at)
    except Exception as error:  # noqa: BLE001 (any error is this run's alone)
        verdict = retry.GiveUp(_log_trouble("judged", run, error))
    return AttemptResult(run, result, verdict, ended_at - spent)


def write_results(results: Sequence[AttemptResult]) -> set[UUID]:
    """Record and count; returns the runs that were still ours to judge.

    If one result cannot be written, the others are, and its run fails. Raises only what
    is the database's own trouble.
    """
    try:
        return run_events.record(results)
    except Exception as error:
        if faults.is_outage(error):
            raise
        if half := len(results) // 2:
            return write_results(results[:half]) | write_results(results[half:])
        return _write_failure(results[0], error)


def _write_failure(item: AttemptResult, error: Exception) -> set[UUID]:
    """Record that a run's result cannot be written, with nothing of the result itself."""
    run = item.run
    reason = _log_trouble("recorded", run, error)
    result = HttpResult(None, reason, max(0, min(item.result.duration_ms, 2**31 - 1)))
    failed = AttemptResult(run, result, retry.GiveUp(reason), item.started_at)
    try:
        return run_events.record([failed])
    except Exception as again:
        if faults.is_outage(again):
            raise
        # No worker holds it now. It comes back when its lease is over, but not for ever.
        _log_trouble("recorded as a failure", run, again)
        return set()


def _log_trouble(what: str, run: ClaimedRun, error: Exception) -> str:
    logger.error(
        "A run could not be %s: %s",
        what,
        faults.summarize(error),
        extra={"run_id": run.run_id, "tenant_id": run.tenant_id},
    )
    return f"what became of it could not be {what} ({type(error).__name__})"


def follow_up(results: Sequence[AttemptResult], *, now: datetime) -> list[UUID]:
    """End tasks whose targets are gone; returns the runs that may begin after these.

    If this fails, a beat or the target's next answer makes up for it.
    """
    next_runs: list[UUID] = []
    try:
        _end_tasks(results, now)
        next_runs = _begin_next_runs(results)
    except Exception as error:  # noqa: BLE001 (the verdicts are written, and stay so)
        logger.warning(
            "What waits for some runs will begin later: %s", faults.summarize(error)
        )
    return next_runs


def _end_tasks(results: Iterable[AttemptResult], now: datetime) -> None:
    """End the tasks whose targets said that they are gone for good."""
    gone = {
        item.run.task_id: item.run.url
        for item in results
        if isinstance(item.verdict, retry.GiveUp) and item.verdict.ends_task
    }
    if gone:
        removal.end_gone_tasks(gone, now=now)


def _begin_next_runs(results: Iterable[AttemptResult]) -> list[UUID]:
    """Let the runs begin that waited for these."""
    in_line = {item.run.task_id for item in results if item.run.holds_others_up}
    return run_rows.start_waiting_runs(list(in_line)) if in_line else []


def notify_listener(listener: Listener, recorded: Sequence[AttemptResult]) -> None:
    """Tell a listener of recorded results. What it raises is logged, and undoes nothing."""
    try:
        listener(recorded)
    except Exception as error:  # noqa: BLE001 (no listener may fail the work)
        logger.error("Finished runs could not be told of: %s", faults.summarize(error))
