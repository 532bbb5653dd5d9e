"""Let one run stand for many fire times in a row that were missed."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0019_key_of_run_ids")]

    operations = [
        migrations.AddField("run", "covers_until", models.DateTimeField(null=True))
    ]
