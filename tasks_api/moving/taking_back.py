"""Take a move back: the tenant lives on where it was, and the target keeps nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.models import Tenant
from tasks_api.moving import (
    arrival,
    databases,
    destinations,
    freezing,
    history,
    statements,
)
from tasks_api.moving.arrival import ABANDONED, KnownTenant
from tasks_api.moving.databases import as_default
from tasks_api.moving.destinations import Destination
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.moves import FILE, alone, has_moved, hold_target
from tasks_api.moving.sources import Traveller
from tasks_api.services import erasure

Report = Callable[[str], object]


def abort_move(tenant: Tenant, to: str | None, report: Report) -> None:
    """Take a move back that has not arrived. Raises MoveRefused if it has.

    A tenant that arrives frozen in a cell has arrived when its requests are sent there.
    """
    with alone(tenant):
        if tenant.moved_at is not None:
            raise MoveRefused(has_moved(tenant))
        if tenant.frozen_at is None:
            _clear_what_was_copied(tenant, to, report)
            return
        if tenant.moves_to != FILE:
            destination = destinations.find_last_destination(tenant, to)
            _abort_at_target(tenant, destination, report)
        freezing.thaw(tenant)
        report("thawed")


def _clear_what_was_copied(tenant: Tenant, to: str | None, report: Report) -> None:
    """Clear the target of a move that was given up before the tenant was frozen."""
    if to is None:
        raise MoveRefused(
            f"{tenant} does not move. Say --to to clear what was copied of its history."
        )
    with databases.open_database(destinations.find_destination(to).url) as target:
        hold_target(tenant, target)
        with as_default(target):
            if Tenant.objects.filter(pk=tenant.pk).exists():
                raise MoveRefused(f"The target has a tenant of the id of {tenant}.")
            report(f"cleared: {history.clear(tenant.pk)} runs")


def _abort_at_target(tenant: Tenant, destination: Destination, report: Report) -> None:
    assert tenant.move_id is not None
    traveller = Traveller(tenant.pk, tenant.name, tenant.move_id)
    with databases.open_database(destination.url) as target:
        hold_target(tenant, target)
        with as_default(target):
            known = _find_copy(traveller)
        if known is not None:
            if known.frozen_at is None or destinations.has_flipped(tenant, destination):
                raise MoveRefused(has_moved(tenant))
            _erase_copy(traveller, target, report)
        with as_default(target):
            history.clear(tenant.pk)


def _find_copy(traveller: Traveller) -> KnownTenant | None:
    """The tenant as it has arrived in the default database. Raises MoveRefused."""
    with transaction.atomic():
        # A process that was killed may have left a commit under way.
        arrival.hold_arrival(traveller)
        known = [
            each
            for each in arrival.find_known(traveller)
            if each.id == traveller.tenant_id
        ]
    if not known:
        return None
    [copy] = known
    if copy.move_id != traveller.move_id and copy.moves_to != ABANDONED:
        raise MoveRefused(
            f"The target has the tenant {copy.name}, whose id is the same, by another move."
        )
    return copy


def _erase_copy(
    traveller: Traveller, target: BaseDatabaseWrapper, report: Report
) -> None:
    values: dict[str, Any] = {
        "tenant": traveller.tenant_id,
        "move": traveller.move_id,
        "nowhere": ABANDONED,
    }
    with as_default(target):
        with connection.cursor() as cursor:
            cursor.execute(statements.ABANDON, values)
        copy = Tenant.objects.get(pk=traveller.tenant_id)
        # Their ids may be others in another database.
        ContentType.objects.clear_cache()
        try:
            erasure.erase_moved_tenant(copy, report=report)
        finally:
            ContentType.objects.clear_cache()
