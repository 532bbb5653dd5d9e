"""Freeze and thaw many tenants at once; what fires soon is put aside before the rest.

To put all tasks of half a cell aside would take minutes. So a split first puts aside what
could fire within HORIZON seconds, and all unfinished runs. The rest is put aside while the
tenants live elsewhere already. Until then a trigger refuses to fire it, whatever happens
to the process that splits, and beats move the horizon on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from accounts import audit
from accounts.models import OwnCell, SplitStage
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import with_limit
from tasks_api.moving import split_statements as statements
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.freezing import BATCH_SIZE, POLL_SECONDS, REQUEST_MARGIN
from tasks_api.moving.statements import LET_MOVE

# Seconds. A beat that is alive looks many times as often.
HORIZON = 60.0
# Attempts to get the lock of the table of tasks, each of half a second.
FENCE_ATTEMPTS = 60

Report = Callable[[str], object]


def freeze(tenant_ids: Sequence[int], destination: str, split_id: UUID) -> None:
    """Refuse changes of these tenants from now on. Call it inside a transaction."""
    values = {
        "tenants": list(tenant_ids),
        "destination": destination,
        "split": split_id,
    }
    frozen = _change_tenants(statements.FREEZE_TENANTS, **values)
    what = {"moves_to": ("", destination)}
    audit.record_of_each(frozen, "tenant.freeze", what)


def thaw(tenant_ids: Sequence[int], action: str) -> None:
    """Let tenants live here. Call it inside a transaction, in which nobody parks tasks."""
    values = {"tenants": list(tenant_ids)}
    _repeat(statements.UNPARK_RUNS, **values)
    _execute(statements.UNPARK_TASKS, **values)
    thawed = _change_tenants(statements.THAW_TENANTS, **values)
    audit.record_of_each(thawed, action)


def mark_as_moved(tenant_ids: Sequence[int]) -> None:
    _execute(statements.MARK_TENANTS_AS_MOVED, tenants=list(tenant_ids))


def put_urgent_aside(report: Report) -> None:
    """Put aside the runs of frozen tenants, and what they would fire soon.

    Waits for the requests that are under way.
    """
    patience = settings.SCHEDULER_MAX_REQUEST_TIMEOUT + REQUEST_MARGIN
    deadline, reported = time.monotonic() + patience, 0
    # Tasks come first, because they make runs. Workers may hold some of them.
    while not put_urgent_tasks_aside():
        _sleep_until(deadline)
    while under_way := _put_runs_aside():
        if under_way != reported:
            report(f"{under_way} requests are under way.")
            reported = under_way
        put_urgent_tasks_aside()
        _sleep_until(deadline)


def put_urgent_tasks_aside() -> bool:
    """Whether nothing of frozen tenants fires soon any more."""
    for statement in statements.PARK_URGENT_TASKS:
        _repeat(statement, horizon=HORIZON)
    [[is_left]] = _fetch(statements.HAS_URGENT_TASKS, horizon=HORIZON)
    return not is_left


def _put_runs_aside() -> int:
    """The runs that are left, because their requests are under way."""
    _repeat(statements.PARK_RUNS_OF_FROZEN)
    [[runs]] = _fetch(statements.COUNT_LIVE_RUNS_OF_FROZEN)
    return int(runs)


def put_others_aside(tenant_ids: Sequence[int], home: str, split_id: UUID) -> None:
    """In a copy of the cell `home`, put aside what is of other tenants than these."""
    _execute(
        statements.MARK_OTHERS_AS_MOVED,
        tenants=list(tenant_ids),
        destination=home,
        split=split_id,
    )
    _execute(statements.FORGET_PROCESSES)
    _repeat(statements.PARK_ALL_RUNS_OF_FROZEN)
    # Nobody else works here, so nothing is locked.
    put_urgent_tasks_aside()


@transaction.atomic
def keep_urgent_aside() -> None:
    """Move the horizon on while a cell is split."""
    own = OwnCell.objects.filter(split_id__isnull=False).first()
    # A process that may thaw the tenants again holds the lock, and does so itself.
    if own is not None and (
        own.stage == SplitStage.OPEN or locks.try_acquire(LockKind.SPLIT)
    ):
        put_urgent_tasks_aside()


def set_fence(*, is_on: bool) -> None:
    """Let the database refuse to fire tasks of frozen tenants. Raises MoveRefused."""
    statement = statements.ENABLE_FENCE if is_on else statements.DISABLE_FENCE
    for _ in range(FENCE_ATTEMPTS):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                # Others wait behind us for the lock.
                cursor.execute(statements.LIMIT_WAIT)
                cursor.execute(statement)
            return
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(POLL_SECONDS)
    raise MoveRefused(
        "A long transaction holds the table of tasks. End it, and say the command again."
    )


def seconds_frozen(tenant_ids: Sequence[int]) -> float:
    [[seconds]] = _fetch(statements.SECONDS_FROZEN, tenants=list(tenant_ids))
    return float(seconds)


def _sleep_until(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise MoveRefused(
            "Requests are still under way; see that workers and a beat run, and say the "
            "command again."
        )
    time.sleep(POLL_SECONDS)


def _change_tenants(statement: str, **values: Any) -> dict[int, str]:
    """The names of the tenants that a statement has changed."""
    _execute(LET_MOVE)
    return dict(_fetch(statement, **values))


def _repeat(statement: str, **values: Any) -> None:
    """Say a statement again until it finds less than a batch."""
    while _execute(with_limit(statement, BATCH_SIZE), **values) == BATCH_SIZE:
        pass


def _execute(statement: str, **values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _fetch(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
