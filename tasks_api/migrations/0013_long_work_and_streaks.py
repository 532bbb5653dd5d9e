"""Runs that their targets are at work on, and failed runs in a row."""

from __future__ import annotations

from django.db import migrations, models

import tasks_api.domain.specs


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_api", "0012_schedule_changes_and_redrives"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="failure_streak",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="task",
            name="pause_after_failures",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="run",
            name="state",
            field=models.CharField(
                choices=[
                    ("pending", "Pending"),
                    ("running", "Running"),
                    ("open", "Open"),
                    ("retrying", "Retrying"),
                    ("succeeded", "Succeeded"),
                    ("failed", "Failed"),
                    ("skipped", "Skipped"),
                    ("missed", "Missed"),
                    ("cancelled", "Cancelled"),
                ],
                default="pending",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="surface",
            field=models.CharField(
                choices=[
                    (
                        tasks_api.domain.specs.Surface["TASKS"],
                        tasks_api.domain.specs.Surface["TASKS"],
                    ),
                    (
                        tasks_api.domain.specs.Surface["CRON_JOBS"],
                        tasks_api.domain.specs.Surface["CRON_JOBS"],
                    ),
                    (
                        tasks_api.domain.specs.Surface["TIMERS"],
                        tasks_api.domain.specs.Surface["TIMERS"],
                    ),
                    (
                        tasks_api.domain.specs.Surface["REST_JOBS"],
                        tasks_api.domain.specs.Surface["REST_JOBS"],
                    ),
                    (
                        tasks_api.domain.specs.Surface["NOTICES"],
                        tasks_api.domain.specs.Surface["NOTICES"],
                    ),
                ],
                max_length=12,
            ),
        ),
    ]
