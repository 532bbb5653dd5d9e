"""An index of the few tenants that are frozen."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [("accounts", "0008_routable_tokens")]

    operations = [
        AddIndexConcurrently(
            "tenant",
            models.Index(
                condition=Q(("frozen_at__isnull", False)),
                fields=["id"],
                name="tenant_frozen",
            ),
        ),
    ]
