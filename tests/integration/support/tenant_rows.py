"""Which rows belong to which tenant, and whether that is the tenant of what they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from django.apps import apps
from django.db import connection, models

from accounts.models import Tenant, User
from tasks_api.models import (
    FurtherAttempt,
    HourRollup,
    Lane,
    LateRun,
    PendingNotice,
    Run,
    Task,
)


class Reference(NamedTuple):
    """A column that names a row of another table, which must be of the same tenant."""

    table: str
    column: str
    parent: str


# Columns that name rows without a foreign key.
BARE_REFERENCES = (
    (FurtherAttempt, "run_id", Run),
    (HourRollup, "owner_id", User),
    (LateRun, "run_id", Run),
    (LateRun, "task_id", Task),
    (PendingNotice, "run_id", Run),
    (Run, "lane_id", Lane),
    (Run, "redrive_of", Run),
)
COUNT_STRAYS = """
    SELECT '{table}', '{column}', count(*)
    FROM {table} child JOIN {parent} parent ON parent.id = child.{column}
    WHERE child.tenant_id IS DISTINCT FROM parent.tenant_id
"""
COUNT_ROWS = "SELECT tenant_id, '{table}', count(*) FROM {table} GROUP BY tenant_id"


def has_tenant(model: type[models.Model]) -> bool:
    return "tenant_id" in {field.attname for field in model._meta.concrete_fields}


MODELS = [model for model in apps.get_models() if has_tenant(model)]
TABLES = sorted(model._meta.db_table for model in MODELS)


def list_references() -> Iterator[Reference]:
    for model in MODELS:
        for field in model._meta.concrete_fields:
            parent = field.related_model
            if isinstance(parent, type) and parent is not Tenant and parent in MODELS:
                yield _refer(model, field.attname, parent)
    for model, column, parent in BARE_REFERENCES:
        yield _refer(model, column, parent)


def _refer(
    model: type[models.Model], column: str, parent: type[models.Model]
) -> Reference:
    return Reference(model._meta.db_table, column, parent._meta.db_table)


def find_strays() -> dict[tuple[str, str], int]:
    """References to rows of another tenant, by table and column, and how many there are."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_STRAYS)
        return {
            (table, column): size for table, column, size in cursor.fetchall() if size
        }


def count_rows() -> Counter[tuple[int, str]]:
    """The rows in each table, by tenant and table."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_ALL_ROWS)
        return Counter({(tenant, table): size for tenant, table, size in cursor})


FIND_STRAYS = " UNION ALL ".join(
    COUNT_STRAYS.format_map(each._asdict()) for each in list_references()
)
COUNT_ALL_ROWS = " UNION ALL ".join(COUNT_ROWS.format(table=each) for each in TABLES)
