"""Store the service's own housekeeping as a periodic task of no tenant."""

from __future__ import annotations

from django.db import migrations

NAME = "forget old history"


def add(apps, schema_editor):
    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    hourly, _ = interval.objects.get_or_create(every=1, period="hours")
    periodic_task.objects.get_or_create(
        name=NAME,
        defaults={
            "task": "tasks_api.tasks.prune",
            "interval": hourly,
            "description": "Deletes runs and tasks older than the retention time.",
        },
    )


def remove(apps, schema_editor):
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    periodic_task.objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_api", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(add, remove)]
