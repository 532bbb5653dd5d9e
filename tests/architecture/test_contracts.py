"""A contract takes away only what the release before does not use any more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import CharField

from scheduler_service.db.schema import CONTRACT_MARK
from tests.architecture.folders import PACKAGES
from tests.chaos.releases import RELEASE_BEFORE, MissingRelease, is_used_in

SQL_THAT_TAKES_AWAY = re.compile(
    r"\b(?:DROP (?:TABLE|COLUMN)|RENAME(?: COLUMN)?|ALTER COLUMN)(?: IF EXISTS)? (?!TO\b)(\w+)",
    re.IGNORECASE,
)
# What the release before names and does without all the same: the contract and the name,
# and the reason.
BORNE: dict[tuple[str, str], str] = {}


def names_taken_away(operations: Sequence[Operation]) -> Iterator[str]:
    """The names of columns and tables that are removed, renamed or narrowed."""
    for op in operations:
        match op:
            case ops.SeparateDatabaseAndState():
                yield from names_taken_away(op.database_operations)
            case ops.RemoveField() | ops.AlterField():
                yield from (op.name, f"{op.name}_id")
            case ops.RenameField():
                yield from (op.old_name, f"{op.old_name}_id")
            case ops.DeleteModel():
                yield op.name
            case ops.RenameModel():
                yield op.old_name
            case ops.RunSQL():
                yield from SQL_THAT_TAKES_AWAY.findall(str(op.sql))


def names_in_use(contract: str, operations: Sequence[Operation]) -> list[str]:
    """What a contract takes away although the release before uses it."""
    paths = [*PACKAGES, ":(exclude)*/migrations/*"]
    try:
        return [
            name
            for name in names_taken_away(operations)
            if (contract, name) not in BORNE
            and is_used_in(RELEASE_BEFORE, name, *paths)
        ]
    except MissingRelease as missing:
        pytest.skip(str(missing))


def test_a_contract_leaves_what_the_release_before_uses() -> None:
    contracts = {
        str(migration): names_in_use(str(migration), migration.operations)
        for (app, name), migration in MigrationLoader(None).disk_migrations.items()
        if app in PACKAGES and CONTRACT_MARK in name
    }

    assert {name: used for name, used in contracts.items() if used} == {}


@pytest.mark.parametrize(
    ("operation", "used"),
    [
        (ops.RemoveField("task", "url"), ["url"]),
        (ops.RemoveField("task", "colour_of_it"), []),
        (ops.RenameField("task", "next_fire_at", "due_at"), ["next_fire_at"]),
        (ops.AlterField("task", "url", CharField(max_length=9)), ["url"]),
        (ops.DeleteModel("Task"), ["Task"]),
        (ops.RunSQL("DROP TABLE tasks_api_task"), ["tasks_api_task"]),
        (ops.RunSQL("ALTER TABLE x DROP COLUMN IF EXISTS lane_id"), ["lane_id"]),
        (ops.RunSQL("ALTER TABLE x RENAME COLUMN colour_of_it TO url"), []),
    ],
    ids=lambda each: each.describe() if isinstance(each, Operation) else "",
)
def test_what_the_release_before_uses_is_found(
    operation: Operation, used: list[str]
) -> None:
    assert names_in_use("tasks_api.0099_contract_planted", [operation]) == used
