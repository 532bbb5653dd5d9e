"""Find the few notices of a tenant by index, for their runs to be listed on their own."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0013_long_work_and_streaks")]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("surface", "notices")),
                fields=["tenant"],
                name="task_notice",
            ),
        ),
    ]
