"""Lanes bound how fast the tasks of a target fire, and how many requests run at once."""

from __future__ import annotations

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.core.validators import MinValueValidator
from django.db import migrations, models
from django.db.models import Q

RATES = [("second", "Second"), ("minute", "Minute"), ("hour", "Hour")]
BREAKER_STATES = [("closed", "Closed"), ("open", "Open"), ("half_open", "Half Open")]


def _ceiling() -> models.PositiveIntegerField[int | None, int | None]:
    return models.PositiveIntegerField(
        blank=True, null=True, validators=[MinValueValidator(1)]
    )


class Migration(migrations.Migration):
    # The index of tasks is made without a lock on the table.
    atomic = False

    dependencies = [
        ("accounts", "0003_tenant_of_tokens"),
        ("tasks_api", "0016_pause_until"),
    ]

    operations = [
        migrations.CreateModel(
            name="Lane",
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
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lanes",
                        to="accounts.tenant",
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "host",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255
                    ),
                ),
                ("rate_limit", models.PositiveIntegerField(blank=True, null=True)),
                (
                    "rate_per",
                    models.CharField(
                        choices=RATES,
                        db_default="second",
                        default="second",
                        max_length=6,
                    ),
                ),
                ("burst", models.PositiveIntegerField(db_default=1, default=1)),
                ("concurrency", models.PositiveIntegerField(blank=True, null=True)),
                ("paused_at", models.DateTimeField(editable=False, null=True)),
                (
                    "hold_reason",
                    models.TextField(
                        blank=True, db_default="", default="", editable=False
                    ),
                ),
                ("resume_at", models.DateTimeField(editable=False, null=True)),
                ("breaker_after", models.PositiveIntegerField(blank=True, null=True)),
                ("breaker_for", models.PositiveIntegerField(db_default=30, default=30)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("next_slot_at", models.DateTimeField(editable=False, null=True)),
                ("line_ends_at", models.DateTimeField(editable=False, null=True)),
                (
                    "slowdown",
                    models.FloatField(db_default=1, default=1, editable=False),
                ),
                ("slowed_at", models.DateTimeField(editable=False, null=True)),
                ("held_until", models.DateTimeField(editable=False, null=True)),
                (
                    "failures",
                    models.PositiveIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                (
                    "breaker_state",
                    models.CharField(
                        choices=BREAKER_STATES,
                        db_default="closed",
                        default="closed",
                        editable=False,
                        max_length=9,
                    ),
                ),
                ("breaker_until", models.DateTimeField(editable=False, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "name"), name="lane_name_once_per_tenant"
                    ),
                    models.UniqueConstraint(
                        condition=~Q(("host", "")),
                        fields=("tenant", "host"),
                        name="lane_host_once_per_tenant",
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            name="LaneCeiling",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="lane_ceiling",
                        serialize=False,
                        to="accounts.tenant",
                    ),
                ),
                ("max_per_second", _ceiling()),
                ("max_concurrency", _ceiling()),
            ],
        ),
        migrations.AddField(
            model_name="task",
            name="lane_name",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=100
            ),
        ),
        # PostgreSQL checks no row, because the new column is null in all of them.
        migrations.AddField(
            model_name="task",
            name="lane",
            field=models.ForeignKey(
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="tasks",
                to="tasks_api.lane",
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(("lane__isnull", False)),
                fields=["lane"],
                name="task_of_lane",
            ),
        ),
    ]
