"""A database with the tables of a release before, which is migrated to this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.acceptance.harness import ROOT


class OldDatabase:
    """A database with the tables of the release before, and later those of this one."""

    def __init__(self, url: str) -> None:
        self.environment = os.environ | {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "scheduler_service.settings",
        }
        self.url = url
        self.session = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self.session.close()

    def migrate(self, *options: str) -> None:
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0", *options]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True, timeout=120)

    def read(self, statement: str, **parts: str) -> list[tuple[object, ...]]:
        for name, part in parts.items():
            statement = statement.replace(f"{{{name}}}", part)
        return self.session.execute(statement.encode()).fetchall()


@contextmanager
def make_database(name: str, *, template: str = "template1") -> Iterator[str]:
    """The URL of a database like its template, which has no tables of ours by default.

    It is dropped afterwards. No session may be in the template.
    """
    base = os.environ["DATABASE_URL"]
    # Workers of pytest-xdist share the server.
    name += os.environ.get("PYTEST_XDIST_WORKER", "")
    made, copied = sql.Identifier(name), sql.Identifier(template)
    with psycopg.connect(base, autocommit=True) as server:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(made)
        server.execute(drop)
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        server.execute(create.format(made, copied))
        yield base.replace(urlsplit(base).path, f"/{name}", 1)
        server.execute(drop)
