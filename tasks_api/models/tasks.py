"""Tasks, what finds and counts them, and the schedules that they had."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django_celery_beat.models import PeriodicTask

from accounts.fields import SealedTextField, SealedUrlField
from accounts.models import Tenant, User
from tasks_api.domain.ids import new_id
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    Surface,
    summary,
)


class TaskQuerySet(models.QuerySet["Task"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)

    def for_owner(self, user: User) -> Self:
        return self.filter(tenant=user.tenant_id, owner=user)

    def visible_to(self, user: User) -> Self:
        """A user's own, or all of the tenant's for its administrators."""
        if user.reaches_tenant:
            return self.filter(tenant=user.tenant_id)
        return self.for_owner(user)

    def alive(self, now: datetime) -> Self:
        """Those that have not ended: neither deleted, nor run, nor past their end."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gte=now), ended_at=None)

    def paused(self) -> Self:
        return self.filter(ended_at=None, is_paused=True)

    def not_paused(self) -> Self:
        return self.filter(is_paused=False)

    def with_name_prefix(self, prefix: str) -> Self:
        """Those whose names begin so, of any tenant."""
        return self.filter(name__startswith=prefix).exclude(name="")

    def for_surface(self, surface: Surface) -> Self:
        return self.filter(surface=surface)

    def named(self, surface: Surface, name: str) -> Self:
        """By the client's own id, which is free again once a task has ended."""
        return self.filter(surface=surface, name=name, ended_at=None).exclude(name="")

    def with_schedule(self) -> Self:
        return self.select_related(
            "periodic_task__interval",
            "periodic_task__crontab",
            "periodic_task__clocked",
        )


class ScheduleColumns(models.Model):
    """A schedule by its parts, which StoredSchedule has under the same names."""

    is_paused = models.BooleanField(default=False, db_default=False, editable=False)
    is_one_off = models.BooleanField(default=False, db_default=False, editable=False)
    # Of the first and the last fire time that it may have.
    starts_at = models.DateTimeField(null=True, editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)
    # A schedule is an interval, a moment, or a cron expression; the rest is empty.
    interval_every = models.IntegerField(null=True, editable=False)
    interval_period = models.TextField(default="", db_default="", editable=False)
    once_at = models.DateTimeField(null=True, editable=False)
    cron_minute = models.TextField(default="", db_default="", editable=False)
    cron_hour = models.TextField(default="", db_default="", editable=False)
    cron_day_of_month = models.TextField(default="", db_default="", editable=False)
    cron_month_of_year = models.TextField(default="", db_default="", editable=False)
    cron_day_of_week = models.TextField(default="", db_default="", editable=False)
    cron_zone = models.TextField(default="", db_default="", editable=False)
    # django-celery-beat's kind that we cannot compute.
    solar_id = models.IntegerField(null=True, editable=False)
    # What a CrontabSchedule cannot hold of a cron expression; empty is second 0 and
    # every year.
    cron_seconds = models.TextField(blank=True)
    cron_years = models.TextField(blank=True)
    # What a fixed time does in a gap and in an overlap; empty is next_valid first.
    dst = models.CharField(max_length=20, blank=True, default="", db_default="")
    # The seconds after its grid at which a task fires that has a spread.
    spread_offset = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True


class Task(ScheduleColumns):
    """The HTTP call that a tenant wants made, and when.

    Its schedule, pause and end stand in django-celery-beat's tables, so that the admin
    shows and edits them. The columns of the schedule here say what next_fire_at was
    computed from; where they differ from those tables, somebody has edited them since.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Their indexes would repeat what begins with the same columns below.
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="tasks", db_index=False
    )
    owner = models.ForeignKey(
        User, models.CASCADE, related_name="tasks", db_index=False
    )
    # `task` would clash with PeriodicTask's own field of that name. Protected: a
    # schedule deleted in the admin must not silently take tasks along.
    periodic_task = models.OneToOneField(
        PeriodicTask, models.PROTECT, related_name="http_task"
    )
    surface = models.CharField(max_length=12, choices=[(s, s) for s in Surface])
    # The client's own id, where its wire format has one.
    name = models.CharField(max_length=255, blank=True)
    # To find it again; TaskTag is how.
    tags = ArrayField(models.TextField(), default=list, db_default=[], blank=True)
    method = models.CharField(max_length=7, default="POST")
    # Empty where the tenant's callback URL is called, or a pull queue gets the body.
    url = SealedUrlField(blank=True)
    queue = models.CharField(max_length=255, blank=True)
    # Text, not jsonb: numbers and key order reach the target as they were posted.
    body = models.TextField()
    # The statuses that are success, such as 200-299,304; empty is any below 400.
    expected_status = models.CharField(max_length=200, blank=True)
    overlap = models.CharField(
        max_length=10, choices=[(o, o) for o in Overlap], default=Overlap.ALLOW
    )
    misfire = models.CharField(
        max_length=10, choices=[(m, m) for m in Misfire], default=Misfire.LATEST
    )
    # Seconds by which a fire time may be late; null is however late.
    catchup_window = models.PositiveIntegerField(null=True)
    # The window in seconds over which the fire times of tasks are spread.
    spread = models.PositiveIntegerField(default=0, db_default=0)
    # A RetryPolicy or a Backoff as JSON; empty is one attempt.
    retry = models.TextField(blank=True)
    # RequestOptions as JSON; empty is none.
    request = SealedTextField(blank=True, default="", db_default="")
    # Null is never; and how many runs in a row have failed, counted where it is not.
    pause_after_failures = models.PositiveIntegerField(null=True)
    failure_streak = models.PositiveIntegerField(
        default=0, db_default=0, editable=False
    )
    schedule_text = models.TextField(blank=True)
    # Null while paused, or when nothing is left.
    next_fire_at = models.DateTimeField(null=True, editable=False)
    # The newest fire time that dispatch has dealt with; up to a second ahead of now.
    last_fire_at = models.DateTimeField(null=True, editable=False)
    # Grows with each change that somebody makes, and not when it fires.
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    pause_reason = models.TextField(blank=True, editable=False)
    # Paused because its user is deactivated, and until that is not so any more.
    suspended = models.BooleanField(default=False, db_default=False, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    end_reason = models.CharField(max_length=20, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # When its owner last put another task in its place, under the same name.
    replaced_at = models.DateTimeField(null=True, editable=False)

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="task_that_ended_never_fires",
                condition=Q(ended_at=None) | Q(next_fire_at=None),
            ),
            # Also read by a search for a task by its name.
            models.UniqueConstraint(
                fields=["tenant", "surface", "name"],
                name="task_name_once_while_alive",
                condition=Q(ended_at=None) & ~Q(name=""),
            ),
        ]
        indexes = [
            # Read by dispatch: what is due. Paused and ended tasks stay out of it.
            models.Index(
                fields=["next_fire_at"],
                name="task_due",
                condition=Q(next_fire_at__isnull=False),
            ),
            # Read by dispatch when more is due than it takes at once, for each tenant's
            # share.
            models.Index(
                fields=["tenant", "next_fire_at"],
                name="task_due_of_tenant",
                condition=Q(next_fire_at__isnull=False),
            ),
            # Read by the beat: when to wake for those that it does not dispatch ahead.
            models.Index(
                fields=["next_fire_at"],
                name="task_due_exactly",
                condition=Q(next_fire_at__isnull=False) & ~Q(overlap=Overlap.ALLOW),
            ),
            # Read by the admin's search, across tenants.
            models.Index(
                fields=["name"],
                opclasses=["varchar_pattern_ops"],
                name="task_of_name",
                condition=~Q(name=""),
            ),
            # Read by the list of a user's own tasks, oldest first, from nothing else.
            models.Index(
                fields=["owner", "surface", "id"],
                name="task_of_owner",
                include=["ends_at"],
                condition=Q(ended_at=None),
            ),
            # Read by the list of those that are paused, which are few among many.
            models.Index(
                fields=["owner", "surface", "id"],
                name="task_paused",
                condition=Q(ended_at=None, is_paused=True),
            ),
            # Read by the beat, which ends tasks that are past their end. Those that fire again stay
            # out of it, so firing does not write it.
            models.Index(
                fields=["ends_at"],
                name="task_over",
                condition=Q(
                    ended_at=None, next_fire_at__isnull=True, ends_at__isnull=False
                ),
            ),
            # Read by the history of notices, which are few among many.
            models.Index(
                fields=["tenant"], name="task_notice", condition=Q(surface="notices")
            ),
            # Read by retention: what ended, of a tenant, the oldest first.
            models.Index(
                fields=["tenant", "ended_at"],
                name="task_ended",
                condition=Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return summary(
            name=self.name, method=self.method, url=self.url, queue=self.queue
        )

    def coming_fire_time(self, now: datetime) -> datetime | None:
        """The next fire time as its owner sees it, untouched by looking ahead."""
        if not self.periodic_task.enabled:
            return None
        if self.last_fire_at and self.last_fire_at > now:
            return self.last_fire_at
        return self.next_fire_at


class TaskTally(models.Model):
    """How many tasks of a surface a user has that have not ended, in parts.

    Each connection counts in a part of its own, so that two seldom wait for each other;
    `storage/task_counts.py` keeps it.
    """

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="task_tallies", db_index=False
    )
    surface = models.CharField(max_length=12)
    part = models.PositiveSmallIntegerField()
    # Of a part it may be below zero: who ends a task is not who made it.
    tasks = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "surface", "part"], name="task_tally_once_per_part"
            )
        ]
        verbose_name_plural = "task tallies"

    def __str__(self) -> str:
        return f"{self.tasks} of {self.surface}"


class TaskTag(models.Model):
    """A tag of a task that has not ended, to find the task by."""

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    # Written and deleted by the statements that write and end its task.
    task = models.ForeignKey(
        Task, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    tag = models.CharField(max_length=100)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "tag"], name="task_tag_once")
        ]
        indexes = [
            # Read by the list of a user's tasks with a tag, oldest first.
            models.Index(fields=["owner", "tag", "task"], name="task_of_tag")
        ]

    def __str__(self) -> str:
        return self.tag


class ScheduleChange(ScheduleColumns):
    """The end of one schedule of a task, and the schedule that ended there.

    The first of them began with the task, each other one where the one before ended;
    the schedule that a task has now stands on the task. So a task that never changes
    costs no row.
    """

    class ChangeKind(models.TextChoices):
        PAUSED = "paused"
        RESUMED = "resumed"
        EDITED = "edited"
        REPLACED = "replaced"
        REMOVED = "removed"
        OVER = "over"
        BROKEN = "broken"

    # Deleted by the statements that delete the task.
    task = models.ForeignKey(
        Task,
        models.CASCADE,
        related_name="schedule_changes",
        db_index=False,
        db_constraint=False,
    )
    at = models.DateTimeField()
    what = models.CharField(max_length=10, choices=ChangeKind)
    # The first of its fire times up to `at` that has no run yet; null once all have.
    open_from = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # Read by the account of a task, and when the task is forgotten.
            models.Index(fields=["task", "id"], name="change_of_task"),
            # Read by the beat: which fire times have to be settled.
            models.Index(
                fields=["id"],
                name="change_is_open",
                condition=Q(open_from__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.what} at {self.at:%Y-%m-%d %H:%M:%S}"
