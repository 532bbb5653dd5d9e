"""Runs, and the attempts that were made for them."""

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
        """Those of a user's own tasks, or all of the tenant's for its administrators."""
        if user.reaches_tenant:
            return self.filter(tenant=user.tenant_id)
        return self.filter(tenant=user.tenant_id, task__owner=user)

    def newest_ids(self, task_ids: Iterable[UUID], *, each: int) -> set[UUID]:
        """The ids of the newest runs of tasks, so many of each at most."""
        newest = self.filter(task=OuterRef("pk")).order_by("-scheduled_for")
        of_task = ArraySubquery(newest.values("pk")[:each])
        ids = Task.objects.filter(pk__in=task_ids).values_list(of_task, flat=True)
        return {run_id for of_one in ids for run_id in of_one}

    def not_started(self) -> Self:
        return self.filter(state__in=[RunState.PENDING, RunState.RETRYING])

    def cancel(self, reason: str) -> int:
        # The filters are the statement's own: a worker that claims a run meanwhile wins.
        return self.update(
            state=RunState.CANCELLED, reason=reason, wake_at=None, finished_at=Now()
        )


class Run(models.Model):
    """One fire time of one task: the row that says what became of it.

    `wake_at` is when somebody must look at it again, null once it is final. Pending:
    ring again, no worker took it. Running: the lease is over. Retrying: try again.
    Open: the target's deadline.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    # Their indexes would repeat those below, which begin with the same columns.
    task = models.ForeignKey(Task, models.CASCADE, related_name="runs", db_index=False)
    # Its task's, copied by the statement that makes the run: there is nothing to check,
    # and a check costs an eighth of what making a run costs.
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
    # Changes with every claim: only the holder of the current one may record.
    lease = models.UUIDField(null=True)
    attempt_count = models.PositiveIntegerField(default=0)
    # How many attempts ended with their worker, and were made again for that.
    lost_count = models.PositiveIntegerField(default=0)
    # Bars other runs of its task from beginning before it is over.
    exclusive = models.BooleanField(default=False)
    # Waits until the exclusive run of its task is over, and takes its place then.
    is_next = models.BooleanField(default=False, db_default=False)
    # Somebody asked for it, beside the schedule; so it is sent though its task is paused.
    by_hand = models.BooleanField(default=False, db_default=False)
    # Of many fire times that were missed in a row, and are one row, the last.
    covers_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # The run that this one sends again. No foreign key: that one may be pruned first.
    redrive_of = models.UUIDField(null=True)
    # The fire time that a run stands for which sends another one again; null is its own.
    slot = models.DateTimeField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            # The promise the whole service rests on: however many beats run, a
            # fire time makes one run.
            models.UniqueConstraint(
                fields=["task", "scheduled_for"], name="run_once_per_fire_time"
            ),
            models.UniqueConstraint(
                fields=["task"],
                name="run_alone_while_exclusive",
                condition=Q(exclusive=True, finished_at=None),
            ),
            # One alone may wait for it to be over.
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
            # However often somebody asks: the same run is not sent again twice at once.
            models.UniqueConstraint(
                fields=["redrive_of"],
                name="run_redriven_once_at_a_time",
                condition=Q(redrive_of__isnull=False, finished_at=None),
            ),
        ]
        indexes = [
            # Read by rescue: what waits, whatever for.
            models.Index(
                fields=["wake_at"], name="run_waits", condition=Q(wake_at__isnull=False)
            ),
            # Read by the history of a tenant, newest first, and by retention.
            models.Index(F("tenant"), F("scheduled_for").desc(), name="run_of_tenant"),
            # Read by the history of what was not delivered, and by redrives of it. A run
            # that goes well never stands in it.
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
            # Read by redrives by filter: what has been sent again already.
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

    # Written and deleted by the statements that write and delete its run.
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
    # The first 16 KiB, as text.
    answer = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run", "number"], name="attempt_once_per_number"
            )
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.run_id}"
