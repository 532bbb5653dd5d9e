"""A key for the ids of runs, so that they follow from task and moment."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0018_task_suspended")]

    operations = [
        migrations.CreateModel(
            name="RunIdKey",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(primary_key=True, serialize=False),
                ),
                ("key", models.BinaryField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="run_id_key_is_one"
                    )
                ],
            },
        ),
    ]
