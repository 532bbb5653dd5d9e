"""The indexes that find the schedules that changed or ended in or after an hour."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # PostgreSQL builds an index beside writers only outside of transactions.
    atomic = False

    dependencies = [("tasks_api", "0008_hour_rollups")]

    operations = [
        AddIndexConcurrently(
            model_name="schedulechange",
            index=models.Index(fields=["at"], name="change_by_time"),
        ),
        AddIndexConcurrently(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False), ("is_one_off", False)),
                fields=["tenant", "ended_at"],
                name="task_recurring_ended",
            ),
        ),
    ]
