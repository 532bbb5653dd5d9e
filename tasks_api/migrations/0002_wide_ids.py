"""The ids that each new task draws have 64 bits, and so has the version of a task.

With 32 bits, 1,000 new tasks a second use the ids up in 25 days, and then none can be stored.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

BEAT = "django_celery_beat"
CLOCKED, INTERVAL, CRONTAB, SOLAR, PERIODIC = (
    f"{BEAT}_{name}"
    for name in (
        "clockedschedule",
        "intervalschedule",
        "crontabschedule",
        "solarschedule",
        "periodictask",
    )
)
# The first lock stops nobody but autovacuum, which gives way after a second. The second
# lock stops everybody. Its waits for six tables end before PostgreSQL looks for deadlocks,
# after a second, and would end a transaction that holds one table and needs another.
# `migrate` tries again.
LOCK = """
    SET LOCAL lock_timeout = '5s';
    LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;
    SET LOCAL lock_timeout = '150ms';
    LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE;
"""
# PostgreSQL counts the rows of a table that it rewrites. On a new installation, plans made
# for the one row of housekeeping would read the whole table for each of a million tasks.
TAKE_OUT = f"""
    CREATE TEMPORARY TABLE taken_out ON COMMIT DROP AS
        SELECT * FROM {PERIODIC} WHERE NOT EXISTS (SELECT FROM tasks_api_task);
    DELETE FROM {PERIODIC} WHERE id IN (SELECT id FROM taken_out);
    SET CONSTRAINTS ALL IMMEDIATE;
"""  # noqa: S608 (names of tables)
PUT_BACK = f"INSERT INTO {PERIODIC} SELECT * FROM taken_out;"  # noqa: S608 (names of tables)
# PostgreSQL forgets what it knew about the values of columns that it rewrites.
ANALYZE = f"""
    DO $$ BEGIN
        IF EXISTS (SELECT FROM tasks_api_task) THEN
            ANALYZE {CLOCKED}, {PERIODIC}, tasks_api_task;
        END IF;
    END $$
"""


class RunTransaction(migrations.RunSQL):
    """SQL in a transaction of its own, which is not undone and may be run again."""

    atomic = True


def run(*statements: str) -> RunTransaction:
    return RunTransaction("\n".join(statements), migrations.RunSQL.noop)


def lock(*tables: str) -> str:
    return LOCK.format(tables=", ".join(tables))


def widen(table: str, *columns: str) -> str:
    """SQL that rewrites a table with columns of 64 bits, unless it has them."""
    changes = ", ".join(f"ALTER COLUMN {name} TYPE bigint" for name in columns)
    return f"ALTER TABLE {table} {changes};"


def widen_id(table: str, *more_columns: str) -> str:
    return f"""
        {widen(table, "id", *more_columns)}
        ALTER SEQUENCE {table}_id_seq AS bigint;
    """


# Tasks share these rows, so their ids last for 2,147,483,647 different schedules. The
# release before has prepared statements that return the ids, and PostgreSQL refuses those
# once the type has changed. An installation without tasks has no release before.
WIDEN_SHARED = f"""
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM tasks_api_task) THEN
            {widen_id(INTERVAL)}
            {widen_id(CRONTAB)}
        END IF;
    END $$;
"""


class AlterBeatState(migrations.SeparateDatabaseAndState):
    """Change what the migrations say of django-celery-beat's models."""

    def state_forwards(self, app_label: str, state: Any) -> None:
        super().state_forwards(BEAT, state)


def wide_id(model: str) -> migrations.AlterField:
    field = models.BigAutoField(
        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
    )
    return migrations.AlterField(model, "id", field)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("tasks_api", "0001_initial"),
    ]

    operations = [
        # The service waits for one table at a time. Tables that a foreign key links to it
        # are locked with it.
        run(lock(PERIODIC, CLOCKED), widen_id(CLOCKED)),
        run(
            lock(PERIODIC, CLOCKED, INTERVAL, CRONTAB, SOLAR, "tasks_api_task"),
            TAKE_OUT,
            WIDEN_SHARED,
            widen_id(SOLAR),
            widen_id(PERIODIC, "clocked_id", "interval_id", "crontab_id", "solar_id"),
            PUT_BACK,
        ),
        run(
            lock(PERIODIC, "tasks_api_task"),
            widen(
                "tasks_api_task",
                "periodic_task_id",
                "solar_id",
                "version",
            ),
        ),
        run(
            lock("tasks_api_schedulechange"),
            widen("tasks_api_schedulechange", "solar_id"),
        ),
        run(ANALYZE),
        AlterBeatState(
            state_operations=[
                wide_id("clockedschedule"),
                wide_id("intervalschedule"),
                wide_id("crontabschedule"),
                wide_id("solarschedule"),
                wide_id("periodictask"),
            ]
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "task",
                    "solar_id",
                    models.BigIntegerField(editable=False, null=True),
                ),
                migrations.AlterField(
                    "task",
                    "version",
                    models.PositiveBigIntegerField(
                        db_default=1, default=1, editable=False
                    ),
                ),
                migrations.AlterField(
                    "schedulechange",
                    "solar_id",
                    models.BigIntegerField(editable=False, null=True),
                ),
            ]
        ),
    ]
