"""Policies of tasks, options of their requests, and runs that wait for one another."""

from __future__ import annotations

from django.db import migrations, models

import accounts.fields
import tasks_api.domain.specs


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_max_in_flight"),
        ("tasks_api", "0009_sweep_and_slim"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="is_next",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="task",
            name="catchup_window",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="dst",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=20
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="request",
            field=accounts.fields.SealedTextField(
                blank=True, db_default="", default=""
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="spread",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="task",
            name="spread_offset",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="task",
            name="expected_status",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AlterField(
            model_name="task",
            name="misfire",
            field=models.CharField(
                choices=[
                    (
                        tasks_api.domain.specs.Misfire["LATEST"],
                        tasks_api.domain.specs.Misfire["LATEST"],
                    ),
                    (
                        tasks_api.domain.specs.Misfire["SKIP"],
                        tasks_api.domain.specs.Misfire["SKIP"],
                    ),
                    (
                        tasks_api.domain.specs.Misfire["ALL"],
                        tasks_api.domain.specs.Misfire["ALL"],
                    ),
                ],
                default=tasks_api.domain.specs.Misfire["LATEST"],
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="overlap",
            field=models.CharField(
                choices=[
                    (
                        tasks_api.domain.specs.Overlap["ALLOW"],
                        tasks_api.domain.specs.Overlap["ALLOW"],
                    ),
                    (
                        tasks_api.domain.specs.Overlap["SKIP"],
                        tasks_api.domain.specs.Overlap["SKIP"],
                    ),
                    (
                        tasks_api.domain.specs.Overlap["QUEUE_ONE"],
                        tasks_api.domain.specs.Overlap["QUEUE_ONE"],
                    ),
                ],
                default=tasks_api.domain.specs.Overlap["ALLOW"],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(("finished_at", None), ("is_next", True)),
                fields=("task",),
                name="run_alone_while_next",
            ),
        ),
    ]
