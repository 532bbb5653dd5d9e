"""What schedules were before they changed, and which run sends which one again."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_audit_is_append_only"),
        ("tasks_api", "0011_manage_at_scale"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScheduleChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("at", models.DateTimeField()),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("paused", "Paused"),
                            ("resumed", "Resumed"),
                            ("edited", "Edited"),
                            ("replaced", "Replaced"),
                            ("removed", "Removed"),
                            ("over", "Over"),
                            ("broken", "Broken"),
                        ],
                        max_length=10,
                    ),
                ),
                ("plan", models.TextField()),
                ("cron_seconds", models.TextField(blank=True)),
                ("cron_years", models.TextField(blank=True)),
                ("dst", models.CharField(blank=True, max_length=20)),
                ("spread_offset", models.PositiveIntegerField(default=0)),
                ("open_from", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="run",
            name="redrive_of",
            field=models.UUIDField(null=True),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                models.F("tenant"),
                models.OrderBy(models.F("scheduled_for"), descending=True),
                condition=models.Q(
                    ("state__in", ["cancelled", "failed", "missed", "skipped"])
                ),
                name="run_not_delivered",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("redrive_of__isnull", False)),
                fields=["redrive_of"],
                name="run_redriven",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("finished_at", None), ("redrive_of__isnull", False)
                ),
                fields=("redrive_of",),
                name="run_redriven_once_at_a_time",
            ),
        ),
        migrations.AddField(
            model_name="schedulechange",
            name="task",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="schedule_changes",
                to="tasks_api.task",
            ),
        ),
        migrations.AddIndex(
            model_name="schedulechange",
            index=models.Index(fields=["task", "id"], name="change_of_task"),
        ),
        migrations.AddIndex(
            model_name="schedulechange",
            index=models.Index(
                condition=models.Q(("open_from__isnull", False)),
                fields=["id"],
                name="change_is_open",
            ),
        ),
    ]
