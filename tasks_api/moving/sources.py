"""Where the parts of a tenant come from: a snapshot of a database; `archive.py` has files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from accounts.directory_statements import READ_RUN_KEY
from accounts.models import Tenant, User
from scheduler_service.db import clock
from tasks_api.moving import part_statements as statements
from tasks_api.moving.copying import PartTotals, read_part, sum_up
from tasks_api.moving.databases import as_default
from tasks_api.moving.history import ClosedHistory
from tasks_api.moving.parts import (
    AT_ONCE,
    Column,
    Columns,
    Journey,
    Part,
    list_parts,
    tables,
)
from tasks_api.services import stats

HOUR = timedelta(hours=1)


class Schema(NamedTuple):
    """The tables of a database, as far as tenants have rows there."""

    migrations: Sequence[str]
    columns: Columns


class AccountTotals(NamedTuple):
    """The account of all tasks in a time: what was planned, and what became of it."""

    since: datetime
    until: datetime
    planned: int
    balance: int
    runs: int


class Traveller(NamedTuple):
    """The tenant of a move."""

    tenant_id: int
    name: str
    move_id: uuid.UUID


class Source(Protocol):
    """Where a tenant comes from."""

    traveller: Traveller
    schema: Schema
    account: AccountTotals
    # The fire time of the oldest run; None without runs.
    oldest_run: datetime | None
    run_key: bytes
    # What was copied ahead; None: nothing was.
    closed: ClosedHistory | None
    # Whether it is thawed only when its requests are sent to where it arrives.
    stays_frozen: bool

    @property
    def parts(self) -> Sequence[Part]: ...

    def read(self, part: Part) -> Iterator[bytes]:
        """Yield the rows of a part in PostgreSQL's binary format of COPY."""

    def totals(self, part: Part) -> PartTotals: ...


class SnapshotSource:
    """A frozen tenant in one snapshot of the default database."""

    def __init__(
        self, traveller: Traveller, tenant: Tenant, journey: Journey = AT_ONCE
    ) -> None:
        self._database = connections[DEFAULT_DB_ALIAS]
        self.traveller = traveller
        self.schema = read_schema()
        columns = self.schema.columns
        self.parts = list(list_parts(traveller.tenant_id, columns, journey))
        self.stays_frozen = journey.stays_frozen
        self.closed: ClosedHistory | None = None
        if journey.closed_until is not None:
            self.closed = ClosedHistory(
                traveller.tenant_id, columns, journey.closed_until, self._database
            )
        self.account = read_account(tenant, *account_range(tenant))
        self.oldest_run = read_oldest_run(traveller.tenant_id)
        self.run_key = read_run_key()

    def read(self, part: Part) -> Iterator[bytes]:
        return read_part(part, self._database)

    def totals(self, part: Part) -> PartTotals:
        with as_default(self._database):
            return sum_up(part.compared)


@contextmanager
def snapshot_of(
    tenant: Tenant, move_id: uuid.UUID, journey: Journey = AT_ONCE
) -> Iterator[SnapshotSource]:
    traveller = Traveller(tenant.pk, tenant.name, move_id)
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(statements.READ_FROM_SNAPSHOT)
        yield SnapshotSource(traveller, tenant, journey)


def read_schema() -> Schema:
    """The schema of the default database."""
    with connection.cursor() as cursor:
        cursor.execute(statements.LIST_MIGRATIONS)
        migrations = [name for (name,) in cursor.fetchall()]
        cursor.execute(statements.LIST_COLUMNS, [tables()])
        columns: dict[str, list[Column]] = {}
        for table, name, kind in cursor.fetchall():
            columns.setdefault(table, []).append(Column(name, kind))
    return Schema(migrations, columns)


def read_run_key() -> bytes:
    return bytes(_read_one(READ_RUN_KEY, {}) or b"")


def read_oldest_run(tenant_id: int) -> datetime | None:
    found: datetime | None = _read_one(statements.OLDEST_RUN, {"tenant": tenant_id})
    return found


def _read_one(statement: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return row and row[0]


def account_range(tenant: Tenant) -> stats.HourRange:
    """The whole hours that are kept, up to the present one."""
    now = stats.floor_hour(clock.read())
    user = _whole(tenant)
    since = max(stats.kept_since(user, now) + HOUR, now - stats.MAX_RANGE)
    return stats.HourRange(min(since, now), now)


def read_account(tenant: Tenant, since: datetime, until: datetime) -> AccountTotals:
    """The account of a tenant in the default database, and the number of its runs."""
    read = stats.read_hours(_whole(tenant), stats.HourRange(since, until))
    account = stats.account_of(read)
    runs = stats.runs_by_state(read.total).total()
    return AccountTotals(since, until, account.planned, account.balance, runs)


def _whole(tenant: Tenant) -> User:
    """A caller who sees all of the tenant."""
    user = User(tenant=tenant)
    user.reaches_tenant = True
    return user
