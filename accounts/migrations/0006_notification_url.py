"""Where tenants are told what the service did by itself."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_audit_is_append_only"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="notification_url",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Where this tenant is told that tasks were paused or ended for it.",
            ),
        ),
    ]
