"""Delete what is left of a tenant that lives elsewhere, in bites."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from accounts import directory
from accounts.models import Tenant
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.moves import DOOR_PATIENCE, FILE, alone
from tasks_api.services import erasure

Report = Callable[[str], object]


def forget_all(report: Report) -> int:
    """Delete the rows of all tenants that have moved; returns the number of these."""
    moved = list(Tenant.objects.filter(moved_at__isnull=False).order_by("pk"))
    for tenant in moved:
        forget_tenant(tenant, report)
        report(f"Nothing is left of {tenant}.")
    return len(moved)


def forget_tenant(
    tenant: Tenant, report: Report, *, was_imported: bool = False
) -> None:
    """Delete the rows of a tenant that has moved. Repeat it if it was interrupted.

    Nobody knows here whether a file was imported, so the operator says it. Raises
    MoveRefused.
    """
    with alone(tenant):
        if tenant.frozen_at is None:
            raise MoveRefused(f"{tenant} lives here. delete_tenant deletes it.")
        if tenant.moves_to == FILE:
            if not was_imported:
                raise MoveRefused(
                    f"{tenant} travels in a file. Say --imported if it lives elsewhere "
                    "now, or take the move back with `move_tenant --abort`."
                )
        elif tenant.moved_at is None:
            raise MoveRefused(
                f"{tenant} has not arrived at {tenant.moves_to}. Say move_tenant again."
            )
        _require_no_requests(tenant)
        erasure.erase_moved_tenant(tenant, report=report)


def _require_no_requests(tenant: Tenant) -> None:
    """Raise MoveRefused while a door may send requests here, whose tokens would be unknown."""
    if not directory.is_used():
        return
    if directory.cell_of(tenant.pk) == settings.SCHEDULER_CELL:
        raise MoveRefused(
            f"The directory sends the requests of {tenant} here. Say assign_tenant first."
        )
    version = directory.newest_version()
    if behind := directory.wait_for_doors(version, timeout=DOOR_PATIENCE):
        names = ", ".join(door.name for door in behind)
        raise MoveRefused(
            f"These doors may send requests of {tenant} here: {names}. Does "
            "follow_directory run there?"
        )
