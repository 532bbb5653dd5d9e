"""Make room for prefixes of tokens that name their tenant."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_frozen_tenants")]

    operations = [
        migrations.AlterField(
            model_name="token",
            name="prefix",
            field=models.CharField(
                editable=False,
                help_text="The first characters, to know it by.",
                max_length=32,
            ),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="token_prefix",
            field=models.CharField(blank=True, max_length=32),
        ),
    ]
