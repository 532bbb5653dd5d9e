"""Tasks keep the bounds of the tokens that made them; starts and runs are counted."""

from __future__ import annotations

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [
        ("accounts", "0005_token_bounds"),
        ("tasks_api", "0023_catch_up"),
    ]

    operations = [
        migrations.CreateModel(
            "BoundedStart",
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
                ("started_at", models.DateTimeField()),
                (
                    "bounds",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tokenbounds",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["bounds", "started_at"], name="start_of_bounds"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "DayCount",
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
                ("day", models.DateField()),
                ("part", models.PositiveSmallIntegerField()),
                ("runs", models.PositiveBigIntegerField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "day", "part"), name="day_count_once_per_part"
                    )
                ],
            },
        ),
        migrations.AddField(
            "task",
            "bounds",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.tokenbounds",
            ),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(("bounds__isnull", False), ("ended_at", None)),
                fields=["bounds"],
                name="task_of_bounds",
            ),
        ),
    ]
