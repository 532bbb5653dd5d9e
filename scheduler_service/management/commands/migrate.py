"""Django's `migrate`, safe to start in several places at once, with the default tenant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts import audit
from accounts.services import AccountError, configure_tenant
from scheduler_service.database import without_limits
from scheduler_service.poolers import Pooled

DEFAULT_TENANT = "default"
LOCK = 7_239_410_056  # any number that no other program on this database uses


class Command(migrate.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="Wait so long for a database that does not answer yet.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        wait_for_database(connection, options["wait"])
        with without_limits(connection), one_at_a_time(connection):
            super().handle(*args, **options)
            # Not when the tables of some other point in time were asked for.
            if not (
                options["app_label"] or options["plan"] or options["check_unapplied"]
            ):
                provision_default_tenant()


def provision_default_tenant() -> None:
    """Give the tenant "default" what SECRET and ENDPOINT say, if they say anything."""
    if not (settings.SECRET or settings.ENDPOINT):
        return
    try:
        with audit.acting(audit.COMMAND_LINE):
            configure_tenant(
                DEFAULT_TENANT,
                shared_secret=settings.SECRET or None,
                callback_url=settings.ENDPOINT or None,
            )
    except AccountError as refusal:
        raise CommandError(
            f"SECRET and ENDPOINT cannot be used: {refusal}"
        ) from refusal


def wait_for_database(connection: BaseDatabaseWrapper, patience: float = 0.0) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.ensure_connection()
            return
        except OperationalError as error:
            if isinstance(error.__cause__, Pooled):
                raise CommandError(str(error)) from error
            if time.monotonic() > deadline:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(
                    f"The database of DATABASE_URL does not answer: {reason}"
                ) from error
        time.sleep(0.2)


@contextmanager
def one_at_a_time(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold a lock of the database, which it takes back should we die."""
    with connection.cursor() as cursor:
        # Asking again, instead of waiting inside one statement, keeps no snapshot
        # open that CREATE INDEX CONCURRENTLY would wait for.
        while not _ask(cursor, "pg_try_advisory_lock"):
            time.sleep(0.2)
        try:
            yield
        finally:
            if connection.is_usable():
                _ask(cursor, "pg_advisory_unlock")


def _ask(cursor: Any, function: str) -> bool:
    cursor.execute(f"SELECT {function}(%s)", [LOCK])
    return bool(cursor.fetchone()[0])
