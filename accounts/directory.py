"""The directory of several cells: which cell a tenant lives in.

It is one small database. Cells read it only when a tenant, an old token or a shared secret
comes or goes; doors keep a copy of it. So neither waits for it to serve a request.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from psycopg import errors
from psycopg.types.json import Jsonb

from accounts import directory_statements as statements
from accounts import encryption
from scheduler_service.db import locks

# Seconds in which the directory answers, or counts as away.
CONNECT_TIMEOUT = 3
LIMITS = "-c statement_timeout=10000 -c lock_timeout=5000"
# Seconds between two looks at the doors, and those after which one counts as dead.
DOOR_INTERVAL, DOOR_PATIENCE = 0.1, 10.0
# Ids of rows of the cell with the number n begin at n << CELL_BITS.
CELL_BITS = 40
# The id of a run ends with the id of its tenant in 20 bits.
FULL = "A directory has room for tenants with ids up to 1,048,575, and no further ones."


class DirectoryError(Exception):
    """The directory refuses, or does not answer; the text says what to do about it."""


class Cell(NamedTuple):
    """The servers of a cell are its processes of web, as `host:port`."""

    name: str
    number: int
    servers: Sequence[str]
    # The host name of its pages; empty: it has none.
    host: str
    tenants: int = 0


class TenantPlace(NamedTuple):
    id: int
    name: str | None
    cell: str | None


class Routes(NamedTuple):
    """What has changed since a version; None where something is gone."""

    version: int
    cells: Mapping[int, str | None]
    credentials: Mapping[str, int | None]


class Door(NamedTuple):
    name: str
    # What it routes by.
    version: int
    # The servers of each cell that it reaches.
    servers_up: Mapping[str, int]
    # Since it was last seen.
    seconds: float

    @property
    def is_followed(self) -> bool:
        return self.seconds < DOOR_PATIENCE


def is_used() -> bool:
    return bool(settings.DIRECTORY_URL)


@contextmanager
def open_directory() -> Iterator[psycopg.Connection[Any]]:
    """A connection whose work is one transaction. Raises DirectoryError."""
    try:
        with psycopg.connect(
            settings.DIRECTORY_URL,
            connect_timeout=CONNECT_TIMEOUT,
            options=LIMITS,
            # A pooler between may give each transaction another session.
            prepare_threshold=None,
        ) as connection:
            yield connection
    except errors.UndefinedTable:
        raise DirectoryError(
            "The directory is empty: manage.py add_cell makes it."
        ) from None
    except psycopg.OperationalError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DirectoryError(f"The directory does not answer: {reason}") from error


@contextmanager
def _writing() -> Iterator[psycopg.Connection[Any]]:
    with open_directory() as connection:
        # Writers come one after the other, so that versions are committed in their order,
        # and a door that knows a version has missed none before it.
        connection.execute(locks.ACQUIRE, [locks.key_of(locks.LockKind.DIRECTORY)])
        yield connection
        connection.execute(statements.NOTIFY)


def put_cell(
    name: str, servers: Sequence[str], host: str = "", database: str = ""
) -> Cell:
    """Store a cell, or change its servers and its host; makes the tables if need be.

    `database` is the URL of its database past any pooler, for tenants that move there. It
    is stored encrypted with SECRET_KEY, which all cells have. An empty one changes nothing.
    """
    given = {
        "name": name,
        "servers": list(servers),
        "host": host,
        "database": database and encryption.encrypt(database),
    }
    with _writing() as connection:
        connection.execute(statements.CREATE_TABLES)
        try:
            row = connection.execute(statements.PUT_CELL, given).fetchone()
        except errors.CheckViolation:
            raise DirectoryError(
                "The name of a cell has small letters, digits and hyphens, 30 at most."
            ) from None
        except errors.UniqueViolation:
            raise DirectoryError(f"Another cell has the host {host}.") from None
    assert row is not None
    return Cell(*row)


def list_cells() -> list[Cell]:
    with open_directory() as connection:
        return [Cell(*row) for row in connection.execute(statements.LIST_CELLS)]


def find_cell(name: str) -> Cell:
    """The cell of this name. Raises DirectoryError."""
    found = [cell for cell in list_cells() if cell.name == name]
    if not found:
        raise DirectoryError(_unknown_cell(name))
    return found[0]


def database_of(cell: str) -> str:
    """The URL of a cell's database. Raises DirectoryError."""
    try:
        with open_directory() as connection:
            row = connection.execute(
                statements.FIND_DATABASE, {"name": cell}
            ).fetchone()
    except errors.UndefinedColumn:
        # No cell was added since the release before.
        row = (None,)
    if row is None:
        raise DirectoryError(_unknown_cell(cell))
    if row[0] is None:
        raise DirectoryError(
            f"The directory does not know the database of the cell {cell}: manage.py "
            f"add_cell {cell} --database URL tells it."
        )
    try:
        return encryption.decrypt(row[0])
    except encryption.Undecryptable:
        raise DirectoryError(
            f"Our SECRET_KEY does not open the URL of the database of the cell {cell}: all "
            f"cells have the same one. manage.py add_cell {cell} --database URL stores it "
            "anew."
        ) from None


def find_tenant(name: str) -> TenantPlace | None:
    with open_directory() as connection:
        return _find(connection, statements.FIND_TENANT, name=name)


def _find(
    connection: psycopg.Connection[Any], statement: str, **given: object
) -> TenantPlace | None:
    row = connection.execute(statement, given).fetchone()
    return None if row is None else TenantPlace(*row)


def share_run_key(key: bytes) -> bytes:
    """Offer the key by which a cell makes ids of runs; returns the key of all cells.

    The first one that a cell brings counts. It is stored encrypted with SECRET_KEY.
    """
    offered = encryption.encrypt(base64.b64encode(key).decode())
    with _writing() as connection:
        connection.execute(statements.OFFER_RUN_KEY, {"key": offered})
        row = connection.execute(statements.FIND_RUN_KEY).fetchone()
    assert row is not None
    try:
        return base64.b64decode(encryption.decrypt(row[0]))
    except encryption.Undecryptable:
        raise DirectoryError(
            "The key of run ids in the directory is encrypted with another SECRET_KEY."
        ) from None


def register_tenant(name: str, cell: str) -> int:
    """The id of a tenant of a cell; a new tenant gets one that no other tenant ever had.

    Repeating the call changes nothing. Raises DirectoryError if another cell has the name.
    """
    given = {"name": name, "cell": cell}
    try:
        with _writing() as connection:
            known = _find(connection, statements.FIND_TENANT, name=name)
            if known is None:
                row = connection.execute(statements.NEW_TENANT, given).fetchone()
                assert row is not None
                return int(row[0])
    except errors.CheckViolation:
        raise DirectoryError(FULL) from None
    except errors.ForeignKeyViolation:
        raise DirectoryError(_unknown_cell(cell)) from None
    if known.cell != cell:
        raise DirectoryError(f"The tenant {name} lives in the cell {known.cell}.")
    return known.id


def register_tenants(cell: str, names: Mapping[int, str]) -> None:
    """Store the tenants that a cell has already, by their ids.

    Repeating the call changes nothing. Raises DirectoryError, and stores none, if the
    directory knows one of them otherwise.
    """
    given = {"cell": cell, "ids": list(names), "names": list(names.values())}
    try:
        with _writing() as connection:
            connection.execute(statements.PUT_TENANTS, given)
            row = connection.execute(statements.FIND_CONFLICT, given).fetchone()
            if row is not None:
                raise DirectoryError(
                    f"The directory has given the name or the id of the tenant {row[1]} "
                    f"(id {row[0]}) to another tenant, or to another cell."
                )
    except errors.CheckViolation:
        raise DirectoryError(FULL) from None
    except errors.ForeignKeyViolation:
        raise DirectoryError(_unknown_cell(cell)) from None


def _unknown_cell(name: str) -> str:
    return f"The directory knows no cell {name}: manage.py add_cell {name} adds it."


def rename_tenant(tenant_id: int, name: str) -> None:
    try:
        with _writing() as connection:
            connection.execute(
                statements.RENAME_TENANT, {"id": tenant_id, "name": name}
            )
    except errors.UniqueViolation:
        raise DirectoryError(f"Another tenant has the name {name}.") from None


def flip(tenant_id: int, cell: str) -> int:
    """Send the requests of a tenant to another cell; returns the version of the change.

    Doors follow within moments: `wait_for_doors` says when each of them has.
    """
    try:
        with _writing() as connection:
            known = _find(connection, statements.FIND_TENANT_BY_ID, id=tenant_id)
            if known is None or known.cell is None:
                raise DirectoryError(f"The directory knows no tenant {tenant_id}.")
            given = {"id": tenant_id, "cell": cell}
            row = connection.execute(statements.FLIP_TENANT, given).fetchone()
    except errors.ForeignKeyViolation:
        raise DirectoryError(_unknown_cell(cell)) from None
    assert row is not None
    return int(row[0])


def flip_all(tenant_ids: Sequence[int], cell: str) -> int:
    """Flip many tenants at once; returns the version by which all of them are there."""
    given = {"ids": list(tenant_ids), "cell": cell}
    try:
        with _writing() as connection:
            connection.execute(statements.FLIP_TENANTS, given)
            row = connection.execute(statements.NEWEST_VERSION).fetchone()
    except errors.ForeignKeyViolation:
        raise DirectoryError(_unknown_cell(cell)) from None
    assert row is not None
    return int(row[0])


def tenants_of(cell: str) -> set[int]:
    with open_directory() as connection:
        rows = connection.execute(statements.LIST_TENANTS_OF, {"cell": cell})
        return {tenant_id for (tenant_id,) in rows}


def cell_of(tenant_id: int) -> str | None:
    """The cell of a tenant, after all changes that are under way; None: it has none."""
    with open_directory() as connection:
        # A process that was killed may have left a commit under way.
        connection.execute(locks.ACQUIRE, [locks.key_of(locks.LockKind.DIRECTORY)])
        known = _find(connection, statements.FIND_TENANT_BY_ID, id=tenant_id)
    return None if known is None else known.cell


def forget_tenant(tenant_id: int, cell: str) -> None:
    """Forget a tenant that its cell deletes; its id is never given out again."""
    given = {"tenant": tenant_id, "cell": cell}
    with _writing() as connection:
        connection.execute(statements.FORGET_ALL_CREDENTIALS, given)
        connection.execute(statements.FORGET_TENANT, given)


def add_credentials(owners: Mapping[str, int]) -> None:
    """Store the tenants of credentials that name none, by the digests of these."""
    given = {"digests": list(owners), "tenants": list(owners.values())}
    with _writing() as connection:
        stored = connection.execute(statements.PUT_CREDENTIALS, given).fetchall()
        if len(stored) != len(owners):
            raise DirectoryError("A tenant of another cell has this shared secret.")


def remove_credential(tenant_id: int, digest: str) -> None:
    with _writing() as connection:
        given = {"tenant": tenant_id, "digest": digest}
        connection.execute(statements.FORGET_CREDENTIAL, given)


def load_routes(connection: psycopg.Connection[Any], since: int = 0) -> Routes:
    """What has changed since a version; everything since 0."""
    with connection.transaction():
        # A version is not committed before those below it.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        tenants = connection.execute(
            statements.LOAD_TENANTS, {"since": since}
        ).fetchall()
        credentials = connection.execute(
            statements.LOAD_CREDENTIALS, {"since": since}
        ).fetchall()
    versions = [version for *_, version in [*tenants, *credentials]]
    return Routes(
        max(versions, default=since),
        {tenant_id: cell for tenant_id, cell, _ in tenants},
        {digest: tenant_id for digest, tenant_id, _ in credentials},
    )


def record_door(
    connection: psycopg.Connection[Any],
    name: str,
    version: int,
    servers_up: Mapping[str, int],
) -> None:
    """Write down that a door routes by this version, and which servers it reaches."""
    given = {"name": name, "version": version, "servers_up": Jsonb(servers_up)}
    connection.execute(statements.RECORD_DOOR, given)


def newest_version() -> int:
    with open_directory() as connection:
        row = connection.execute(statements.NEWEST_VERSION).fetchone()
    assert row is not None
    return int(row[0])


def list_doors() -> list[Door]:
    with open_directory() as connection:
        return [Door(*row) for row in connection.execute(statements.LIST_DOORS)]


def wait_for_doors(version: int, *, timeout: float) -> list[Door]:
    """Wait until each door routes by this version; returns those that do not.

    A door whose follower died may still route by an older version, so it counts, too.
    """
    deadline = time.monotonic() + timeout
    while True:
        behind = [door for door in list_doors() if door.version < version]
        if not behind or time.monotonic() > deadline:
            return behind
        time.sleep(DOOR_INTERVAL)
