"""Move a tenant from the default database to another one.

    free ──► frozen ──► put aside ──► arrived ──► moved
      ▲         │           │
      └─────────┴───────────┘ --abort

Its closed history is copied before. Each step can be repeated, so a move that was
interrupted goes on when the command is said again.

To a database that was named by its URL, the tenant lives at the source until it arrives,
and from then on at the target: that is one commit, at the target. To a cell it arrives
frozen; then the directory sends its requests there, from which moment on the move cannot
be taken back; and then it is thawed there. What the source says of the move is written
afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, connections

from accounts import directory
from accounts.models import Tenant
from scheduler_service.db import clock, locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.timeouts import without_limits
from tasks_api.moving import (
    arrival,
    databases,
    destinations,
    freezing,
    history,
    sources,
)
from tasks_api.moving.databases import as_default
from tasks_api.moving.destinations import Destination
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.history import ClosedHistory
from tasks_api.moving.parts import Journey
from tasks_api.moving.sources import Traveller

Report = Callable[[str], object]

FILE = "a file"
# Seconds.
LOCK_PATIENCE = 3.0
DOOR_PATIENCE = 10.0


def move_tenant(tenant: Tenant, to: str, report: Report) -> Destination:
    """Move a tenant to a URL or a cell, or go on with its move; returns where it lives.

    `report` hears of each step. Raises MoveRefused; then the tenant is free, or frozen until
    the command is said again or the move is taken back.
    """
    destination = destinations.find_destination(to)
    with alone(tenant), databases.open_database(destination.url) as target:
        hold_target(tenant, target)
        destinations.require_own_tenant(tenant, destination)
        traveller = Traveller(tenant.pk, tenant.name, tenant.move_id or uuid4())
        if tenant.frozen_at is None:
            # The former move, by which the tenant came here, is over.
            traveller = traveller._replace(move_id=uuid4())
        if not _prepare(traveller, target):
            _travel(tenant, destination, traveller, target, report)
        report("arrived")
        version = _flip(tenant, destination, report)
        freezing.mark_as_moved(tenant)
        if version is not None:
            _thaw_there(traveller, target, report)
            _await_doors(version, report)
        report("moved")
    return destination


def _travel(
    tenant: Tenant,
    destination: Destination,
    traveller: Traveller,
    target: Any,
    report: Report,
) -> None:
    if tenant.moved_at is not None:
        raise MoveRefused(has_moved(tenant))
    journey = Journey(history.closed_until(clock.read()), destination.cell is not None)
    if tenant.frozen_at is None:
        _copy_ahead(tenant, journey, target, report)
        report("history copied")
    freezing.freeze(tenant, destination.name, traveller.move_id)
    report("frozen")
    freezing.await_older_transactions()
    freezing.put_aside(tenant.pk, report)
    report("put aside")
    _bring(tenant, traveller, journey, target, report)


def _copy_ahead(tenant: Tenant, journey: Journey, target: Any, report: Report) -> None:
    assert journey.closed_until is not None
    oldest_run = sources.read_oldest_run(tenant.pk)
    with as_default(target):
        arrival.prepare_history(oldest_run)
    columns = sources.read_schema().columns
    own = connections[DEFAULT_DB_ALIAS]
    closed = ClosedHistory(tenant.pk, columns, journey.closed_until, own)
    history.copy_ahead(closed, target, report)


def has_moved(tenant: Tenant) -> str:
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


def hold_target(tenant: Tenant, target: Any) -> None:
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


def _bring(
    tenant: Tenant,
    traveller: Traveller,
    journey: Journey,
    target: Any,
    report: Report,
) -> None:
    own = connections[DEFAULT_DB_ALIAS]
    before = freezing.read_changes(tenant.pk)

    def check_source() -> None:
        # The snapshot shows the past, so another session looks.
        with as_default(own.copy()):
            _require_rest(tenant, before)

    with (
        sources.snapshot_of(tenant, traveller.move_id, journey) as source,
        as_default(target),
    ):
        arrival.prepare_history(source.oldest_run)
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


def _flip(tenant: Tenant, destination: Destination, report: Report) -> int | None:
    """Have the directory send the requests of a tenant to its new cell, if it moves to one.

    Returns the version of the change. It may be repeated.
    """
    if destination.cell is None:
        return None
    version = directory.flip(tenant.pk, destination.cell)
    report("flipped")
    return version


def _thaw_there(traveller: Traveller, target: Any, report: Report) -> None:
    with as_default(target):
        freezing.thaw_arrived(traveller.tenant_id, traveller.name, traveller.move_id)
    report("thawed")


def _await_doors(version: int, report: Report) -> None:
    behind = directory.wait_for_doors(version, timeout=DOOR_PATIENCE)
    if behind:
        names = ", ".join(door.name for door in behind)
        report(
            f"These doors do not follow, and callers there get 503: {names}. Does "
            "follow_directory run there?"
        )
