"""The standby that becomes a new cell: what it is, how far it is, and its promotion."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from accounts.models import SplitStage
from scheduler_service.db.sessions import host_port_of, split_hosts
from tasks_api.moving import databases
from tasks_api.moving import split_statements as statements
from tasks_api.moving.errors import MoveRefused

# Seconds.
CONNECT_TIMEOUT = 5
PROMOTION_PATIENCE = 10


class Server(NamedTuple):
    system: int
    is_standby: bool


def check_standby(url: str) -> None:
    """Raise MoveRefused unless it is a standby of our database that nobody else uses."""
    found = _read_server(url)
    if found.system != _read_own_system():
        raise MoveRefused(
            f"{databases.name_of(url)} is no copy of our database. Build a standby of it "
            "first."
        )
    if not found.is_standby:
        raise MoveRefused(
            f"{databases.name_of(url)} is no standby any more. Build a new one: what was "
            "promoted before has not what happened here since."
        )
    own: Any = connections[DEFAULT_DB_ALIAS].get_connection_params()
    named = {host_port_of(each) for each in split_hosts(own)}
    hosts = {host_port_of(each) for each in split_hosts(conninfo_to_dict(url))}
    if named & hosts:
        raise MoveRefused(
            f"DATABASE_URL names {', '.join(sorted(named & hosts))}, so our processes "
            "would follow its promotion. Take it out of DATABASE_URL, and restart them."
        )


def has_replayed(url: str, split_id: UUID) -> bool:
    """Whether it has all that was committed before the split was ready."""
    try:
        with _connect(url) as session:
            row = session.execute(statements.READ_STAGE, {"split": split_id}).fetchone()
    except (psycopg.OperationalError, errors.UndefinedTable):
        # It starts, or has not replayed the latest migration.
        return False
    return row is not None and row[0] in (SplitStage.READY, SplitStage.OPEN)


def is_standby(url: str) -> bool:
    return _read_server(url).is_standby


def promote(url: str) -> None:
    """Begin to let a standby take writes. Raises MoveRefused if we may not."""
    try:
        with _connect(url) as session:
            session.execute(statements.PROMOTE, {"seconds": PROMOTION_PATIENCE})
    except errors.InsufficientPrivilege:
        raise MoveRefused(
            "The role may not promote the standby. Promote it with its own tool, and say "
            "the command again with --promoted-elsewhere."
        ) from None


def _read_server(url: str) -> Server:
    try:
        with _connect(url) as session:
            row = session.execute(statements.READ_SERVER).fetchone()
    except psycopg.OperationalError as error:
        raise MoveRefused(
            f"The database {databases.name_of(url)} does not answer: {error}"
        ) from None
    assert row is not None
    return Server._make(row)


def _read_own_system() -> int:
    with connection.cursor() as cursor:
        cursor.execute(statements.READ_SERVER)
        return Server._make(cursor.fetchone()).system


def _connect(url: str) -> psycopg.Connection[Any]:
    if not urlsplit(url).scheme.startswith("postgres"):
        raise MoveRefused(
            "Say the URL of the standby: postgresql://user:password@host:5432/name"
        )
    return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT)
