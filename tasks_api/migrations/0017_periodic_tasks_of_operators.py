"""Find the few periodic tasks that are no tenant's among all others."""

from __future__ import annotations

from django.db import migrations

INDEX = "periodic_task_of_operators"


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("tasks_api", "0016_task_of_name"),
    ]

    operations = [
        migrations.RunSQL(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX} "
            "ON django_celery_beat_periodictask (id) "
            "WHERE task <> 'tasks_api.tasks.fire'",
            f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}",
        )
    ]
