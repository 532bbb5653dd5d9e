"""Let a tenant hold another number of runs than the setting says."""

from __future__ import annotations

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="max_in_flight",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Runs that one worker holds of this tenant; empty is the setting.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
    ]
