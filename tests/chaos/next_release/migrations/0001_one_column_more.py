from __future__ import annotations

from typing import ClassVar

from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tasks_api", "0001_initial")]
    operations: ClassVar = [
        migrations.RunSQL(
            "ALTER TABLE tasks_api_task ADD COLUMN more integer NOT NULL DEFAULT 0",
            "ALTER TABLE tasks_api_task DROP COLUMN more",
        )
    ]
