"""Tasks know the fire times after the next one, and workers find the runs that wait."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.contrib.postgres.operations import (
    AddIndexConcurrently,
    RemoveIndexConcurrently,
)
from django.db import migrations, models
from django.db.models import Q

# Live runs are few, so their indexes are made at once.
INDEX_LIVE_RUNS = """
    DROP INDEX IF EXISTS run_waits;
    CREATE INDEX run_waits ON tasks_api_run_live (wake_at)
        WHERE state IN ('pending', 'retrying') AND NOT is_next;
    CREATE INDEX run_waits_of_tenant ON tasks_api_run_live (tenant_id, wake_at)
        WHERE state IN ('pending', 'retrying') AND NOT is_next;
    CREATE INDEX run_held ON tasks_api_run_live (wake_at)
        WHERE state IN ('running', 'open') OR is_next;
"""
IS_WAITING = Q(("is_next", False), ("state__in", ["pending", "retrying"]))
IS_HELD = Q(("state__in", ["running", "open"]), ("is_next", True), _connector="OR")


class Migration(migrations.Migration):
    # Indexes of tasks are made and dropped without a lock on the table.
    atomic = False

    dependencies = [("tasks_api", "0003_history")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="following_fire_times",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.DateTimeField(),
                editable=False,
                null=True,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="following_version",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="following_rules",
            field=models.TextField(db_default="", default="", editable=False),
        ),
        RemoveIndexConcurrently(model_name="task", name="task_due_exactly"),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(("is_one_off", False), ("next_fire_at__isnull", False)),
                fields=["next_fire_at"],
                name="task_due_again",
            ),
        ),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(INDEX_LIVE_RUNS)],
            [
                migrations.RemoveIndex("run", "run_waits"),
                *(
                    migrations.AddIndex("run", index)
                    for index in (
                        models.Index(
                            condition=IS_WAITING, fields=["wake_at"], name="run_waits"
                        ),
                        models.Index(
                            condition=IS_WAITING,
                            fields=["tenant", "wake_at"],
                            name="run_waits_of_tenant",
                        ),
                        models.Index(
                            condition=IS_HELD, fields=["wake_at"], name="run_held"
                        ),
                    )
                ),
            ],
        ),
    ]
