"""Find the few runs that stand for many fire times by index, built while others write."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("tasks_api", "0020_runs_cover_many")]

    operations = [
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                condition=models.Q(("covers_until__isnull", False)),
                fields=["task", "covers_until"],
                name="run_covers",
            ),
        ),
    ]
