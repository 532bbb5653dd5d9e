"""The database's clock says when tenants, tokens and secrets were made."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_audit_forgets_names")]

    operations = [
        migrations.AlterField(
            model_name=model,
            name="created_at",
            field=models.DateTimeField(db_default=Now(), editable=False),
        )
        for model in ("signingsecret", "tenant", "token")
    ]
