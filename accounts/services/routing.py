"""Keep the directory of several cells in step with the tenants of this cell.

Without DIRECTORY_URL, nothing here does anything. The directory is written before the
database of the cell is committed. What is left over by a rollback is harmless: a door sends
it to the cell, which knows better.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from accounts import directory, directory_statements
from accounts.directory import CELL_BITS, DirectoryError
from accounts.models import OwnCell, Tenant
from accounts.services.errors import AccountError

logger = logging.getLogger(__name__)


class Joined(NamedTuple):
    tenants: int
    credentials: int
    first_id: int
    # Tenants move only between cells that make the ids of runs with the same key.
    shares_run_key: bool


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except DirectoryError as error:
        raise AccountError(str(error)) from error


def reserve_tenant_id(name: str) -> int | None:
    """The id that the directory gives a new tenant; None: the database gives it."""
    if not directory.is_used():
        return None
    with _refusals():
        return directory.register_tenant(name, settings.SCHEDULER_CELL)


def rename_tenant(tenant: Tenant, name: str) -> None:
    if directory.is_used():
        with _refusals():
            directory.rename_tenant(tenant.pk, name)


def forget_tenant(tenant: Tenant) -> None:
    if directory.is_used():
        with _refusals():
            directory.forget_tenant(tenant.pk, settings.SCHEDULER_CELL)


def replace_credential(tenant: Tenant, old: str | None, new: str | None) -> None:
    """Have doors route by the digest of a new shared secret, and soon not by the old one."""
    if not directory.is_used() or old == new:
        return
    if new:
        with _refusals():
            directory.add_credentials({new: tenant.pk})
    if old:
        transaction.on_commit(partial(_remove_credential, tenant.pk, old))


def _remove_credential(tenant_id: int, digest: str) -> None:
    try:
        directory.remove_credential(tenant_id, digest)
    except DirectoryError as error:
        # The cell refuses the old secret, wherever it is routed.
        logger.warning("The directory keeps an old shared secret: %s", error)


def join_directory() -> Joined:
    """Tell the directory of all tenants of this cell, and of credentials that name none.

    Ids of new rows then begin where those of no other cell are. May be repeated.
    """
    # What is left of a tenant that has moved does not count.
    here = Tenant.objects.filter(moved_at=None).order_by("pk")
    names = dict(here.values_list("pk", "name"))
    with connection.cursor() as cursor:
        cursor.execute(directory_statements.TOKENS_WITHOUT_TENANT)
        owners = {
            digest: tenant_id
            for tenant_id, digest in cursor.fetchall()
            if tenant_id in names
        }
        with _refusals():
            cell = directory.find_cell(settings.SCHEDULER_CELL)
            directory.register_tenants(cell.name, names)
            directory.add_credentials(owners)
        # A copy of this database is of no use to another cell until a split names it.
        OwnCell.objects.get_or_create(defaults={"name": cell.name})
        with _refusals():
            shares_run_key = _share_run_key(cursor)
        first_id = cell.number << CELL_BITS
        cursor.execute(directory_statements.RAISE_SEQUENCES, {"first": first_id})
    return Joined(len(names), len(owners), first_id, shares_run_key)


def _share_run_key(cursor: CursorWrapper) -> bool:
    """Let ids of runs be made as in all cells; returns whether they are."""
    cursor.execute(directory_statements.READ_RUN_KEY)
    own = bytes(cursor.fetchone()[0])
    shared = directory.share_run_key(own)
    if shared == own:
        return True
    cursor.execute(directory_statements.TAKE_RUN_KEY, {"key": shared})
    return bool(cursor.rowcount)
