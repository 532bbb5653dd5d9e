"""Rescue runs whose worker was lost, and look after those that wait in line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from scheduler_service.db import locks
from scheduler_service.db.statements import fetch_all, prepared, with_limit
from tasks_api.delivery.retry import MAX_LOST_ATTEMPTS
from tasks_api.domain.states import RunState
from tasks_api.metrics import counters
from tasks_api.scheduler import statements
from tasks_api.services import owners
from tasks_api.storage import run_rows
from tasks_api.taking.leases import UNSENT_REASON

logger = logging.getLogger(__name__)

# Runs in one statement.
BATCH_SIZE = 1000
_TURN = locks.key_of(locks.LockKind.RESCUE)
# A worker notes on the row that a run waits for a place, and may lose its connection
# before it notes the begin of the request. So the attempt is recorded, but does not
# count towards MAX_LOST_ATTEMPTS.
UNSEEN_LOSS = "The worker was lost, and had not said that it had begun."


class RescuedRun(NamedTuple):
    """The state of a run after a beat looked at it."""

    run_id: UUID
    # Pending, held (pending, but not ready), or a final state.
    state: str
    was: str
    # The task, if its runs wait in line and this run is not ready.
    queued_task_id: UUID | None
    # The owner of an enabled task, if the owner is deactivated.
    inactive_owner_id: int | None


class Rescue(NamedTuple):
    """How many runs workers may take now, and whether there may be more to rescue."""

    ready: int = 0
    is_full: bool = False


def rescue_runs(
    *,
    limit: int = BATCH_SIZE,
    leases_until: datetime | None = None,
    since: datetime | None = None,
) -> Rescue:
    """Let workers take runs again whose lease is over, and let runs in line move up.

    A run of a removed or paused task is cancelled instead. Leases that ran out after
    `leases_until` are left alone, and so are runs whose `wake_at` is before `since`.
    Nothing is done while another beat does so.
    """
    with prepared() as cursor:
        cursor.execute(
            with_limit(statements.RESCUE_RUNS.since(since), limit),
            {
                "turn": _TURN,
                "since": since,
                "leases_until": leases_until,
                "most_lost": MAX_LOST_ATTEMPTS,
                "unsent": UNSENT_REASON,
                "unseen": UNSEEN_LOSS,
            },
        )
        rescued = fetch_all(cursor, RescuedRun)
    counters.count_rescued((run.state, run.was) for run in rescued)
    moved_up = _move_up(rescued)
    lost = sum(run.was == RunState.RUNNING for run in rescued)
    if lost:
        logger.warning("Leases ran out for %d runs; they are sent again.", lost)
    ready = sum(run.state == RunState.PENDING for run in rescued)
    return Rescue(ready + len(moved_up), is_full=len(rescued) == limit)


def _move_up(rescued: Sequence[RescuedRun]) -> list[UUID]:
    """Let waiting runs move up whose exclusive run has ended; return their ids."""
    # Requests created or resumed these tasks while their user was being deactivated.
    if owner_ids := {
        owner_id for run in rescued if (owner_id := run.inactive_owner_id)
    }:
        owners.suspend_tasks(owner_ids)
    in_line = {task_id for run in rescued if (task_id := run.queued_task_id)}
    return run_rows.start_waiting_runs(list(in_line)) if in_line else []
