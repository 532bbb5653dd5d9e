"""ANALYZE reads a small sample of tasks, because it comes often."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

MIGRATION = import_module("tasks_api.migrations.0027_smaller_samples_of_tasks")

# The column with the largest target decides how many rows are read. Null is the default,
# which is larger. A migration that adds a column sets its target, as 0027 does.
FIND_OTHER_TARGETS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = 'tasks_api_task'::regclass AND attnum > 0 AND NOT attisdropped
        AND coalesce(attstattarget, -1) NOT BETWEEN 0 AND %s
"""


@pytest.mark.django_db
def test_no_column_of_tasks_asks_for_a_large_sample() -> None:
    with connection.cursor() as cursor:
        cursor.execute(FIND_OTHER_TARGETS, [MIGRATION.TARGET])
        assert cursor.fetchall() == []
