"""Log each failed run, so that operators can tell a tenant the reason.

A failing target is its tenant's trouble and no incident, so the lines have level INFO, and
their number is limited: a dead target must not bury what an operator has to see.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tasks_api.delivery.retry import GiveUp, RetryAfter
from tasks_api.domain.guard import host_of
from tasks_api.worker.record import AttemptResult

logger = logging.getLogger(__name__)

# Lines for one batch of results. There are at most some twenty batches a second.
MAX_LINES = 10


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
