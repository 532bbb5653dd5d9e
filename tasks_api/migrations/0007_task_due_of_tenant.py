"""Find each tenant's share of what is due."""

from __future__ import annotations

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_max_in_flight"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("tasks_api", "0006_unchecked_copies"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("next_fire_at__isnull", False)),
                fields=["tenant", "next_fire_at"],
                name="task_due_of_tenant",
            ),
        ),
    ]
