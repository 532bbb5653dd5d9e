"""Gaps in the heartbeats of workers and beats are kept: they say why a run was late."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0024_quotas_and_bounds")]

    operations = [
        migrations.CreateModel(
            name="HeartbeatGap",
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
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("worker", "Worker"),
                            ("beat", "Beat"),
                            ("broker", "Broker"),
                        ],
                        max_length=10,
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "is_survived",
                    models.BooleanField(db_default=False, default=False),
                ),
                (
                    "is_restart",
                    models.BooleanField(db_default=False, default=False),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=Q(("ended_at__isnull", False)),
                        fields=["ended_at"],
                        name="gap_by_end",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(("ended_at", None)),
                        fields=("kind",),
                        name="gap_open_once_per_kind",
                    )
                ],
            },
        ),
    ]
