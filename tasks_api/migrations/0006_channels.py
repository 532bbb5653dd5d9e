"""Channels, the rules that send notices to them, and the notices that wait."""

from __future__ import annotations

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import encrypted_fields.fields
from django.conf import settings
from django.db import migrations, models

import tasks_api.domain.ids


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("tasks_api", "0004_following_fire_times"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="FailingTask",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="tasks_api.task",
                    ),
                ),
                ("streak", models.PositiveIntegerField()),
                ("ended_streak", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Channel",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tasks_api.domain.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("kind", models.CharField(max_length=16)),
                (
                    "sealed_settings",
                    encrypted_fields.fields.EncryptedTextField(editable=False),
                ),
                ("max_per_hour", models.PositiveIntegerField()),
                ("is_paused", models.BooleanField(db_default=False, default=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                ("hour", models.DateTimeField(editable=False, null=True)),
                (
                    "sent_in_hour",
                    models.PositiveIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="channels",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="channels",
                        to="accounts.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="NotificationRule",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tasks_api.domain.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), size=None
                    ),
                ),
                ("tag", models.CharField(db_default="", default="", max_length=100)),
                ("streak", models.PositiveIntegerField()),
                ("late_after", models.PositiveIntegerField()),
                (
                    "digest_seconds",
                    models.PositiveIntegerField(db_default=0, default=0),
                ),
                ("quiet_from", models.TimeField(null=True)),
                ("quiet_until", models.TimeField(null=True)),
                (
                    "quiet_zone",
                    models.CharField(db_default="", default="", max_length=100),
                ),
                ("is_paused", models.BooleanField(db_default=False, default=False)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="tasks_api.channel",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tasks_api.task",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notification_rules",
                        to="accounts.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PendingNotice",
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
                ("type", models.CharField(max_length=20)),
                ("at", models.DateTimeField()),
                ("send_at", models.DateTimeField()),
                ("task_name", models.CharField(max_length=255)),
                ("run_id", models.UUIDField(null=True)),
                ("reason", models.TextField()),
                ("count", models.PositiveIntegerField()),
                ("is_held", models.BooleanField(db_default=False, default=False)),
                (
                    "channel",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tasks_api.channel",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tasks_api.notificationrule",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tasks_api.task",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tenant",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="channel",
            constraint=models.UniqueConstraint(
                fields=("tenant", "name"), name="channel_name_once_per_tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="channel",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "notification_url")),
                fields=("tenant",),
                name="channel_of_notification_url_once",
            ),
        ),
        migrations.AddIndex(
            model_name="notificationrule",
            index=models.Index(fields=["tenant", "id"], name="rule_of_tenant"),
        ),
        migrations.AddIndex(
            model_name="notificationrule",
            index=models.Index(fields=["channel"], name="rule_of_channel"),
        ),
        migrations.AddIndex(
            model_name="notificationrule",
            index=models.Index(
                condition=models.Q(("task__isnull", False)),
                fields=["task"],
                name="rule_of_task",
            ),
        ),
        migrations.AddConstraint(
            model_name="notificationrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("quiet_from", None), ("quiet_until", None), ("quiet_zone", "")
                    ),
                    models.Q(
                        ("quiet_from__isnull", False),
                        ("quiet_until__isnull", False),
                        models.Q(("quiet_zone", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="rule_has_whole_quiet_hours",
            ),
        ),
        migrations.AddIndex(
            model_name="pendingnotice",
            index=models.Index(fields=["send_at", "channel"], name="notice_is_due"),
        ),
        migrations.AddIndex(
            model_name="pendingnotice",
            index=models.Index(fields=["channel", "send_at"], name="notice_of_channel"),
        ),
    ]
