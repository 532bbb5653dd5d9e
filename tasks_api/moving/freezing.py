"""Freeze a tenant: nobody changes it, and nothing of it is sent, until it lives elsewhere.

The order matters. First the row of the tenant says that it is frozen, so that requests
are refused. Then all transactions end that may have read the row before. Then the tasks
are put aside, so that they make no more runs, and after them the runs, as they end or
wait for a retry. Each step is repeated in whole after an interruption.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction

from accounts import audit
from accounts.models import Tenant
from scheduler_service.db.statements import fetch_all, with_limit
from tasks_api.moving import statements
from tasks_api.moving.errors import MoveRefused

# Rows in one statement, which takes some tens of ms.
BATCH_SIZE = 2000
POLL_SECONDS = 0.05
# Seconds for which other transactions may stay open. PostgreSQL ends those of the service
# after a minute.
TRANSACTION_PATIENCE = 90.0
# Seconds beyond the longest request, in which the lease of a lost worker runs out.
REQUEST_MARGIN = 90.0


class Freeze(NamedTuple):
    """The columns of a frozen tenant."""

    frozen_at: datetime
    moves_to: str
    move_id: uuid.UUID
    moved_at: datetime | None


class Unparked(NamedTuple):
    """Whether tasks may still fire, and how many runs are not put aside."""

    has_tasks: bool
    runs: int


class _OtherTransaction(NamedTuple):
    pid: int
    client: str


def freeze(tenant: Tenant, destination: str, move_id: uuid.UUID) -> Freeze:
    """Refuse changes of a tenant from now on; one that is frozen keeps its move.

    Raises MoveRefused if it is frozen for another destination.
    """
    values: dict[str, Any] = {
        "tenant": tenant.pk,
        "destination": destination,
        "move": move_id,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.LET_MOVE)
        if tenant.frozen_at is None:
            what = {"moves_to": ("", destination)}
            audit.record(tenant.pk, "tenant.freeze", [tenant.name], what)
        cursor.execute(statements.FREEZE, values)
        [found] = fetch_all(cursor, Freeze)
        if found.moves_to != destination:
            raise MoveRefused(
                f"{tenant} is frozen for a move to {found.moves_to}. Say that as --to, or "
                "take the move back with --abort first."
            )
    return found


def await_older_transactions(patience: float = TRANSACTION_PATIENCE) -> None:
    """Wait until no transaction is open that began before this call."""
    deadline = time.monotonic() + patience
    [[moment]] = _fetch("SELECT clock_timestamp()")
    while others := _fetch(statements.FIND_OLDER_TRANSACTION, moment=moment):
        if time.monotonic() > deadline:
            other = _OtherTransaction._make(others[0])
            raise MoveRefused(
                f"A transaction of {other.client} has been open for too long (process "
                f"{other.pid}). End it, and say the command again."
            )
        time.sleep(POLL_SECONDS)


def put_aside(
    tenant_id: int,
    report: Callable[[str], object],
    *,
    patience: float | None = None,
) -> None:
    """Put tasks and runs aside; wait for the requests that are under way."""
    if patience is None:
        patience = settings.SCHEDULER_MAX_REQUEST_TIMEOUT + REQUEST_MARGIN
    deadline, reported = time.monotonic() + patience, 0
    # Tasks come first: otherwise one could make a run beside an exclusive one.
    while _park_tasks(tenant_id):
        _sleep_until(deadline)
    while under_way := _park_runs(tenant_id):
        if under_way != reported:
            report(f"{under_way} requests are under way.")
            reported = under_way
        _sleep_until(deadline)


def _park_tasks(tenant_id: int) -> bool:
    """Whether there are tasks left, because somebody has locked them."""
    _repeat(statements.PARK_FIRING_TASKS, tenant_id)
    _repeat(statements.PARK_OTHER_TASKS, tenant_id)
    return read_unparked(tenant_id).has_tasks


def _park_runs(tenant_id: int) -> int:
    """The runs that are left, because their requests are under way."""
    _repeat(statements.PARK_RUNS, tenant_id)
    [[runs]] = _fetch(statements.COUNT_LIVE_RUNS, tenant=tenant_id)
    return int(runs)


def _sleep_until(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise MoveRefused(
            "Requests are still under way; see that workers and a beat run, and say the "
            "command again."
        )
    time.sleep(POLL_SECONDS)


def read_unparked(tenant_id: int) -> Unparked:
    [row] = _fetch(statements.READ_UNPARKED, tenant=tenant_id)
    return Unparked._make(row)


def read_changes(tenant_id: int) -> tuple[Any, ...]:
    """What differs after each call that changes the tenant."""
    [row] = _fetch(statements.READ_CHANGES, tenant=tenant_id)
    return row


def thaw(tenant: Tenant) -> None:
    """Take tasks and runs back, and let the tenant live here again."""
    _repeat(statements.UNPARK_RUNS, tenant.pk)
    _repeat(statements.UNPARK_TASKS, tenant.pk)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.THAW, {"tenant": tenant.pk})
        audit.record(tenant.pk, "tenant.thaw", [tenant.name])


def thaw_arrived(tenant_id: int, name: str, move_id: uuid.UUID) -> None:
    """Let a tenant live where it has arrived frozen; may be repeated."""
    _repeat(statements.UNPARK_RUNS, tenant_id)
    _repeat(statements.UNPARK_TASKS, tenant_id)
    values: dict[str, Any] = {"tenant": tenant_id, "move": move_id}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.THAW_ARRIVED, values)
        if cursor.rowcount:
            audit.record(tenant_id, "tenant.arrive", [name])


def mark_as_moved(tenant: Tenant) -> None:
    """Note at the source that the tenant lives in its destination now."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.MARK_AS_MOVED, {"tenant": tenant.pk})


def _repeat(statement: str, tenant_id: int) -> None:
    """Say a statement again until it finds less than a batch."""
    changed = BATCH_SIZE
    while changed == BATCH_SIZE:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(with_limit(statement, BATCH_SIZE), {"tenant": tenant_id})
            changed = cursor.rowcount


def _fetch(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
