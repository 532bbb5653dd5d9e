"""Tasks follow versions of calendars, and changes of schedules keep which."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [("tasks_api", "0019_calendars")]

    operations = [
        *(
            migrations.AddField(
                model_name=name,
                name="calendars",
                field=models.TextField(
                    blank=True, db_default="", default="", editable=False
                ),
            )
            for name in ("task", "schedulechange")
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                condition=Q(("ended_at", None)) & ~Q(("calendars", "")),
                fields=["tenant"],
                name="task_on_calendars",
            ),
        ),
    ]
