"""Have ANALYZE read a smaller sample of tasks."""

from __future__ import annotations

from django.db import migrations

# Tasks move all the time, so autovacuum analyzes them often. By default, it computes
# statistics of each of some sixty columns from 30,000 rows, texts included. A quarter of
# them is enough for the plans of all statements. A column that is added later sets its own,
# because the largest target decides how many rows are read.
TARGET = 25
DEFAULT = -1
SET_TARGETS = """
    DO $do$ BEGIN EXECUTE (
        SELECT 'ALTER TABLE tasks_api_task '
            || string_agg(format('ALTER COLUMN %I SET STATISTICS {target}', attname), ', ')
        FROM pg_attribute
        WHERE attrelid = 'tasks_api_task'::regclass AND attnum > 0 AND NOT attisdropped
    ); END $do$
"""


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0026_admission")]

    operations = [
        migrations.RunSQL(
            SET_TARGETS.replace("{target}", str(TARGET)),
            SET_TARGETS.replace("{target}", str(DEFAULT)),
        )
    ]
