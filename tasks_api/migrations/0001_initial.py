"""Tasks, runs, messages and what is counted of them, and how PostgreSQL sweeps their tables."""

from __future__ import annotations

from typing import Any

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import accounts.fields
import tasks_api.domain.ids
import tasks_api.domain.specs

# PostgreSQL sweeps tables early, because beats and consumers read indexes from their old
# end and step over every dead entry there. A run is written three times, and its entry in
# `run_waits` moves each time; the same goes for tasks and `task_due`. By default a fifth of
# a table is dead before it is swept: 0.8 ms a poll with 1.5 million runs stored, and 140 ms
# with 260 million. A fiftieth is swept for a tenth of that. Attempts are only added and
# deleted. The cost limit lets a sweep work five times as fast as by default.
SWEEP_EARLY = """
    ALTER TABLE tasks_api_run SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_limit = 1000
    );
    ALTER TABLE tasks_api_task SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_limit = 1000
    );
    ALTER TABLE tasks_api_attempt SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_cost_limit = 1000
    );
"""
# In a queue of a million, 200,000 dead entries would lie before the first message; with
# this it is a hundredth. vacuum_index_cleanup, because by default a sweep leaves the indexes
# alone while few pages have dead rows, as the old end of a large queue does.
SWEEP_MESSAGES_EARLY = """
    ALTER TABLE tasks_api_message SET (
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_scale_factor = 0.01,
        vacuum_index_cleanup = on
    );
"""
# Attempts are found by their run, never by `id`, whose index was an eighth of what a stored
# attempt takes. A replica tells attempts apart by run and number.
DROP_KEY_OF_ATTEMPTS = """
    ALTER TABLE tasks_api_attempt DROP CONSTRAINT tasks_api_attempt_pkey;
    ALTER TABLE tasks_api_attempt REPLICA IDENTITY USING INDEX attempt_once_per_number;
"""
# Every fire and every pause updates a row without touching an indexed column; with room on
# its page, no index is written (a "HOT" update). Nothing asks for patterns of names or for
# solar events. IF EXISTS, because an operator may have dropped those indexes.
SLIM_PERIODIC_TASKS = """
    ALTER TABLE django_celery_beat_periodictask SET (fillfactor = 50);
    DROP INDEX IF EXISTS django_celery_beat_periodictask_name_265a36b7_like;
    DROP INDEX IF EXISTS django_celery_beat_periodictask_solar_id_a87ce72c;
    CREATE INDEX IF NOT EXISTS periodic_task_of_operators
        ON django_celery_beat_periodictask (id) WHERE task <> 'tasks_api.tasks.fire';
"""
FATTEN_PERIODIC_TASKS = """
    ALTER TABLE django_celery_beat_periodictask RESET (fillfactor);
    DROP INDEX IF EXISTS periodic_task_of_operators;
    CREATE INDEX django_celery_beat_periodictask_name_265a36b7_like
        ON django_celery_beat_periodictask (name varchar_pattern_ops);
    CREATE INDEX django_celery_beat_periodictask_solar_id_a87ce72c
        ON django_celery_beat_periodictask (solar_id);
"""
HOUSEKEEPING = "forget old history"


def add_housekeeping(apps: Any, schema_editor: Any) -> None:
    """The service's own housekeeping is a periodic task of no tenant."""
    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    every_minute, _ = interval.objects.get_or_create(every=1, period="minutes")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name=HOUSEKEEPING,
        defaults={
            "task": "tasks_api.tasks.prune",
            "interval": every_minute,
            "expire_seconds": 55,
            "description": "Deletes runs and tasks older than the retention time.",
        },
    )


def remove_housekeeping(apps: Any, schema_editor: Any) -> None:
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    periodic_task.objects.filter(name=HOUSEKEEPING).delete()


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                (
                    "name",
                    models.CharField(max_length=200, primary_key=True, serialize=False),
                ),
                ("kind", models.CharField(max_length=10)),
                ("seen_at", models.DateTimeField()),
                ("presence", models.IntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="RunIdKey",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(primary_key=True, serialize=False),
                ),
                ("key", models.BinaryField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="run_id_key_is_one"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "is_paused",
                    models.BooleanField(
                        db_default=False, default=False, editable=False
                    ),
                ),
                (
                    "is_one_off",
                    models.BooleanField(
                        db_default=False, default=False, editable=False
                    ),
                ),
                ("starts_at", models.DateTimeField(editable=False, null=True)),
                ("ends_at", models.DateTimeField(editable=False, null=True)),
                ("interval_every", models.IntegerField(editable=False, null=True)),
                (
                    "interval_period",
                    models.TextField(db_default="", default="", editable=False),
                ),
                ("once_at", models.DateTimeField(editable=False, null=True)),
                (
                    "cron_minute",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_hour",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_day_of_month",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_month_of_year",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_day_of_week",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_zone",
                    models.TextField(db_default="", default="", editable=False),
                ),
                ("solar_id", models.IntegerField(editable=False, null=True)),
                ("cron_seconds", models.TextField(blank=True)),
                ("cron_years", models.TextField(blank=True)),
                (
                    "dst",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=20
                    ),
                ),
                ("spread_offset", models.PositiveIntegerField(db_default=0, default=0)),
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
                    "surface",
                    models.CharField(
                        choices=[
                            (
                                tasks_api.domain.specs.Surface["TASKS"],
                                tasks_api.domain.specs.Surface["TASKS"],
                            ),
                            (
                                tasks_api.domain.specs.Surface["CRON_JOBS"],
                                tasks_api.domain.specs.Surface["CRON_JOBS"],
                            ),
                            (
                                tasks_api.domain.specs.Surface["TIMERS"],
                                tasks_api.domain.specs.Surface["TIMERS"],
                            ),
                            (
                                tasks_api.domain.specs.Surface["REST_JOBS"],
                                tasks_api.domain.specs.Surface["REST_JOBS"],
                            ),
                            (
                                tasks_api.domain.specs.Surface["NOTICES"],
                                tasks_api.domain.specs.Surface["NOTICES"],
                            ),
                        ],
                        max_length=12,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=255)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(),
                        blank=True,
                        db_default=[],
                        default=list,
                        size=None,
                    ),
                ),
                ("method", models.CharField(default="POST", max_length=7)),
                ("url", accounts.fields.SealedUrlField(blank=True)),
                ("queue", models.CharField(blank=True, max_length=255)),
                ("body", models.TextField()),
                ("expected_status", models.CharField(blank=True, max_length=200)),
                (
                    "overlap",
                    models.CharField(
                        choices=[
                            (
                                tasks_api.domain.specs.Overlap["ALLOW"],
                                tasks_api.domain.specs.Overlap["ALLOW"],
                            ),
                            (
                                tasks_api.domain.specs.Overlap["SKIP"],
                                tasks_api.domain.specs.Overlap["SKIP"],
                            ),
                            (
                                tasks_api.domain.specs.Overlap["QUEUE_ONE"],
                                tasks_api.domain.specs.Overlap["QUEUE_ONE"],
                            ),
                        ],
                        default=tasks_api.domain.specs.Overlap["ALLOW"],
                        max_length=10,
                    ),
                ),
                (
                    "misfire",
                    models.CharField(
                        choices=[
                            (
                                tasks_api.domain.specs.Misfire["LATEST"],
                                tasks_api.domain.specs.Misfire["LATEST"],
                            ),
                            (
                                tasks_api.domain.specs.Misfire["SKIP"],
                                tasks_api.domain.specs.Misfire["SKIP"],
                            ),
                            (
                                tasks_api.domain.specs.Misfire["ALL"],
                                tasks_api.domain.specs.Misfire["ALL"],
                            ),
                        ],
                        default=tasks_api.domain.specs.Misfire["LATEST"],
                        max_length=10,
                    ),
                ),
                ("catchup_window", models.PositiveIntegerField(null=True)),
                ("spread", models.PositiveIntegerField(db_default=0, default=0)),
                ("retry", models.TextField(blank=True)),
                (
                    "request",
                    accounts.fields.SealedTextField(
                        blank=True, db_default="", default=""
                    ),
                ),
                ("pause_after_failures", models.PositiveIntegerField(null=True)),
                (
                    "failure_streak",
                    models.PositiveIntegerField(
                        db_default=0, default=0, editable=False
                    ),
                ),
                ("schedule_text", models.TextField(blank=True)),
                ("next_fire_at", models.DateTimeField(editable=False, null=True)),
                ("last_fire_at", models.DateTimeField(editable=False, null=True)),
                (
                    "version",
                    models.PositiveIntegerField(
                        db_default=1, default=1, editable=False
                    ),
                ),
                ("pause_reason", models.TextField(blank=True, editable=False)),
                (
                    "suspended",
                    models.BooleanField(
                        db_default=False, default=False, editable=False
                    ),
                ),
                ("ended_at", models.DateTimeField(editable=False, null=True)),
                (
                    "end_reason",
                    models.CharField(blank=True, editable=False, max_length=20),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("replaced_at", models.DateTimeField(editable=False, null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tasks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "periodic_task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="http_task",
                        to="django_celery_beat.periodictask",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tasks",
                        to="accounts.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ScheduleChange",
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
                    "is_paused",
                    models.BooleanField(
                        db_default=False, default=False, editable=False
                    ),
                ),
                (
                    "is_one_off",
                    models.BooleanField(
                        db_default=False, default=False, editable=False
                    ),
                ),
                ("starts_at", models.DateTimeField(editable=False, null=True)),
                ("ends_at", models.DateTimeField(editable=False, null=True)),
                ("interval_every", models.IntegerField(editable=False, null=True)),
                (
                    "interval_period",
                    models.TextField(db_default="", default="", editable=False),
                ),
                ("once_at", models.DateTimeField(editable=False, null=True)),
                (
                    "cron_minute",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_hour",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_day_of_month",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_month_of_year",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_day_of_week",
                    models.TextField(db_default="", default="", editable=False),
                ),
                (
                    "cron_zone",
                    models.TextField(db_default="", default="", editable=False),
                ),
                ("solar_id", models.IntegerField(editable=False, null=True)),
                ("cron_seconds", models.TextField(blank=True)),
                ("cron_years", models.TextField(blank=True)),
                (
                    "dst",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=20
                    ),
                ),
                ("spread_offset", models.PositiveIntegerField(db_default=0, default=0)),
                ("at", models.DateTimeField()),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("paused", "Paused"),
                            ("resumed", "Resumed"),
                            ("edited", "Edited"),
                            ("replaced", "Replaced"),
                            ("removed", "Removed"),
                            ("over", "Over"),
                            ("broken", "Broken"),
                        ],
                        max_length=10,
                    ),
                ),
                ("open_from", models.DateTimeField(null=True)),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="schedule_changes",
                        to="tasks_api.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.UUIDField(editable=False, primary_key=True, serialize=False),
                ),
                ("scheduled_for", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("running", "Running"),
                            ("open", "Open"),
                            ("retrying", "Retrying"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("skipped", "Skipped"),
                            ("missed", "Missed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("wake_at", models.DateTimeField(null=True)),
                ("lease", models.UUIDField(null=True)),
                ("attempt_count", models.PositiveIntegerField(default=0)),
                ("lost_count", models.PositiveIntegerField(default=0)),
                ("exclusive", models.BooleanField(default=False)),
                ("is_next", models.BooleanField(db_default=False, default=False)),
                ("by_hand", models.BooleanField(db_default=False, default=False)),
                ("covers_until", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("redrive_of", models.UUIDField(null=True)),
                ("slot", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="accounts.tenant",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="tasks_api.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TaskTag",
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
                ("tag", models.CharField(max_length=100)),
                (
                    "owner",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tasks_api.task",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="TaskTally",
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
                ("surface", models.CharField(max_length=12)),
                ("part", models.PositiveSmallIntegerField()),
                ("tasks", models.BigIntegerField()),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="task_tallies",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "task tallies",
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
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
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(max_length=64)),
                ("status", models.PositiveSmallIntegerField()),
                ("headers", models.JSONField()),
                ("body", models.BinaryField()),
                ("created_at", models.DateTimeField()),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="idempotency_keys",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["created_at"], name="key_by_age")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "key"), name="key_once_per_user"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
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
                ("queue", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("timeout_seconds", models.PositiveIntegerField()),
                ("max_retries", models.IntegerField(default=0)),
                ("retry_count", models.PositiveIntegerField(default=0)),
                ("payload", models.TextField(default="null")),
                ("state", models.TextField(null=True)),
                ("run_at", models.DateTimeField()),
                ("leased_until", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("leased_until", None)),
                        fields=["tenant", "queue", "run_at", "id"],
                        name="message_waits",
                    ),
                    models.Index(
                        condition=models.Q(("leased_until__isnull", False)),
                        fields=["tenant", "queue", "leased_until"],
                        name="message_leased",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "queue", "name"),
                        name="message_once_per_queue",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="QueueTally",
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
                ("queue", models.CharField(max_length=255)),
                ("exhausted", models.PositiveBigIntegerField(default=0)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="queue_tallies",
                        to="accounts.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "queue tallies",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "queue"), name="tally_once_per_queue"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
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
                ("number", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("duration_ms", models.PositiveIntegerField()),
                ("status_code", models.PositiveSmallIntegerField(null=True)),
                ("error", models.TextField(blank=True)),
                ("answer", models.TextField(blank=True)),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="tasks_api.run",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("run", "number"), name="attempt_once_per_number"
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("next_fire_at__isnull", False)),
                fields=["next_fire_at"],
                name="task_due",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("next_fire_at__isnull", False)),
                fields=["tenant", "next_fire_at"],
                name="task_due_of_tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(
                    ("next_fire_at__isnull", False),
                    models.Q(
                        ("overlap", tasks_api.domain.specs.Overlap["ALLOW"]),
                        _negated=True,
                    ),
                ),
                fields=["next_fire_at"],
                name="task_due_exactly",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("name", ""), _negated=True),
                fields=["name"],
                name="task_of_name",
                opclasses=["varchar_pattern_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at", None)),
                fields=["owner", "surface", "id"],
                include=("ends_at",),
                name="task_of_owner",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at", None), ("is_paused", True)),
                fields=["owner", "surface", "id"],
                name="task_paused",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(
                    ("ended_at", None),
                    ("ends_at__isnull", False),
                    ("next_fire_at__isnull", True),
                ),
                fields=["ends_at"],
                name="task_over",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("surface", "notices")),
                fields=["tenant"],
                name="task_notice",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)),
                fields=["tenant", "ended_at"],
                name="task_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("ended_at", None), ("next_fire_at", None), _connector="OR"
                ),
                name="task_that_ended_never_fires",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("ended_at", None), models.Q(("name", ""), _negated=True)
                ),
                fields=("tenant", "surface", "name"),
                name="task_name_once_while_alive",
            ),
        ),
        migrations.AddIndex(
            model_name="schedulechange",
            index=models.Index(fields=["task", "id"], name="change_of_task"),
        ),
        migrations.AddIndex(
            model_name="schedulechange",
            index=models.Index(
                condition=models.Q(("open_from__isnull", False)),
                fields=["id"],
                name="change_is_open",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("wake_at__isnull", False)),
                fields=["wake_at"],
                name="run_waits",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                models.F("tenant"),
                models.OrderBy(models.F("scheduled_for"), descending=True),
                name="run_of_tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                models.F("tenant"),
                models.OrderBy(models.F("scheduled_for"), descending=True),
                condition=models.Q(
                    ("state__in", ["cancelled", "failed", "missed", "skipped"])
                ),
                name="run_not_delivered",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("redrive_of__isnull", False)),
                fields=["redrive_of"],
                name="run_redriven",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                fields=("task", "scheduled_for"), name="run_once_per_fire_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(("exclusive", True), ("finished_at", None)),
                fields=("task",),
                name="run_alone_while_exclusive",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(("finished_at", None), ("is_next", True)),
                fields=("task",),
                name="run_alone_while_next",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("finished_at__isnull", False),
                        (
                            "state__in",
                            ["cancelled", "failed", "missed", "skipped", "succeeded"],
                        ),
                        ("wake_at", None),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "state__in",
                                [
                                    "cancelled",
                                    "failed",
                                    "missed",
                                    "skipped",
                                    "succeeded",
                                ],
                            ),
                            _negated=True,
                        ),
                        ("finished_at", None),
                        ("wake_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="run_final_or_awake",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("lease__isnull", False), ("state", "running")),
                    models.Q(
                        models.Q(("state", "running"), _negated=True), ("lease", None)
                    ),
                    _connector="OR",
                ),
                name="run_leased_while_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    ("finished_at", None), ("redrive_of__isnull", False)
                ),
                fields=("redrive_of",),
                name="run_redriven_once_at_a_time",
            ),
        ),
        migrations.AddIndex(
            model_name="tasktag",
            index=models.Index(fields=["owner", "tag", "task"], name="task_of_tag"),
        ),
        migrations.AddConstraint(
            model_name="tasktag",
            constraint=models.UniqueConstraint(
                fields=("task", "tag"), name="task_tag_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="tasktally",
            constraint=models.UniqueConstraint(
                fields=("owner", "surface", "part"), name="task_tally_once_per_part"
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("covers_until__isnull", False)),
                fields=["task", "covers_until"],
                name="run_covers",
            ),
        ),
        migrations.RunSQL(SWEEP_EARLY, migrations.RunSQL.noop),
        migrations.RunSQL(SWEEP_MESSAGES_EARLY, migrations.RunSQL.noop),
        migrations.RunSQL(DROP_KEY_OF_ATTEMPTS, migrations.RunSQL.noop),
        migrations.RunSQL(SLIM_PERIODIC_TASKS, FATTEN_PERIODIC_TASKS),
        migrations.RunPython(add_housekeeping, remove_housekeeping),
    ]
