"""Tasks know the fire times after the next one, so that a statement can move a cron on."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.contrib.postgres.operations import (
    RemoveIndexConcurrently,
)
from django.db import migrations, models


class Migration(migrations.Migration):
    # Indexes are built without a lock on the table.
    atomic = False

    dependencies = [("tasks_api", "0001_initial")]

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
    ]
