"""Tasks: their requests, and when they fire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan
from django_celery_beat.models import PeriodicTask

from accounts.fields import SealedTextField, SealedUrlField
from accounts.models import Tenant, TokenBounds, User
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.ids import new_id
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    Surface,
    summary,
)
from tasks_api.models.lanes import Lane
from tasks_api.models.schedule_columns import ScheduleColumns


class TaskQuerySet(models.QuerySet["Task"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)

    def for_owner(self, user: User) -> Self:
        return self.filter(tenant=user.tenant_id, owner=user).within_bounds(user)

    def visible_to(self, user: User) -> Self:
        """Select a user's own tasks, or all of the tenant's for its admins."""
        if user.reaches_tenant:
            return self.filter(tenant=user.tenant_id).within_bounds(user)
        return self.for_owner(user)

    def within_bounds(self, user: User) -> Self:
        """Select what was made with the bounded token of a call, if it has one."""
        if user.bounds is None:
            return self
        return self.filter(bounds__in=TokenBounds.objects.within(user.bounds))

    def alive(self, now: datetime) -> Self:
        """Select living tasks: neither deleted, nor run once, nor past their end."""
        return self.filter(Q(ends_at=None) | Q(ends_at__gte=now), ended_at=None)

    def paused(self) -> Self:
        return self.filter(ended_at=None, is_paused=True)

    def not_paused(self) -> Self:
        return self.filter(is_paused=False)

    def with_name_prefix(self, prefix: str) -> Self:
        """Select tasks of any tenant whose names begin with the prefix."""
        return self.filter(name__startswith=prefix).exclude(name="")

    def newest_with_part(self, part: str, *, examined: int, limit: int) -> set[UUID]:
        """Return the ids of tasks with a part in their name, among the newest ones."""
        newest = self.order_by("-pk").values("pk")[:examined]
        named = self.filter(pk__in=newest, name__icontains=part).order_by("-pk")
        return set(named.values_list("pk", flat=True)[:limit])

    def for_surface(self, surface: Surface) -> Self:
        return self.filter(surface=surface)

    def named(self, surface: Surface, name: str) -> Self:
        """Select the living task of a client name."""
        return self.filter(surface=surface, name=name, ended_at=None).exclude(name="")

    def on_calendar(self, mark: str) -> Self:
        """Select tasks that have not ended and whose calendars contain the mark of one."""
        return self.on_calendars().filter(calendars__contains=mark)

    def on_calendars(self) -> Self:
        """Select tasks that have not ended and follow calendars."""
        return self.filter(ended_at=None).exclude(calendars="")

    def with_schedule(self) -> Self:
        return self.select_related(
            "periodic_task__interval",
            "periodic_task__crontab",
            "periodic_task__clocked",
        )


class Task(ScheduleColumns):
    """The HTTP request that a tenant wants sent, and when.

    django-celery-beat's tables hold its schedule, pause and end, so that the admin
    shows and edits them. The schedule columns here are the copy that next_fire_at was
    computed from. If they differ from those tables, an operator has edited the schedule
    since.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # An index of its own would repeat one below, which begins with the same column.
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, related_name="tasks", db_index=False
    )
    owner = models.ForeignKey(
        User, models.CASCADE, related_name="tasks", db_index=False
    )
    # The name `task` would clash with a field of PeriodicTask. PROTECT keeps the admin
    # from deleting a task silently with its schedule.
    periodic_task = models.OneToOneField(
        PeriodicTask, models.PROTECT, related_name="http_task"
    )
    surface = models.CharField(max_length=12, choices=[(s, s) for s in Surface])
    # The client name, if the wire format has one.
    name = models.CharField(max_length=255, blank=True)
    # TaskTag finds tasks by their tags.
    tags = ArrayField(models.TextField(), default=list, db_default=[], blank=True)
    method = models.CharField(max_length=7, default="POST")
    # Empty if the target is the tenant's callback URL or a pull queue.
    url = SealedUrlField(blank=True)
    queue = models.CharField(max_length=255, blank=True)
    # Text, not jsonb: numbers and key order reach the target as they were posted.
    body = models.TextField()
    # The statuses that count as success, such as 200-299,304; empty: any below 400.
    expected_status = models.CharField(max_length=200, blank=True)
    overlap = models.CharField(
        max_length=10, choices=[(o, o) for o in Overlap], default=Overlap.ALLOW
    )
    misfire = models.CharField(
        max_length=10, choices=[(m, m) for m in Misfire], default=Misfire.LATEST
    )
    # The seconds by which a fire time may be late and still fire; null: no limit.
    catchup_window = models.PositiveIntegerField(null=True)
    # The window in seconds over which the fire times of tasks are spread.
    spread = models.PositiveIntegerField(default=0, db_default=0)
    # The client left the spread to the service, which chose it and the offset.
    spread_auto = models.BooleanField(default=False, db_default=False)
    # Whether the task may make the line of its lane too long; empty: it may not.
    admit = models.CharField(max_length=10, blank=True, default="", db_default="")
    # A RetryPolicy or a Backoff as JSON; empty: one attempt.
    retry = models.TextField(blank=True)
    # RequestOptions as JSON; empty: none.
    request = SealedTextField(blank=True, default="", db_default="")
    # The failure streak that pauses the task; null: no streak does, and none is
    # counted.
    pause_after_failures = models.PositiveIntegerField(null=True)
    failure_streak = models.PositiveIntegerField(
        default=0, db_default=0, editable=False
    )
    # The task ends after so many runs of its schedule; null: after any number.
    max_runs = models.PositiveIntegerField(null=True)
    # The runs of its schedule, if there is a limit: without those that were skipped or
    # missed, and without those that were cancelled before a worker started them.
    runs_made = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # The task ends after the first run of its schedule that succeeds.
    stop_on_success = models.BooleanField(default=False, db_default=False)
    # The lane that the client named; empty: none.
    lane_name = models.CharField(max_length=100, blank=True, default="", db_default="")
    # The lane that the task belongs to: the named one, or that of its target host.
    lane = models.ForeignKey(
        Lane, models.SET_NULL, null=True, related_name="tasks", db_index=False
    )
    schedule_text = models.TextField(blank=True)
    # Null while the task is paused, or if it never fires again.
    next_fire_at = models.DateTimeField(null=True, editable=False)
    # The tenant is frozen: the task never fires here, and is to fire at `parked_fire_at`
    # where the tenant moves.
    is_parked = models.BooleanField(default=False, db_default=False, editable=False)
    parked_fire_at = models.DateTimeField(null=True, editable=False)
    # The newest fire time that was taken.
    last_fire_at = models.DateTimeField(null=True, editable=False)
    # The fire times after the next one, as far as they are computed, if its schedule is
    # none that a statement can follow. They count for one version of the task,
    # by one version of the time zone rules.
    following_fire_times = ArrayField(models.DateTimeField(), null=True, editable=False)
    following_version = models.PositiveIntegerField(null=True, editable=False)
    following_rules = models.TextField(default="", db_default="", editable=False)
    # Each change by a user increases the version; firing does not.
    version = models.PositiveBigIntegerField(default=1, db_default=1, editable=False)
    # What the task can do at most, because a bounded token made it; null: no such token
    # did. It stays, whoever changes the task.
    bounds = models.ForeignKey(
        TokenBounds,
        models.DO_NOTHING,
        null=True,
        editable=False,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    pause_reason = models.TextField(blank=True, editable=False)
    # Why a user paused the task; why the service did is the pause_reason.
    hold_reason = models.TextField(
        blank=True, default="", db_default="", editable=False
    )
    # The moment at which a paused task resumes by itself; null: when a user says so.
    resume_at = models.DateTimeField(null=True, editable=False)
    # Which fire times of the pause the task makes up for when it resumes.
    catch_up = models.CharField(
        max_length=10, default=CatchUp.NONE, db_default=CatchUp.NONE, editable=False
    )
    # The task is paused for as long as its user is deactivated.
    suspended = models.BooleanField(default=False, db_default=False, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    end_reason = models.CharField(max_length=20, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # The moment at which the owner last replaced the task.
    replaced_at = models.DateTimeField(null=True, editable=False)

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="task_that_ended_never_fires",
                condition=Q(ended_at=None) | Q(next_fire_at=None),
            ),
            # Whatever forgets that a tenant is frozen fails, so that no fire time has a run
            # on both sides of a move.
            models.CheckConstraint(
                name="task_that_is_parked_never_fires",
                condition=Q(is_parked=False) | Q(next_fire_at=None),
            ),
            # Also read by a search for a task by its name.
            models.UniqueConstraint(
                fields=["tenant", "surface", "name"],
                name="task_name_once_while_alive",
                condition=Q(ended_at=None) & ~Q(name=""),
            ),
        ]
        indexes = [
            # Read by workers: due tasks. Paused and ended tasks stay out of it.
            models.Index(
                fields=["next_fire_at"],
                name="task_due",
                condition=Q(next_fire_at__isnull=False),
            ),
            # Read by beats: recurring tasks that workers have left for too long.
            models.Index(
                fields=["next_fire_at"],
                name="task_due_again",
                condition=Q(next_fire_at__isnull=False, is_one_off=False),
            ),
            # Read by workers for each tenant's share, if more is due than a batch.
            models.Index(
                fields=["tenant", "next_fire_at"],
                name="task_due_of_tenant",
                condition=Q(next_fire_at__isnull=False),
            ),
            # Read by the admin's search, across tenants.
            models.Index(
                fields=["name"],
                opclasses=["varchar_pattern_ops"],
                name="task_of_name",
                condition=~Q(name=""),
            ),
            # Read by the list of a user's own tasks, oldest first; it reads no table.
            models.Index(
                fields=["owner", "surface", "id"],
                name="task_of_owner",
                include=["ends_at"],
                condition=Q(ended_at=None),
            ),
            # Read by the list of paused tasks, which are few among many.
            models.Index(
                fields=["owner", "surface", "id"],
                name="task_paused",
                condition=Q(ended_at=None, is_paused=True),
            ),
            # Read by the beat, which ends tasks that are past their end. Tasks that
            # fire again stay out of it, so firing does not write it.
            models.Index(
                fields=["ends_at"],
                name="task_over",
                condition=Q(
                    ended_at=None, next_fire_at__isnull=True, ends_at__isnull=False
                ),
            ),
            # Read by the beat, which resumes tasks whose pause is over.
            models.Index(
                fields=["resume_at"],
                name="task_resumes",
                condition=Q(ended_at=None, resume_at__isnull=False),
            ),
            # Read by a change of a calendar: the tasks that follow calendars.
            models.Index(
                fields=["tenant"],
                name="task_on_calendars",
                condition=Q(ended_at=None) & ~Q(calendars=""),
            ),
            # Read by the list of a lane's tasks, and before the lane is deleted.
            models.Index(
                fields=["lane"],
                name="task_of_lane",
                condition=Q(lane__isnull=False),
            ),
            # Read by the history of notices, which are few among many.
            models.Index(
                fields=["tenant"], name="task_notice", condition=Q(surface="notices")
            ),
            # Read by the rollups: recurring tasks that ended in or after an hour.
            models.Index(
                fields=["tenant", "ended_at"],
                name="task_recurring_ended",
                condition=Q(ended_at__isnull=False, is_one_off=False),
            ),
            # Read by the rollups: one-time tasks that ended long after their moment. Nearly
            # all end within a minute, and are never in it.
            models.Index(
                fields=["ended_at"],
                name="task_ended_late",
                condition=Q(
                    GreaterThan(
                        F("ended_at") - Coalesce("once_at", "last_fire_at"),
                        timedelta(minutes=1),
                    ),
                    is_one_off=True,
                ),
            ),
            # Read for the tasks of a bounded token, and when its bounds lapse.
            models.Index(
                fields=["bounds"],
                name="task_of_bounds",
                condition=Q(ended_at=None, bounds__isnull=False),
            ),
            # Read when many tenants are thawed at once: what was put aside.
            models.Index(
                fields=["tenant"], name="task_parked", condition=Q(is_parked=True)
            ),
            # Read by retention: a tenant's ended tasks, oldest first.
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

    @property
    def runs_left(self) -> int | None:
        """Return how many runs its schedule may still make; None: any number."""
        return None if self.max_runs is None else max(self.max_runs - self.runs_made, 0)

    @property
    def first_open_fire_time(self) -> datetime | None:
        """Return the next fire time, also while its tenant is frozen."""
        return self.parked_fire_at if self.is_parked else self.next_fire_at

    @property
    def coming_fire_time(self) -> datetime | None:
        """Return the next fire time as clients see it."""
        return self.first_open_fire_time if self.periodic_task.enabled else None
