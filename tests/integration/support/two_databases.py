"""A second database beside that of the tests, to which tenants move."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.db import connection
from psycopg import sql

from tasks_api.moving import databases, numbering


def url_of(name: str) -> str:
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def _own_name() -> str:
    return str(connection.settings_dict["NAME"])


def own_url() -> str:
    return url_of(_own_name())


class OtherDatabase:
    """A database with our tables, where this thread can work as if it were ours."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def here(self) -> Iterator[None]:
        with (
            databases.open_database(self.url) as wrapper,
            databases.as_default(wrapper),
        ):
            yield

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as session:
            return session.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url) as session:
            session.execute(statement.encode())


def _name_beside(name: str) -> str:
    """Workers of pytest-xdist share the server."""
    return name + os.environ.get("PYTEST_XDIST_WORKER", "")


@contextmanager
def _server() -> Iterator[psycopg.Connection]:
    with psycopg.connect(url_of("postgres"), autocommit=True) as server:
        yield server


def _drop(server: psycopg.Connection, name: str) -> None:
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    server.execute(drop.format(sql.Identifier(name)))


def _copy(server: psycopg.Connection, source: str, to: str) -> None:
    _drop(server, to)
    # No session may be in a database that is copied.
    connection.close()
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    server.execute(copy.format(sql.Identifier(to), sql.Identifier(source)))


class KeptDatabase:
    """The tests' database as it was once, to be had again sooner than its rows are made."""

    def __init__(self, name: str) -> None:
        self._name = _name_beside(name)

    def keep(self) -> None:
        with _server() as server:
            _copy(server, _own_name(), to=self._name)

    def restore(self) -> None:
        with _server() as server:
            connection.close()
            _copy(server, self._name, to=_own_name())

    def drop(self) -> None:
        with _server() as server:
            _drop(server, self._name)


@contextmanager
def other_database() -> Iterator[OtherDatabase]:
    """A copy of the tests' database, as long as that has no rows. It is dropped again."""
    name = _name_beside("other_cell")
    with _server() as server:
        _copy(server, _own_name(), to=name)
        other = OtherDatabase(url_of(name))
        with other.here():
            numbering.number_rows(1)
            with connection.cursor() as cursor:
                # As migrations make it in a database of its own.
                cursor.execute(
                    "UPDATE tasks_api_runidkey SET key = uuid_send(gen_random_uuid())"
                )
        try:
            yield other
        finally:
            _drop(server, name)
