"""Let one run stand for many fire times in a row that were missed."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0015_end_is_written")]

    operations = [
        migrations.AddField("run", "covers_until", models.DateTimeField(null=True))
    ]
