"""Tokens can have bounds."""

from __future__ import annotations

import django.db.models.deletion
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_quotas")]

    operations = [
        migrations.CreateModel(
            "TokenBounds",
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
                (
                    "lineage",
                    ArrayField(
                        base_field=models.BigIntegerField(),
                        db_default=[],
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "hosts",
                    ArrayField(base_field=models.TextField(), null=True, size=None),
                ),
                (
                    "paths",
                    ArrayField(base_field=models.TextField(), null=True, size=None),
                ),
                (
                    "methods",
                    ArrayField(base_field=models.TextField(), null=True, size=None),
                ),
                (
                    "tags",
                    ArrayField(
                        base_field=models.TextField(),
                        db_default=[],
                        default=list,
                        size=None,
                    ),
                ),
                ("horizon", models.PositiveBigIntegerField(null=True)),
                ("renew_within", models.PositiveBigIntegerField(null=True)),
                ("ends_at", models.DateTimeField(null=True)),
                ("lapsed_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "token bounds",
                "indexes": [
                    models.Index(
                        condition=Q(("ends_at__isnull", False), ("lapsed_at", None)),
                        fields=["ends_at"],
                        name="bounds_lapse",
                    ),
                    GinIndex(fields=["lineage"], name="bounds_of_lineage"),
                ],
            },
        ),
        migrations.AddField(
            "token",
            "bounds",
            models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tokens",
                to="accounts.tokenbounds",
            ),
        ),
    ]
