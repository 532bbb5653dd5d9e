"""A migration lets others pass, and processes say where tables and code do not fit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import psycopg
import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from scheduler_service.db import schema
from scheduler_service.db.locks import LockKind, key_of
from tasks_api import tasks
from tasks_api.models import Task
from tests.acceptance.harness import eventually

pytestmark = pytest.mark.django_db(transaction=True)

# The migration that the next release may have, and the tables without it.
LAST = ("next_release", "0001_one_column_more")
TARGET = ("next_release", "zero")


@pytest.fixture(autouse=True)
def _next_release(settings: LazySettings) -> Iterator[None]:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.chaos.next_release"]
    schema._known_migrations.cache_clear()
    call_command("migrate", verbosity=0, stdout=StringIO())
    yield
    # The next test finds tables that fit, whatever this one recorded.
    MigrationRecorder.Migration.objects.filter(name__contains="_contract_").delete()
    call_command("migrate", *TARGET, verbosity=0, stdout=StringIO())
    schema._known_migrations.cache_clear()


def session() -> psycopg.Connection:
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    return psycopg.connect(**parameters)


@contextmanager
def reader() -> Iterator[psycopg.Connection]:
    """A transaction that has read a table, and is not over."""
    with session() as other:
        other.execute("SELECT * FROM tasks_api_task")
        yield other
        other.rollback()


def migration(said: StringIO) -> threading.Thread:
    def migrate() -> None:
        try:
            call_command("migrate", *TARGET, verbosity=0, stderr=said)
        finally:
            connection.close()

    return threading.Thread(target=migrate)


def count_deadlocks() -> int:
    with session() as other:
        [count] = other.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone() or (0,)
    return int(count)


def test_a_migration_that_waits_for_a_reader_lets_others_pass() -> None:
    said = StringIO()
    migrating = migration(said)
    with reader(), session() as other:
        migrating.start()
        eventually(lambda: "tried again" in said.getvalue())
        # Nobody could read while it waited, and now somebody can.
        other.execute("SET lock_timeout = '20s'")
        assert other.execute("SELECT count(*) FROM tasks_api_task").fetchone()
        other.rollback()
    migrating.join()

    assert f"{'.'.join(LAST)} needs a lock that others hold" in said.getvalue()
    assert "The oldest transaction is that of process" in said.getvalue()
    assert LAST not in MigrationRecorder(connection).applied_migrations()


def test_a_migration_is_tried_again_after_a_deadlock() -> None:
    said, before = StringIO(), count_deadlocks()
    migrating = migration(said)
    with reader() as other:
        migrating.start()
        eventually(lambda: "tried again" in said.getvalue())
        # The migration holds this lock, and waits for the reader. It finds out first.
        other.execute("SET deadlock_timeout = '60s'; SET lock_timeout = '5s'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("SELECT pg_advisory_lock(%s)", [key_of(LockKind.MIGRATION)])
    migrating.join()

    eventually(lambda: count_deadlocks() > before)
    assert LAST not in MigrationRecorder(connection).applied_migrations()


def test_a_migration_gives_up_when_its_patience_is_over() -> None:
    with (
        reader(),
        pytest.raises(CommandError, match=r"Nothing of it is applied; start again"),
    ):
        call_command(
            "migrate", *TARGET, lock_patience=0, verbosity=0, stderr=StringIO()
        )

    assert LAST in MigrationRecorder(connection).applied_migrations()
    assert Task.objects.count() == 0


def test_a_missing_migration_is_named(client: Client) -> None:
    assert schema.find_schema_problem() == ""
    call_command("migrate", *TARGET, verbosity=0)

    answer = client.get("/readyz")

    found = schema.find_schema_problem()
    assert found.startswith(f"The tables are older than this code: {'.'.join(LAST)}")
    assert found.endswith("not applied. Run `manage.py migrate`.")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "database": found}
    with pytest.raises(SystemExit, match=r"Run `manage.py migrate`"):
        tasks._check_schema()


def test_tables_that_took_something_away_are_named(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    MigrationRecorder(connection).record_applied("tasks_api", "9999_contract_bodies")

    with caplog.at_level(logging.CRITICAL):
        found = schema.log_schema_problem()

    assert found == (
        "The tables are newer than this code, and do without something that it needs: "
        "tasks_api.9999_contract_bodies is applied. Run the newer release."
    )
    assert found in caplog.text
    assert client.get("/readyz").status_code == 503


def test_tables_that_have_more_fit(client: Client) -> None:
    recorder = MigrationRecorder(connection)
    recorder.record_applied("tasks_api", "9998_more")
    recorder.record_applied("elsewhere", "9999_contract_x")

    assert schema.find_schema_problem() == ""
    assert client.get("/readyz").status_code == 200

    recorder.record_unapplied("tasks_api", "9998_more")


def test_a_database_that_does_not_answer_is_no_misfit() -> None:
    connection.close()
    host = connection.settings_dict["HOST"]
    connection.settings_dict["HOST"] = "/nowhere"
    try:
        assert schema.log_schema_problem() == ""
    finally:
        connection.settings_dict["HOST"] = host
        connection.close()
