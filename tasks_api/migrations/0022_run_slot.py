"""Keep of a run that sends another one again the fire time that it stands for.

A column that may be null is added without reading a row, and code that does not know it
leaves it null, which is what such runs were until now.
"""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0021_covering_runs_by_index")]

    operations = [
        migrations.AddField("run", "slot", models.DateTimeField(null=True)),
    ]
