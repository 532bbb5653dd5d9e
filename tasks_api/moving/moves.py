"""Move a tenant from the default database to another one, and take a move back.

    free ──► frozen ──► put aside ──► arrived ──► moved
      ▲         │           │
      └─────────┴───────────┘ --abort

Each step can be repeated, so a move that was interrupted goes on when the command is said
again. The tenant lives at the source until it arrives, and from then on at the target:
that is one commit, at the target. What the source says of the move is written afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from accounts.models import Tenant
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.timeouts import without_limits
from tasks_api.moving import arrival, databases, freezing, sources
from tasks_api.moving.databases import as_default
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.sources import Traveller

Report = Callable[[str], object]

FILE = "a file"
# Seconds.
LOCK_PATIENCE = 3.0


def move_tenant(tenant: Tenant, url: str, report: Report) -> None:
    """Move a tenant, or go on with its move. `report` hears of each step.

    Raises MoveRefused; then the tenant is free, or frozen until the command is said again
    or the move is taken back.
    """
    destination = databases.name_of(url)
    with alone(tenant), databases.open_database(url) as target:
        _hold_target(tenant, target)
        traveller = Traveller(tenant.pk, tenant.name, tenant.move_id or uuid4())
        if tenant.frozen_at is None:
            # The former move, by which the tenant came here, is over.
            traveller = traveller._replace(move_id=uuid4())
        if not _prepare(traveller, target):
            freezing.freeze(tenant, destination, traveller.move_id)
            report("frozen")
            freezing.await_older_transactions()
            freezing.put_aside(tenant.pk, report)
            report("put aside")
            _bring(tenant, traveller, target, report)
        report("arrived")
        freezing.mark_as_moved(tenant)
        report("moved")


def abort_move(tenant: Tenant, url: str | None, report: Report) -> None:
    """Take a move back that has not arrived. Raises MoveRefused if it has."""
    with alone(tenant):
        if tenant.frozen_at is None or tenant.move_id is None:
            raise MoveRefused(f"{tenant} does not move.")
        if tenant.moved_at is not None:
            raise MoveRefused(_has_moved(tenant))
        if tenant.moves_to == FILE:
            freezing.thaw(tenant)
        else:
            _abort_at_target(tenant, _require_destination(tenant, url))
        report("thawed")


def _abort_at_target(tenant: Tenant, url: str) -> None:
    assert tenant.move_id is not None
    traveller = Traveller(tenant.pk, tenant.name, tenant.move_id)
    with databases.open_database(url) as target:
        with as_default(target), transaction.atomic():
            # A process that was killed may have left a commit under way.
            arrival.hold_arrival(traveller)
            is_there = arrival.has_arrived(traveller)
        if is_there:
            raise MoveRefused(_has_moved(tenant))
    freezing.thaw(tenant)


def _require_destination(tenant: Tenant, url: str | None) -> str:
    if url is None or databases.name_of(url) != tenant.moves_to:
        raise MoveRefused(
            f"{tenant} moves to {tenant.moves_to}. Say its URL as --to, so that we see "
            "whether the tenant has arrived there."
        )
    return url


def _has_moved(tenant: Tenant) -> str:
    return (
        f"{tenant} has arrived at {tenant.moves_to} and lives there. Move it back from "
        "there, after forget_moved_tenant here."
    )


@contextmanager
def alone(tenant: Tenant) -> Iterator[None]:
    """Hold the tenant's move for this process, and let statements take their time."""
    own: Any = connections[DEFAULT_DB_ALIAS]
    # The id is gone from the object once the tenant is deleted.
    tenant_id = tenant.pk
    with without_limits(own):
        if not _try_lock(own, tenant_id):
            raise MoveRefused(f"Another process moves {tenant} at this moment.")
        try:
            tenant.refresh_from_db()
            yield
        finally:
            if own.connection is not None and own.is_usable():
                locks.release(own, LockKind.MOVE, tenant_id)


def _try_lock(database: Any, tenant_id: int) -> bool:
    """Hold the tenant's move in a database. The session of a dead process may end first."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while not locks.try_acquire_for_session(database, LockKind.MOVE, tenant_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _hold_target(tenant: Tenant, target: Any) -> None:
    # Sessions of one database share its locks, and we have this one already.
    if not _try_lock(target, tenant.pk):
        raise MoveRefused(
            f"The target is the database in which {tenant} lives, or another process "
            "moves the tenant there."
        )


def _prepare(traveller: Traveller, target: Any) -> bool:
    """Whether the tenant has arrived; otherwise refuse early, as far as that is possible."""
    schema, key = sources.read_schema(), sources.read_run_key()
    with as_default(target):
        if arrival.has_arrived(traveller):
            return True
        arrival.check_target(schema)
        arrival.prepare_target(key)
    return False


def _bring(tenant: Tenant, traveller: Traveller, target: Any, report: Report) -> None:
    own = connections[DEFAULT_DB_ALIAS]
    before = freezing.read_changes(tenant.pk)

    def check_source() -> None:
        # The snapshot shows the past, so another session looks.
        with as_default(own.copy()):
            _require_rest(tenant, before)

    with (
        sources.snapshot_of(tenant, traveller.move_id) as source,
        as_default(target),
    ):
        arrival.prepare_history(source)
        arrival.arrive(source, report, check_source)


def _require_rest(tenant: Tenant, before: tuple[Any, ...]) -> None:
    """Raise MoveRefused if anything has changed since the tenant was put aside."""
    try:
        left = freezing.read_unparked(tenant.pk)
        if left.has_tasks or left.runs or freezing.read_changes(tenant.pk) != before:
            raise MoveRefused(
                "The tenant changed while it was copied. Say the command again."
            )
    finally:
        connections[DEFAULT_DB_ALIAS].close()
