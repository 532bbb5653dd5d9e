"""Runs know the user who asked to cancel them."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0012_room_for_moves")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="cancelled_by",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=150
            ),
        ),
    ]
