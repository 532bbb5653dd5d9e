"""What the rollups need so that a round costs no more with very many tenants."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan


class Migration(migrations.Migration):
    # Indexes are made without a lock on the table.
    atomic = False

    dependencies = [("tasks_api", "0027_smaller_samples_of_tasks")]

    operations = [
        migrations.CreateModel(
            name="RollupSearch",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(primary_key=True, serialize=False),
                ),
                ("ended_until", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "rollup searches",
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(("id", 1)), name="rollup_search_is_one"
                    )
                ],
            },
        ),
        AddIndexConcurrently(
            "rollupprogress",
            models.Index(fields=["closed_until"], name="rollup_behind"),
        ),
        AddIndexConcurrently(
            "laterun",
            models.Index(
                condition=Q(("counted_at__isnull", False)),
                fields=["counted_at"],
                name="late_run_counted",
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(
                    GreaterThan(
                        F("ended_at") - Coalesce("once_at", "last_fire_at"),
                        timedelta(minutes=1),
                    ),
                    ("is_one_off", True),
                ),
                fields=["ended_at"],
                name="task_ended_late",
            ),
        ),
    ]
