"""Tasks may have several schedules, and recurrence rules."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0020_tasks_on_calendars")]

    operations = [
        migrations.AddField(
            model_name=name,
            name="rules",
            field=models.TextField(
                blank=True, db_default="", default="", editable=False
            ),
        )
        for name in ("task", "schedulechange")
    ]
