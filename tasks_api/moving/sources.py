"""Where the parts of a tenant come from: a snapshot of a database; `archive.py` has files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from accounts.models import Tenant, User
from scheduler_service.db import clock
from tasks_api.moving import part_statements as statements
from tasks_api.moving.databases import as_default
from tasks_api.moving.parts import Column, Columns, Part, list_parts, tables
from tasks_api.services import stats

HOUR = timedelta(hours=1)
# psycopg reads row by row, and writes larger pieces with less work.
PIECE_BYTES = 128 * 1024


class Schema(NamedTuple):
    """The tables of a database, as far as tenants have rows there."""

    migrations: Sequence[str]
    columns: Columns


class PartTotals(NamedTuple):
    """How many rows a part has, and a sum of what is in them."""

    rows: int
    checksum: str


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

    @property
    def parts(self) -> Sequence[Part]: ...

    def read(self, part: Part) -> Iterator[bytes]:
        """Yield the rows of a part in PostgreSQL's binary format of COPY."""

    def totals(self, part: Part) -> PartTotals: ...


class SnapshotSource:
    """A frozen tenant in one snapshot of the default database."""

    def __init__(self, traveller: Traveller, tenant: Tenant) -> None:
        self._database = connections[DEFAULT_DB_ALIAS]
        self.traveller = traveller
        self.schema = read_schema()
        self.parts = list(list_parts(traveller.tenant_id, self.schema.columns))
        self.account = read_account(tenant, *account_range(tenant))
        self.oldest_run = _read_one(
            statements.OLDEST_RUN, {"tenant": traveller.tenant_id}
        )
        self.run_key = read_run_key()

    def read(self, part: Part) -> Iterator[bytes]:
        raw: Any = self._database.connection
        with raw.cursor() as cursor, cursor.copy(copy_out(part.select)) as rows:
            piece = bytearray()
            for row in rows:
                piece += row
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
            yield bytes(piece)

    def totals(self, part: Part) -> PartTotals:
        with as_default(self._database):
            return sum_up(part.compared)


@contextmanager
def snapshot_of(tenant: Tenant, move_id: uuid.UUID) -> Iterator[SnapshotSource]:
    traveller = Traveller(tenant.pk, tenant.name, move_id)
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield SnapshotSource(traveller, tenant)


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
    return bytes(_read_one(statements.READ_RUN_KEY, {}) or b"")


def _read_one(statement: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return row and row[0]


def copy_out(select: str) -> str:
    return f"COPY ({select}) TO STDOUT (FORMAT binary)"


def sum_up(select: str) -> PartTotals:
    with connection.cursor() as cursor:
        cursor.execute(statements.SUM_UP.replace("{select}", select))
        return PartTotals._make(cursor.fetchone())


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
