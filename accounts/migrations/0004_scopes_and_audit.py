"""Scopes and public ids for tokens, and the log of who changed what."""

from __future__ import annotations

import django.contrib.postgres.functions
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_tenant_retention_days"),
    ]

    operations = [
        migrations.AddField(
            model_name="token",
            name="scope",
            field=models.CharField(
                choices=[("read", "Read"), ("write", "Write"), ("admin", "Admin")],
                default="admin",
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="token",
            name="uuid",
            field=models.UUIDField(
                db_default=django.contrib.postgres.functions.RandomUUID(),
                editable=False,
                unique=True,
            ),
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(editable=False, primary_key=True, serialize=False),
                ),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                (
                    "via",
                    models.CharField(
                        choices=[
                            ("api", "Api"),
                            ("admin", "Admin"),
                            ("cli", "command line"),
                            ("service", "Service"),
                        ],
                        max_length=7,
                    ),
                ),
                ("token_prefix", models.CharField(blank=True, max_length=12)),
                ("action", models.CharField(db_collation="C", max_length=40)),
                ("object_id", models.CharField(blank=True, max_length=255)),
                ("object_ids", models.JSONField(null=True)),
                ("count", models.PositiveIntegerField(default=1)),
                ("changes", models.JSONField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="audit_entries",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "indexes": [
                    models.Index(
                        models.F("tenant"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="audit_of_tenant",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("actor"),
                        models.OrderBy(models.F("id"), descending=True),
                        name="audit_of_actor",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("action"),
                        models.OrderBy(models.F("id"), descending=True),
                        condition=models.Q(("action", "task.create"), _negated=True),
                        name="audit_of_action",
                    ),
                    models.Index(
                        condition=models.Q(("object_id", ""), _negated=True),
                        fields=["tenant", "object_id"],
                        name="audit_of_object",
                    ),
                    django.contrib.postgres.indexes.GinIndex(
                        condition=models.Q(("object_ids__isnull", False)),
                        fields=["object_ids"],
                        name="audit_of_objects",
                        opclasses=["jsonb_path_ops"],
                    ),
                ],
            },
        ),
    ]
