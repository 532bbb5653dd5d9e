"""Where a tenant moves: another database, by its URL or by the name of its cell."""

from __future__ import annotations

from typing import NamedTuple

from django.conf import settings

from accounts import directory
from accounts.models import Tenant
from tasks_api.moving import databases
from tasks_api.moving.errors import MoveRefused

# How a tenant's row names a cell. The name of a database has a colon and no space.
CELL_PREFIX = "cell "


class Destination(NamedTuple):
    # As the tenant's row names it.
    name: str
    url: str
    # The cell to which the directory sends the tenant's requests; None: nobody sends them.
    cell: str | None


def find_destination(to: str) -> Destination:
    """The database of a URL or of a cell. Raises MoveRefused and DirectoryError."""
    if "://" in to:
        return Destination(databases.name_of(to), to, None)
    if not directory.is_used() or not settings.SCHEDULER_CELL:
        raise MoveRefused(
            f"{to} is no URL. To move a tenant to a cell of this name, set DIRECTORY_URL and "
            "SCHEDULER_CELL as for the web of this cell."
        )
    if to == settings.SCHEDULER_CELL:
        raise MoveRefused(f"This is the cell {to} itself.")
    return Destination(f"{CELL_PREFIX}{to}", directory.database_of(to), to)


def find_last_destination(tenant: Tenant, to: str | None) -> Destination:
    """The destination of a tenant that moves already. Raises as above.

    The row of the tenant names it. The URL of a database is stored nowhere, so that has to
    be given again.
    """
    if to is None and tenant.moves_to.startswith(CELL_PREFIX):
        to = tenant.moves_to.removeprefix(CELL_PREFIX)
    found = None if to is None else find_destination(to)
    if found is None or found.name != tenant.moves_to:
        raise MoveRefused(
            f"{tenant} moves to {tenant.moves_to}. Say the same as --to, so that we see "
            "whether the tenant has arrived there."
        )
    return found


def require_own_tenant(tenant: Tenant, destination: Destination) -> None:
    """Raise MoveRefused if the directory has the tenant in a cell that is neither side."""
    if destination.cell is None:
        return
    known = directory.cell_of(tenant.pk)
    if known not in (settings.SCHEDULER_CELL, destination.cell):
        raise MoveRefused(
            f"The directory has {tenant} in {f'the cell {known}' if known else 'no cell'}. "
            "Say join_directory here first, unless the tenant lives elsewhere."
        )


def has_flipped(tenant: Tenant, destination: Destination) -> bool:
    """Whether the directory sends the tenant's requests to the destination."""
    return (
        destination.cell is not None
        and directory.cell_of(tenant.pk) == destination.cell
    )
