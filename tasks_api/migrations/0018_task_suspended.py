"""Remember which tasks wait because their user is deactivated, and not for a pause."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0017_periodic_tasks_of_operators")]

    operations = [
        migrations.AddField(
            model_name="task",
            name="suspended",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        )
    ]
