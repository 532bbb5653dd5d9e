"""Indexes of the few tenants that have a retention of their own."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    # Indexes are made without a lock on the table.
    atomic = False

    dependencies = [("accounts", "0005_token_bounds")]

    operations = [
        AddIndexConcurrently(
            "tenant",
            models.Index(
                condition=Q(("retention_days__isnull", False)),
                fields=["id"],
                name="tenant_with_own_retention",
            ),
        ),
        AddIndexConcurrently(
            "tenant",
            models.Index(
                condition=Q(("retention_days__isnull", False)),
                fields=["retention_days"],
                name="tenant_by_retention",
            ),
        ),
    ]
