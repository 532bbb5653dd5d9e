"""Migrations add, so that the release before goes on beside them, or say that they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    ValidateConstraint,
)
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import CharField, CheckConstraint, Field, Func, Index, Q
from django.db.models.functions import Now, Random

from scheduler_service.db.schema import CONTRACT_MARK
from tests.chaos.releases import RELEASE_BEFORE, MissingRelease, list_migrations

# The last one of each app before the rule.
BEFORE = {"tasks_api": "0001_initial", "accounts": "0001_initial"}
HARMLESS = (
    ValidateConstraint,
    ops.AlterModelManagers,
    ops.AlterModelOptions,
)
TENANT_COLUMNS = (
    "Columns that may be null are added, each in a step that can be repeated. A trigger fills "
    "them in what the release before writes, and a constraint holds what the trigger fills."
)
FILLED_IN_BATCHES = "Rows are filled a thousand at a time, each batch in a transaction that waits for no lock."
# What is no plain addition, and why the release before bears it all the same: the
# migration and the operation, and the reason.
ALLOWED: dict[tuple[str, str], str] = {
    ("tasks_api.0002_wide_ids", "RunTransaction"): (
        "Columns of 64 bits take what the release before writes, and it reads them. It "
        "waits while a table is rewritten, as docs/how-to/upgrading.md says."
    ),
    ("tasks_api.0003_history", "RunSQL"): (
        "Partitioned tables take the names of the tables of runs and attempts, with all "
        "of their columns; the old tables become partitions. A trigger refuses the one "
        "statement that would be wrong there, by which old history is deleted."
    ),
    ("tasks_api.0004_following_fire_times", "RunSQL"): (
        "Indexes of live runs, which are few, are made anew in a moment."
    ),
    ("tasks_api.0010_tenant_of_each_row", "RunTransaction"): TENANT_COLUMNS,
    ("tasks_api.0010_tenant_of_each_row", "RunPython"): FILLED_IN_BATCHES,
    ("accounts.0003_tenant_of_tokens", "RunTransaction"): TENANT_COLUMNS,
    ("accounts.0003_tenant_of_tokens", "RunPython"): FILLED_IN_BATCHES,
    ("tasks_api.0012_room_for_moves", "RunSQL"): (
        "It says how full new pages of tasks become. No row is written, and no reader or "
        "writer is held up."
    ),
    ("accounts.0008_routable_tokens", "AlterField"): (
        "The audit log takes longer prefixes. No row is written, the release before reads "
        "prefixes of any length, and no prepared statement returns one."
    ),
    ("accounts.0007_frozen_tenants", "RunSQL"): (
        "A trigger refuses entries of the audit log of tenants that move, and no other."
    ),
    ("tasks_api.0029_parked_tasks_and_runs", "RunSQL"): (
        "A partition is attached that has no rows, beside reads and writes of the others, "
        "and new columns are sampled as the others are."
    ),
    ("tasks_api.0031_split_of_a_cell", "RunSQL"): (
        "A trigger is made and disabled at once. It is enabled only while a cell is split."
    ),
    ("tasks_api.0027_smaller_samples_of_tasks", "RunSQL"): (
        "It says how many rows of tasks ANALYZE reads. No row is written, and no reader or "
        "writer is held up."
    ),
    ("tasks_api.0018_runs_in_lanes", "RunSQL"): (
        "Indexes of live runs, which are few, are made anew in a moment."
    ),
}


def later_migrations(loader: MigrationLoader) -> list[Migration]:
    return [
        migration
        for (app, name), migration in sorted(loader.disk_migrations.items())
        if app in BEFORE and name > BEFORE[app]
    ]


LATER = later_migrations(MigrationLoader(None))


ADDED_COLUMNS = {
    (op.model_name_lower, op.name_lower)
    for migration in LATER
    for op in migration.operations
    if isinstance(op, ops.AddField)
}


def is_writable_without(field: Field) -> bool:  # type: ignore[type-arg]  # of any type
    """Whether rows can be written by who does not know the column."""
    return bool(field.null or field.has_db_default() or field.many_to_many)


def is_added_at_once(field: Field) -> bool:  # type: ignore[type-arg]  # of any type
    """Whether PostgreSQL need not compute a value for each row that is there."""
    return not isinstance(field.db_default, Func) or isinstance(field.db_default, Now)


def may_be_broken_by_old_rows(op: AddConstraintNotValid) -> bool:
    """Whether a constraint names only columns that the release before writes.

    A new column has its default in the rows of the release before, with which the
    constraint has to hold.
    """
    assert isinstance(op.constraint, CheckConstraint)
    names = Q(op.constraint.condition).referenced_base_fields
    return ADDED_COLUMNS.isdisjoint((op.model_name_lower, name) for name in names)


def breaking_operations(
    migration: Migration, operations: Sequence[Operation]
) -> Iterator[str]:
    """The operations that the release before does not bear, or that stop it for long."""
    fresh = {op.name_lower for op in operations if isinstance(op, ops.CreateModel)}
    for op in operations:
        if isinstance(op, ops.SeparateDatabaseAndState):
            yield from breaking_operations(migration, op.database_operations)
        elif isinstance(op, AddIndexConcurrently | RemoveIndexConcurrently):
            if migration.atomic:
                yield type(op).__name__
        elif isinstance(op, AddConstraintNotValid) and op.model_name_lower not in fresh:
            if may_be_broken_by_old_rows(op):
                yield type(op).__name__
        elif (
            isinstance(op, (*HARMLESS, ops.CreateModel))
            or getattr(op, "model_name_lower", None) in fresh
            or (
                isinstance(op, ops.AddField)
                and is_writable_without(op.field)
                and is_added_at_once(op.field)
            )
        ):
            continue
        else:
            yield type(op).__name__


def checks(condition: Q) -> CheckConstraint:
    return CheckConstraint(name="planted", condition=condition)


@pytest.mark.parametrize("migration", LATER, ids=str)
def test_a_migration_adds_or_says_that_it_takes_away(migration: Migration) -> None:
    if CONTRACT_MARK in migration.name:
        return

    found = set(breaking_operations(migration, migration.operations))

    assert {name for name in found if (str(migration), name) not in ALLOWED} == set()


@pytest.mark.parametrize(
    ("operation", "is_refused"),
    [
        (ops.RemoveField("task", "name"), True),
        (ops.RenameField("task", "name", "title"), True),
        (ops.AlterField("task", "name", CharField(max_length=9)), True),
        (ops.AddField("task", "hue", CharField(max_length=9)), True),
        (ops.AddField("task", "hue", CharField(null=True)), False),
        (ops.AddField("task", "hue", CharField(db_default="red")), False),
        (ops.AddField("task", "hue", CharField(db_default=Random())), True),
        (AddConstraintNotValid("task", checks(~Q(name=""))), True),
        (AddConstraintNotValid("task", checks(Q(is_parked=False))), False),
        (ops.AddIndex("task", Index(fields=["name"], name="by_name")), True),
    ],
    ids=lambda each: each.describe() if isinstance(each, Operation) else "",
)
def test_the_rule_refuses_what_the_release_before_does_not_bear(
    operation: Operation, is_refused: bool
) -> None:
    migration = Migration("0099_planted", "tasks_api")

    assert bool(list(breaking_operations(migration, [operation]))) == is_refused


def test_what_is_allowed_is_there() -> None:
    found = {
        (str(migration), name)
        for migration in LATER
        for name in breaking_operations(migration, migration.operations)
    }

    assert ALLOWED.keys() <= found


def migrations_of_release_before() -> list[tuple[str, str]]:
    try:
        return list_migrations(RELEASE_BEFORE, *BEFORE)
    except MissingRelease as missing:
        pytest.skip(str(missing))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "find_migrations", [lambda: list(BEFORE.items()), migrations_of_release_before]
)
def test_an_older_release_reads_and_writes_the_tables_of_this_one(
    find_migrations: Callable[[], list[tuple[str, str]]],
) -> None:
    old = MigrationLoader(None).project_state(find_migrations()).apps
    for app in BEFORE:
        for model in old.get_app_config(app).get_models(include_auto_created=True):
            columns = optional_columns(model._meta.db_table)
            known = {str(field.column): field for field in model._meta.concrete_fields}
            assert known.keys() <= columns.keys(), model
            unknown = columns.keys() - known.keys()
            assert all(columns[name] for name in unknown), (model, unknown)
            for name, field in known.items():
                # What it writes as null, or leaves out, may still be so.
                assert not field.null or columns[name], (model, name)


def optional_columns(table: str) -> dict[str, bool]:
    """The columns of a table, and whether a row may be written without each."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT column_name, is_nullable = 'YES' OR column_default IS NOT NULL
                OR is_identity = 'YES'
            FROM information_schema.columns WHERE table_name = %s
            """,
            [table],
        )
        return dict(cursor.fetchall())
