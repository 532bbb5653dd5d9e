"""Paused tasks know why users paused them, and when they resume by themselves."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [("tasks_api", "0015_cancel")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="hold_reason",
            field=models.TextField(
                blank=True, db_default="", default="", editable=False
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="resume_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(("ended_at", None), ("resume_at__isnull", False)),
                fields=["resume_at"],
                name="task_resumes",
            ),
        ),
    ]
