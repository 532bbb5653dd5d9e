"""Django's `migrate`, which may run in several places at once, and the default tenant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from psycopg.errors import DeadlockDetected, LockNotAvailable

from accounts import audit
from accounts.services import AccountError, configure_tenant
from scheduler_service.db import locks
from scheduler_service.db.direct import direct_as_default
from scheduler_service.db.locks import LockKind
from scheduler_service.db.poolers import SharedSessions
from scheduler_service.db.server_statements import FIND_OLDEST_TRANSACTION
from scheduler_service.db.statements import fetch_all
from scheduler_service.db.timeouts import without_limits

DEFAULT_TENANT = "default"
# Seconds that a migration waits for a lock, while later statements wait behind it.
LOCK_TIMEOUT = 2.0
# Seconds until it tries again, in which those statements run.
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
            help="Seconds to wait for a database that does not answer yet.",
        )
        parser.add_argument(
            "--lock-patience",
            type=float,
            default=300.0,
            metavar="SECONDS",
            help="Seconds to retry while another transaction holds a lock that is needed.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with direct_as_default():
            self._migrate(*args, **options)

    def _migrate(self, *args: Any, **options: Any) -> None:
        connection = self._connection = connections[options["database"]]
        wait_for_database(connection, options["wait"])
        with without_limits(connection), hold_migration_lock(connection):
            self._apply(connection, options["lock_patience"], *args, **options)
            # The tables may be of another release if only some migrations were asked for.
            if not (
                options["app_label"] or options["plan"] or options["check_unapplied"]
            ):
                provision_default_tenant()

    def _apply(
        self,
        connection: BaseDatabaseWrapper,
        timeout: float,
        *args: Any,
        **options: Any,
    ) -> None:
        """Migrate; release all locks and retry while another transaction holds one."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                super().handle(*args, **options)
                return
            except OperationalError as error:
                # In a deadlock, the others hold one lock and wait for one of ours.
                if not isinstance(error.__cause__, LockNotAvailable | DeadlockDetected):
                    raise
                held = f"{self._migration} needs a lock that others hold"
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"{held}, for {timeout:g} s now. Nothing of it is applied; "
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
            # An index that is built concurrently blocks no other statement while it waits.
            set_lock_timeout(
                self._connection, LOCK_TIMEOUT if migration.atomic else 0.0
            )
        super().migration_progress_callback(action, migration, fake)


def set_lock_timeout(connection: BaseDatabaseWrapper, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{seconds}s"])


class OldestTransaction(NamedTuple):
    pid: int
    client: str
    seconds: int


def describe_oldest_transaction(connection: BaseDatabaseWrapper) -> str:
    """A sentence about the transaction that has been open for longest."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_OLDEST_TRANSACTION)
        rows = fetch_all(cursor, OldestTransaction)
    if not rows:
        return "Nobody has a transaction open now."
    oldest = rows[0]
    return (
        f"The oldest transaction is that of process {oldest.pid} ({oldest.client}), "
        f"for {oldest.seconds} s."
    )


def provision_default_tenant() -> None:
    """Configure the tenant "default" with SECRET and ENDPOINT, if they are set."""
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


def wait_for_database(connection: BaseDatabaseWrapper, timeout: float = 0.0) -> None:
    deadline = time.monotonic() + timeout
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
    """Hold a lock that the database releases if this process dies."""
    # A statement that waited would keep a snapshot open, and CREATE INDEX CONCURRENTLY
    # would wait for that. So ask again and again.
    while not locks.try_acquire_for_session(connection, LockKind.MIGRATION):
        time.sleep(0.2)
    try:
        yield
    finally:
        if connection.is_usable():
            locks.release(connection, LockKind.MIGRATION)
