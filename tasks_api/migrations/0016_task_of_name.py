"""Find tasks by the beginning of their names, across tenants."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_api", "0015_end_is_written")]

    operations = [
        AddIndexConcurrently(
            "task",
            models.Index(
                fields=["name"],
                opclasses=["varchar_pattern_ops"],
                name="task_of_name",
                condition=~models.Q(name=""),
            ),
        )
    ]
