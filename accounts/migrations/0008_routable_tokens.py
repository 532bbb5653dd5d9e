"""Let prefixes of tokens name their tenant, without another type of their column.

Webs of the release before read the column of the token by prepared statements, which
PostgreSQL refuses once the type is another. Nothing prepared reads the audit log's.
"""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_frozen_tenants")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField("token", "prefix", "stored_prefix"),
                migrations.AlterField(
                    model_name="token",
                    name="stored_prefix",
                    field=models.CharField(
                        db_column="prefix",
                        editable=False,
                        max_length=12,
                        verbose_name="prefix",
                    ),
                ),
            ]
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="token_prefix",
            field=models.CharField(blank=True, max_length=32),
        ),
    ]
