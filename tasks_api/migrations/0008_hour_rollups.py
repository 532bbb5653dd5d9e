"""Hourly sums of runs and planned fire times, how far they go, and late runs."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


def _tenant() -> models.ForeignKey:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.CASCADE,
        related_name="+",
        to="accounts.tenant",
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("tasks_api", "0006_channels"),
    ]

    operations = [
        migrations.CreateModel(
            name="RollupProgress",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.tenant",
                    ),
                ),
                ("closed_from", models.DateTimeField()),
                ("closed_until", models.DateTimeField()),
                ("ended_until", models.DateTimeField()),
            ],
            options={"verbose_name_plural": "rollup progress"},
        ),
        migrations.CreateModel(
            name="HourRollup",
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
                ("owner_id", models.BigIntegerField()),
                ("hour", models.DateTimeField()),
                ("counts", models.JSONField()),
                ("tenant", _tenant()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "owner_id", "hour"),
                        name="rollup_once_per_hour",
                    )
                ]
            },
        ),
        migrations.CreateModel(
            name="LateRun",
            fields=[
                ("run_id", models.UUIDField(primary_key=True, serialize=False)),
                ("task_id", models.UUIDField()),
                ("hour", models.DateTimeField()),
                ("counted_at", models.DateTimeField(null=True)),
                ("tenant", _tenant()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("counted_at", None)),
                        fields=["tenant", "hour"],
                        name="late_run_to_count",
                    ),
                    models.Index(fields=["task_id"], name="late_run_of_task"),
                ]
            },
        ),
    ]
