"""Runs and their attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db import models
from django.db.models import F, OuterRef, Q
from django.db.models.functions import Now

from accounts.models import Tenant, User
from tasks_api.domain.states import FINAL_STATES, UNDELIVERED_STATES, RunState
from tasks_api.models.tasks import Task


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

    def not_started(self) -> Self:
        return self.filter(state__in=[RunState.PENDING, RunState.RETRYING])

    def cancel(self, reason: str) -> int:
        # The UPDATE itself has the filters, so a worker that claims a run first wins.
        return self.update(
            state=RunState.CANCELLED, reason=reason, wake_at=None, finished_at=Now()
        )


class Run(models.Model):
    """One fire time of one task, and its result.

    `wake_at` is the moment at which a beat looks at the run again; null in a final
    state. Pending: the beat rings again. Running: the lease runs out. Retrying: the
    retry is due. Open: the target's deadline passes.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # An index of its own would repeat one below, which begins with the same column.
    task = models.ForeignKey(Task, models.CASCADE, related_name="runs", db_index=False)
    # The statement that makes the run copies this from the task. A constraint would
    # check nothing new, and cost an eighth of making a run.
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
    # Each claim changes the lease: only its current holder may record.
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
    # The last fire time, if the run stands for many that were missed in a row.
    covers_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The original run of a redrive. No foreign key: retention may delete that run
    # first.
    redrive_of = models.UUIDField(null=True)
    # The slot of a redrive: the fire time of the original run. Null: its own fire time.
    slot = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            # The service rests on this promise: a fire time makes one run, even with
            # many beats.
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
            # Read by rescue: unfinished runs.
            models.Index(
                fields=["wake_at"], name="run_waits", condition=Q(wake_at__isnull=False)
            ),
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


class Attempt(models.Model):
    """One HTTP request made for a run; numbered from 1, never edited."""

    # The statements that write and delete runs keep this reference valid.
    run = models.ForeignKey(
        Run,
        models.CASCADE,
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
        constraints = [
            models.UniqueConstraint(
                fields=["run", "number"], name="attempt_once_per_number"
            )
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"
