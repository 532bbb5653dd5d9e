"""Tasks that resume may make up for their pause."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

CATCH_UP = {"db_default": "none", "default": "none", "max_length": 10}


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("tasks_api", "0022_ends_and_backfills"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="catch_up",
            field=models.CharField(editable=False, **CATCH_UP),
        ),
        migrations.AddField(
            model_name="schedulechange",
            name="catch_up",
            field=models.CharField(**CATCH_UP),
        ),
        migrations.CreateModel(
            name="ReopenedHours",
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
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
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
                "verbose_name_plural": "reopened hours",
                "indexes": [
                    models.Index(fields=["tenant", "since"], name="reopened_hours")
                ],
            },
        ),
    ]
