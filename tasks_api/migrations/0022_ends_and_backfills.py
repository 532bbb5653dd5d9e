"""Recurring tasks may end after some runs or a success, and runs may be backfills."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0021_rules")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="max_runs",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="runs_made",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="task",
            name="stop_on_success",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="backfill_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="in_turn",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
