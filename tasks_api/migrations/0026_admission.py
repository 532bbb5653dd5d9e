"""Tasks whose spread the service chooses, and those that are admitted anyway."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0025_heartbeat_gaps")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="spread_auto",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="task",
            name="admit",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=10
            ),
        ),
    ]
