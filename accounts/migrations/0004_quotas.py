"""Tenants have quotas: those of a plan, and their own."""

from __future__ import annotations

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now


class Migration(migrations.Migration):
    # The index is made without a lock on the table.
    atomic = False

    dependencies = [("accounts", "0003_tenant_of_tokens")]

    operations = [
        migrations.CreateModel(
            "Plan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "max_tasks",
                    models.PositiveBigIntegerField(
                        blank=True, help_text="Living tasks at a time.", null=True
                    ),
                ),
                (
                    "max_runs_per_day",
                    models.PositiveBigIntegerField(
                        blank=True, help_text="Runs that begin in a day.", null=True
                    ),
                ),
                (
                    "max_requests_per_minute",
                    models.PositiveIntegerField(
                        blank=True, help_text="Requests to the API.", null=True
                    ),
                ),
                (
                    "max_payload_bytes",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Bytes of the body of a task or a message.",
                        null=True,
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={"abstract": False},
        ),
        migrations.AddField(
            "tenant",
            "max_tasks",
            models.PositiveBigIntegerField(
                blank=True, help_text="Living tasks at a time.", null=True
            ),
        ),
        migrations.AddField(
            "tenant",
            "max_runs_per_day",
            models.PositiveBigIntegerField(
                blank=True, help_text="Runs that begin in a day.", null=True
            ),
        ),
        migrations.AddField(
            "tenant",
            "max_requests_per_minute",
            models.PositiveIntegerField(
                blank=True, help_text="Requests to the API.", null=True
            ),
        ),
        migrations.AddField(
            "tenant",
            "max_payload_bytes",
            models.PositiveIntegerField(
                blank=True,
                help_text="Bytes of the body of a task or a message.",
                null=True,
            ),
        ),
        migrations.AddField(
            "tenant",
            "plan",
            models.ForeignKey(
                blank=True,
                help_text="Quotas; those of the tenant itself take their place.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="tenants",
                to="accounts.plan",
            ),
        ),
        AddIndexConcurrently(
            "tenant",
            models.Index(
                condition=Q(
                    ("plan__isnull", False),
                    ("max_runs_per_day__isnull", False),
                    _connector="OR",
                ),
                fields=["id"],
                name="tenant_with_run_quota",
            ),
        ),
    ]
