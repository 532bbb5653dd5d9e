"""Find by index what retention looks for, and look every minute instead of every hour.

Ended tasks were looked for in the whole table, once for each thousand of them.

A round every minute keeps what is to be deleted in memory, where it was read a moment ago.
A message that waits for longer than until the next one is dropped: rounds do not pile up
while no worker is there.
"""

from __future__ import annotations

from django.conf import settings
from django.db import migrations, models

HOUSEKEEPING = "forget old history"


def look_every_minute(apps, schema_editor):
    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    every_minute, _ = interval.objects.get_or_create(every=1, period="minutes")
    # Not if somebody has chosen another interval.
    periodic_task.objects.filter(
        name=HOUSEKEEPING, interval__every=1, interval__period="hours"
    ).update(interval=every_minute, expire_seconds=55)


def look_every_hour(apps, schema_editor):
    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    hourly, _ = interval.objects.get_or_create(every=1, period="hours")
    periodic_task.objects.filter(
        name=HOUSEKEEPING, interval__every=1, interval__period="minutes"
    ).update(interval=hourly, expire_seconds=None)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_tenant_retention_days"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("tasks_api", "0007_task_due_of_tenant"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)),
                fields=["tenant", "ended_at"],
                name="task_ended",
            ),
        ),
        migrations.RunPython(look_every_minute, look_every_hour),
    ]
