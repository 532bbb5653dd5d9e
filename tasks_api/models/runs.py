"""Runs and their attempts, live ones and history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import F, OuterRef, Q

from accounts.models import Tenant, User
from tasks_api.domain.ids import id_range
from tasks_api.domain.states import (
    FINAL_STATES,
    UNDELIVERED_STATES,
    RunState,
    Stage,
)
from tasks_api.models.tasks import Task
from tasks_api.models.tenants import CopiedTenant


class RunQuerySet(models.QuerySet["Run"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)

    def visible_to(self, user: User) -> Self:
        """Select the runs of a user's tasks, or of all the tenant's for its admins."""
        if user.reaches_tenant:
            return self.filter(tenant=user.tenant_id)
        return self.filter(tenant=user.tenant_id, task__owner=user)

    def newest_ids(self, task_ids: Iterable[UUID], *, each: int) -> set[UUID]:
        """Return the ids of the newest runs of tasks, at most `each` per task."""
        newest = self.filter(task=OuterRef("pk")).order_by("-scheduled_for")
        of_task = ArraySubquery(newest.values("pk")[:each])
        ids = Task.objects.filter(pk__in=task_ids).values_list(of_task, flat=True)
        return {run_id for of_one in ids for run_id in of_one}

    def planned_between(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Self:
        """Narrow the runs to the partitions with fire times from `since` to `until`.

        Runs of some milliseconds more are let through.
        """
        first, last = id_range(since, until)
        found = self if first is None else self.filter(pk__gte=first)
        return found if last is None else found.filter(pk__lt=last)

    def not_started(self) -> Self:
        # The stage keeps PostgreSQL from reading history.
        waiting = [RunState.PENDING, RunState.RETRYING]
        return self.filter(stage=Stage.LIVE, state__in=waiting)


# The condition of runs that a worker may take when their moment has come.
IS_WAITING = Q(
    state__in=[RunState.PENDING, RunState.RETRYING], is_next=False, lane_id=None
)
# The condition of runs that a worker may take when their lane admits them.
IS_IN_LANE = Q(
    state__in=[RunState.PENDING, RunState.RETRYING],
    is_next=False,
    lane_id__isnull=False,
)


class Run(models.Model):
    """One fire time of one task, and its result.

    `wake_at` is the moment at which somebody handles the run again; null in a final
    state. Pending or retrying: a worker may take it. Running: the lease runs out. Open:
    the target's deadline passes.

    The table is partitioned by `stage`: rows of live runs are few, and change; rows of
    runs that are over are history, and don't. Statements that change runs name the
    partition `tasks_api_run_live`, and move what ends by deleting and inserting it:
    an UPDATE that moved a row would fail all other statements that wait for the row.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # An index of its own would repeat one below, which begins with the same column.
    # Whoever makes a run has locked its task, and whoever deletes a task has deleted
    # its runs. A constraint would check nothing new, and look at each row.
    task = models.ForeignKey(
        Task,
        models.CASCADE,
        related_name="runs",
        db_index=False,
        db_constraint=False,
    )
    # The statement that makes the run copies this from the task.
    tenant = models.ForeignKey(
        Tenant,
        models.CASCADE,
        related_name="runs",
        db_index=False,
        db_constraint=False,
    )
    scheduled_for = models.DateTimeField()
    state = models.CharField(max_length=10, choices=RunState, default=RunState.PENDING)
    reason = models.TextField(blank=True)
    wake_at = models.DateTimeField(null=True)
    # Each worker that takes the run makes a new lease: only its holder may record.
    lease = models.UUIDField(null=True)
    attempt_count = models.PositiveIntegerField(default=0)
    # The number of attempts that were made again because their worker died.
    lost_count = models.PositiveIntegerField(default=0)
    # The task can have no other unfinished exclusive run.
    exclusive = models.BooleanField(default=False)
    # The run waits until the exclusive run of its task has ended, and then moves up.
    is_next = models.BooleanField(default=False, db_default=False)
    # A manual run: a user asked for it, so it is sent even if its task is paused.
    by_hand = models.BooleanField(default=False, db_default=False)
    # The user who asked to cancel a running run. Its worker gives the request up when it
    # renews the lease.
    cancelled_by = models.CharField(
        max_length=150, blank=True, default="", db_default=""
    )
    # The lane in which the run waits and starts. No foreign key: history keeps it.
    lane_id = models.BigIntegerField(null=True)
    # The last fire time, if the run stands for many that were missed in a row.
    covers_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The original run of a redrive. No foreign key: retention may delete that run
    # first.
    redrive_of = models.UUIDField(null=True)
    # The slot of a redrive: the fire time of the original run. Null: its own fire time.
    slot = models.DateTimeField(null=True)
    stage = models.TextField(choices=Stage, default=Stage.LIVE, db_default=Stage.LIVE)
    # The first attempt. Most runs have no other, so it has no row of its own.
    first_started_at = models.DateTimeField(null=True)
    first_duration_ms = models.PositiveIntegerField(null=True)
    first_status_code = models.PositiveSmallIntegerField(null=True)
    first_error = models.TextField(blank=True, default="", db_default="")
    first_answer = models.TextField(blank=True, default="", db_default="")

    objects = RunQuerySet.as_manager()

    class Meta:
        # Indexes and unique constraints of live runs are those of tasks_api_run_live.
        constraints = [
            # The service rests on this promise: a fire time makes one run, even with
            # many workers. Statements that repeat a fire time look into history, too.
            models.UniqueConstraint(
                fields=["task", "scheduled_for"], name="run_once_per_fire_time"
            ),
            models.UniqueConstraint(
                fields=["task"],
                name="run_alone_while_exclusive",
                condition=Q(exclusive=True, finished_at=None),
            ),
            # Only one run of a task may wait for the exclusive one.
            models.UniqueConstraint(
                fields=["task"],
                name="run_alone_while_next",
                condition=Q(is_next=True, finished_at=None),
            ),
            models.CheckConstraint(
                name="run_final_or_awake",
                condition=Q(
                    state__in=sorted(FINAL_STATES),
                    finished_at__isnull=False,
                    wake_at=None,
                )
                | (
                    ~Q(state__in=sorted(FINAL_STATES))
                    & Q(finished_at=None, wake_at__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="run_leased_while_running",
                condition=Q(state=RunState.RUNNING, lease__isnull=False)
                | (~Q(state=RunState.RUNNING) & Q(lease=None)),
            ),
            # A run has one unfinished redrive, even if users ask twice.
            models.UniqueConstraint(
                fields=["redrive_of"],
                name="run_redriven_once_at_a_time",
                condition=Q(redrive_of__isnull=False, finished_at=None),
            ),
        ]
        indexes = [
            # Read by workers: runs that wait to be taken. Most runs are never in it.
            models.Index(fields=["wake_at"], name="run_waits", condition=IS_WAITING),
            # Read by workers for each tenant's share, if more waits than a batch.
            models.Index(
                fields=["tenant", "wake_at"],
                name="run_waits_of_tenant",
                condition=IS_WAITING,
            ),
            # Read by workers: runs that wait in a lane, in the order of the lane.
            models.Index(
                fields=["lane_id", "wake_at"],
                name="run_waits_in_lane",
                condition=IS_IN_LANE,
            ),
            # Read by workers: the runs of a lane that are under way.
            models.Index(
                fields=["lane_id"],
                name="run_under_way_in_lane",
                condition=Q(
                    state__in=[RunState.RUNNING, RunState.OPEN], lane_id__isnull=False
                ),
            ),
            # Read by rescue: leases and deadlines, and runs in line.
            models.Index(
                fields=["wake_at"],
                name="run_held",
                condition=Q(state__in=[RunState.RUNNING, RunState.OPEN])
                | Q(is_next=True),
            ),
            # Read by housekeeping: what a release before leaves here when it is over.
            models.Index(
                fields=["id"],
                name="run_over_in_live",
                condition=Q(stage=Stage.LIVE, finished_at__isnull=False),
            ),
            # All others are indexes of history. Read by the history of a task.
            models.Index(fields=["task", "scheduled_for"], name="run_of_task"),
            # Read by the history of a tenant, newest first, and by retention.
            models.Index(F("tenant"), F("scheduled_for").desc(), name="run_of_tenant"),
            # Read by the history of undelivered runs, and by redrives. Successful runs
            # are never in it.
            models.Index(
                F("tenant"),
                F("scheduled_for").desc(),
                name="run_not_delivered",
                condition=Q(state__in=sorted(UNDELIVERED_STATES)),
            ),
            # Read by the account.
            models.Index(
                fields=["task", "covers_until"],
                name="run_covers",
                condition=Q(covers_until__isnull=False),
            ),
            # Read by redrives by filter: the runs that were redriven before.
            models.Index(
                fields=["redrive_of"],
                name="run_redriven",
                condition=Q(redrive_of__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} at {self.scheduled_for:%Y-%m-%d %H:%M:%S}"


class FurtherAttempt(CopiedTenant):
    """The row of an attempt after the first, partitioned by the days of the runs.

    Read `Attempt` instead.
    """

    pk = models.CompositePrimaryKey("run_id", "number")
    run_id = models.UUIDField()
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True)
    error = models.TextField(blank=True)
    answer = models.TextField(blank=True)

    class Meta:
        db_table = "tasks_api_attempt"

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"


class Attempt(models.Model):
    """One HTTP request made for a run; numbered from 1, never edited.

    A view of the first attempts, which stand in the rows of the runs, and of further
    ones.
    """

    id = models.TextField(primary_key=True)
    run = models.ForeignKey(
        Run,
        models.DO_NOTHING,
        related_name="attempts",
        db_index=False,
        db_constraint=False,
    )
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True)
    error = models.TextField(blank=True)
    # The first 16 KiB of the answer, as text.
    answer = models.TextField(blank=True)

    class Meta:
        managed = False
        db_table = "tasks_api_all_attempts"

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"
