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
from django.db.migrations import Migration
from psycopg.errors import LockNotAvailable

from accounts import audit
from accounts.services import AccountError, configure_tenant
from scheduler_service.db import locks
from scheduler_service.db.locks import LockKind
from scheduler_service.db.poolers import SharedSessions
from scheduler_service.db.timeouts import without_limits

DEFAULT_TENANT = "default"
# Seconds that a migration waits for a lock, while all that comes after it waits for it.
LOCK_TIMEOUT = 2.0
# And how long it then lets everybody pass.
RETRY_INTERVAL = 1.0


class Command(migrate.Command):
    _migration = "a migration"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="Wait so long for a database that does not answer yet.",
        )
        parser.add_argument(
            "--lock-patience",
            type=float,
            default=300.0,
            metavar="SECONDS",
            help="Try again for so long where others hold a lock that is needed.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = self._connection = connections[options["database"]]
        wait_for_database(connection, options["wait"])
        with without_limits(connection), hold_migration_lock(connection):
            self._apply(connection, options["lock_patience"], *args, **options)
            # Not when the tables of some other point in time were asked for.
            if not (
                options["app_label"] or options["plan"] or options["check_unapplied"]
            ):
                provision_default_tenant()

    def _apply(
        self,
        connection: BaseDatabaseWrapper,
        patience: float,
        *args: Any,
        **options: Any,
    ) -> None:
        """Migrate, and where somebody holds a lock that is needed, let go and try again."""
        deadline = time.monotonic() + patience
        while True:
            try:
                super().handle(*args, **options)
                return
            except OperationalError as error:
                if not isinstance(error.__cause__, LockNotAvailable):
                    raise
                held = f"{self._migration} needs a lock that others hold"
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"{held}, for {patience:g} s now. Nothing of it is applied; "
                        f"start again when they are done. {describe_oldest_transaction(connection)}"
                    ) from error
                self.stderr.write(
                    f"{held}; it is tried again. {describe_oldest_transaction(connection)}"
                )
            time.sleep(RETRY_INTERVAL)

    def migration_progress_callback(
        self, action: str, migration: Migration | None = None, fake: bool = False
    ) -> None:
        if action in {"apply_start", "unapply_start"} and migration is not None:
            self._migration = str(migration)
            # What is built concurrently is in nobody's way while it waits.
            set_lock_timeout(
                self._connection, LOCK_TIMEOUT if migration.atomic else 0.0
            )
        super().migration_progress_callback(action, migration, fake)


def set_lock_timeout(connection: BaseDatabaseWrapper, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{seconds}s"])


def describe_oldest_transaction(connection: BaseDatabaseWrapper) -> str:
    """Whose transaction has been open for longest, in a sentence."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pid, coalesce(nullif(application_name, ''), 'a client'),
                extract(epoch FROM clock_timestamp() - xact_start)::int
            FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND xact_start IS NOT NULL
            ORDER BY xact_start LIMIT 1
            """
        )
        row = cursor.fetchone()
    if row is None:
        return "Nobody has a transaction open now."
    pid, name, seconds = row
    return f"The oldest transaction is that of process {pid} ({name}), for {seconds} s."


def provision_default_tenant() -> None:
    """Give the tenant "default" what SECRET and ENDPOINT say, if they say anything."""
    if not (settings.SECRET or settings.ENDPOINT):
        return
    try:
        with audit.acting_as(audit.COMMAND_LINE):
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
            if isinstance(error.__cause__, SharedSessions):
                raise CommandError(str(error)) from error
            if time.monotonic() > deadline:
                reason = str(error).strip().splitlines()[0]
                raise CommandError(
                    f"The database of DATABASE_URL does not answer: {reason}"
                ) from error
        time.sleep(0.2)


@contextmanager
def hold_migration_lock(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Hold a lock of the database, which it takes back should we die."""
    # Asking again, instead of waiting inside one statement, keeps no snapshot open that
    # CREATE INDEX CONCURRENTLY would wait for.
    while not locks.try_acquire_for_session(connection, LockKind.MIGRATION):
        time.sleep(0.2)
    try:
        yield
    finally:
        if connection.is_usable():
            locks.release(connection, LockKind.MIGRATION)
