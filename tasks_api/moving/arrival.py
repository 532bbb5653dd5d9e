"""Let a tenant arrive in the default database: check, copy, store and verify its parts.

All of it is one transaction. So a tenant is here as a whole or not at all, whatever
happens to the process, and it lives here from the moment at which that commits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.db import IntegrityError, connection, transaction

from accounts import audit, directory_statements
from accounts.encryption import is_sealed
from accounts.models import SigningSecret, Tenant
from scheduler_service.db import clock, locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.statements import fetch_all
from tasks_api.moving import history, sources
from tasks_api.moving import part_statements as statements
from tasks_api.moving.copying import sum_up, write_part
from tasks_api.moving.errors import MoveRefused
from tasks_api.moving.parts import PLAN, TASK, TENANT, tables_of_tenants
from tasks_api.moving.sources import Schema, Source, Traveller
from tasks_api.moving.statements import LET_MOVE
from tasks_api.services import rollups
from tasks_api.storage import partitions

Report = Callable[[str], object]

# The destination of a copy of a tenant whose move is taken back after it had arrived.
ABANDONED = "nowhere"
OTHER_SCHEMA = (
    "The two databases have different tables. Run the same release on both, and "
    "`manage.py migrate` on each."
)


class KnownTenant(NamedTuple):
    """A row of the target with the id or the name of the tenant that moves there."""

    id: int
    name: str
    move_id: UUID | None
    frozen_at: datetime | None
    moves_to: str


def hold_arrival(traveller: Traveller) -> None:
    """Wait for an arrival that another process may still commit, and allow no other."""
    locks.acquire(LockKind.MOVE, traveller.tenant_id)


def find_known(traveller: Traveller) -> list[KnownTenant]:
    """The rows of the target by the id and by the name of the tenant."""
    with connection.cursor() as cursor:
        cursor.execute(
            statements.FIND_TENANT,
            {"tenant": traveller.tenant_id, "name": traveller.name},
        )
        return fetch_all(cursor, KnownTenant)


def has_arrived(traveller: Traveller) -> bool:
    """Whether this move has brought the tenant here. Raises MoveRefused if another has."""
    known = find_known(traveller)
    for tenant in known:
        if tenant.move_id == traveller.move_id and tenant.id == traveller.tenant_id:
            return True
    for tenant in known:
        if tenant.id == traveller.tenant_id:
            if tenant.moves_to == ABANDONED:
                raise MoveRefused(
                    "A move to there is being taken back. Say --abort again first."
                )
            raise MoveRefused(
                f"The target has the tenant {tenant.name}, whose id is the same. If it "
                "has moved away from there, say forget_moved_tenant there first."
            )
        raise MoveRefused(f"The target has another tenant of the name {tenant.name}.")
    return False


def check_target(schema: Schema) -> None:
    """Raise MoveRefused if the default database cannot take tenants of this schema."""
    if sources.read_schema() != schema:
        raise MoveRefused(OTHER_SCHEMA)
    secret = SigningSecret.objects.first()
    if secret is not None and is_sealed(secret.secret):
        raise MoveRefused(
            "The secrets of the target do not open with our SECRET_KEY. Give both the "
            "same one, or name it in SECRET_KEY_FALLBACKS."
        )


def prepare_history(oldest_run: datetime | None) -> None:
    """Make the partitions of the days of the tenant's history."""
    now = clock.read()
    partitions.make_days(now=now)
    if oldest_run is not None:
        partitions.make_days(now=now, since=min(oldest_run, now))


def prepare_target(key: bytes) -> None:
    """Let ids of runs be made with the key of the source. Raises MoveRefused."""
    if sources.read_run_key() == key:
        return
    with connection.cursor() as cursor:
        cursor.execute(directory_statements.TAKE_RUN_KEY, {"key": key})
        if not cursor.rowcount:
            raise MoveRefused(
                "The target makes ids of runs with another key, and has tasks already. A "
                "new database takes the key of the first tenant that moves there."
            )


def arrive(source: Source, report: Report, before_commit: Callable[[], object]) -> None:
    """Store the tenant of a source, unless it has arrived already.

    Raises MoveRefused, and then nothing is stored.
    """
    try:
        with transaction.atomic(durable=True):
            hold_arrival(source.traveller)
            if has_arrived(source.traveller):
                return
            if source.closed is not None:
                history.complete(source.closed, report)
            totals = _copy(source, report)
            report("copied")
            _store(source)
            _verify(source, totals)
            report("verified")
            rollups.reopen_late_hours(source.traveller.tenant_id)
            before_commit()
            if not source.stays_frozen:
                note_arrival(source.traveller)
    except (IntegrityError, psycopg.IntegrityError) as error:
        # COPY raises psycopg's own errors.
        raise MoveRefused(_explain(error)) from None


def note_arrival(traveller: Traveller) -> None:
    """Write into the audit log that the tenant lives here now."""
    audit.record(traveller.tenant_id, "tenant.arrive", [traveller.name])


def _explain(error: Exception) -> str:
    cause: Any = error.__cause__ or error
    detail = " ".join(str(cause.diag.message_detail or cause).split())
    return (
        f"The target has a row that is in the way ({cause.diag.table_name}): {detail} "
        "If the databases number their rows alike, give a new one a range of its own with "
        "`manage.py number_rows` before its first tenant."
    )


def _copy(source: Source, report: Report) -> Mapping[str, int]:
    """Copy each part into its table; returns the rows of each."""
    with connection.cursor() as cursor:
        # The audit log comes with a tenant that may still be frozen.
        cursor.execute(LET_MOVE)
        cursor.execute(statements.STAGE_ROWS)
        cursor.execute(_beat_columns(source).stage())
    copied = {}
    for part in source.parts:
        copied[part.name] = write_part(part, source.read(part))
        if part.name == TENANT:
            _store_tenant(source)
        report(f"{part.name}: {copied[part.name]} rows")
    return copied


def _beat_columns(source: Source) -> statements.BeatColumns:
    columns = source.schema.columns[statements.PERIODIC]
    return statements.BeatColumns.of([each.name for each in columns])


def _store_tenant(source: Source) -> None:
    columns = {part.name: part.columns for part in source.parts}
    with connection.cursor() as cursor:
        cursor.execute(statements.store_plan(columns[PLAN]))
        cursor.execute(statements.store_tenant(columns[TENANT]))


def _store(source: Source) -> None:
    columns = {part.name: part.columns for part in source.parts}
    with connection.cursor() as cursor:
        for statement in _beat_columns(source).store():
            cursor.execute(statement)
        cursor.execute(statements.store_tasks(columns[TASK]))
        # Foreign keys are checked now, while the error can still name the row.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    _advance_sequences(source.traveller.tenant_id)


def _advance_sequences(tenant_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.LIST_SEQUENCES, [[*tables_of_tenants(), TENANT]])
        for table, sequence in cursor.fetchall():
            column = "id" if table == TENANT else "tenant_id"
            advance = statements.ADVANCE.replace("{sequence}", sequence)
            advance = advance.replace("{table}", table)
            cursor.execute(advance.replace("{condition}", f"{column} = {tenant_id:d}"))


def _verify(source: Source, copied: Mapping[str, int]) -> None:
    """Compare what is stored with the source: rows, what is in them, and the account."""
    for part in source.parts:
        wanted = source.totals(part)
        if copied[part.name] != wanted.rows:
            raise MoveRefused(
                f"{part.name}: {wanted.rows} rows, but {copied[part.name]} came."
            )
        # The target may have had a plan of that name.
        if part.name != PLAN and sum_up(part.compared) != wanted:
            raise MoveRefused(f"{part.name} is not the same at the target.")
    tenant = Tenant.objects.get(pk=source.traveller.tenant_id)
    account = source.account
    found_account = sources.read_account(tenant, account.since, account.until)
    if found_account != account:
        raise MoveRefused(
            f"The account is not the same at the target: {account} became {found_account}."
        )
