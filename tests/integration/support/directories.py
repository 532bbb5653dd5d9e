"""A directory of several cells, as a database beside the one of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo


@contextmanager
def made_database() -> Iterator[str]:
    """The URL of an empty database on the server of the tests."""
    connection.ensure_connection()
    info = connection.connection.info
    known = {
        "host": info.host,
        "port": str(info.port),
        "user": info.user,
        "password": info.password,
    }
    name = f"directory_{uuid4().hex}"
    admin = make_conninfo(dbname="postgres", **known)
    with psycopg.connect(admin, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(dbname=name, **known)
        finally:
            session.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
