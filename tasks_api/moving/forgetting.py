"""Delete what is left of a tenant that lives elsewhere, in bites."""

from __future__ import annotations

from collections.abc import Callable

from accounts.models import Tenant
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.moves import FILE, alone
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
        erasure.erase_moved_tenant(tenant, report=report)
