"""Log each failed run, so that operators can tell a tenant the reason.

A failing target is its tenant's trouble and no incident, so the lines have level INFO, and
their number is limited: a dead target must not bury what an operator has to see. A run
that a worker does not understand is the operator's trouble, so its line is a warning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from tasks_api.delivery import faults
from tasks_api.delivery.request import ClaimedRun
from tasks_api.delivery.retry import GiveUp, RetryAfter
from tasks_api.domain.guard import host_of
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

# Lines for one batch of results. There are at most some twenty batches a second.
MAX_LINES = 10
# Seconds between two lines about runs that this worker does not understand. A row that no
# worker understands would else have a line for each of its runs, for as long as it is there.
WARNING_INTERVAL = 60.0


def log_failures(results: Sequence[AttemptResult]) -> None:
    """Log the failures in a batch: ids, host and reason, but nothing that a tenant sent."""
    if not logger.isEnabledFor(logging.INFO):
        return
    failed = [item for item in results if isinstance(item.verdict, GiveUp | RetryAfter)]
    for item in failed[:MAX_LINES]:
        _log(item)
    if len(failed) > MAX_LINES:
        logger.info("And %d more runs failed.", len(failed) - MAX_LINES)


def _log(item: AttemptResult) -> None:
    run, verdict = item.run, item.verdict
    assert isinstance(verdict, GiveUp | RetryAfter)
    target = host_of(run.url) or "the callback URL"
    ids = {"run_id": run.run_id, "task_id": run.task_id, "tenant_id": run.tenant_id}
    if isinstance(verdict, RetryAfter):
        text = "Attempt %d at %s failed and is made again in %.1f s: %s"
        logger.info(text, run.number, target, verdict.delay, verdict.reason, extra=ids)
    else:
        text = "Attempt %d at %s failed: %s"
        logger.info(text, run.number, target, verdict.reason, extra=ids)


class UnreadableRowLog:
    """Warns of a run that this worker does not understand, at most once an interval."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = 0.0
        self._unlogged = 0

    def report(self, run: ClaimedRun, error: Exception) -> None:
        now = self._clock()
        if now < self._quiet_until:
            self._unlogged += 1
            return
        logger.warning(
            "A run is left to other workers, because this one does not understand it: %s"
            " (runs without a line since the last such line: %d)",
            faults.summarize(error),
            self._unlogged,
            extra={"run_id": run.run_id, "tenant_id": run.tenant_id},
        )
        self._quiet_until = now + WARNING_INTERVAL
        self._unlogged = 0
