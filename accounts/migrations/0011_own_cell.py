"""A database says which cell it is of, so that a promoted standby can become another one."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_index_of_frozen_tenants")]

    operations = [
        migrations.CreateModel(
            name="OwnCell",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(
                        default=1, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=30)),
                ("split_id", models.UUIDField(null=True)),
                (
                    "splits_to",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=30
                    ),
                ),
                (
                    "tenants",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        db_default=[],
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "stage",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("freezing", "Freezing"),
                            ("ready", "Ready"),
                            ("opening", "Opening"),
                            ("open", "Open"),
                        ],
                        db_default="",
                        default="",
                        max_length=10,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(name="own_cell_is_one", condition=Q(id=1))
                ],
            },
        ),
    ]
