"""Hourly sums of runs and of planned fire times, and how far they go."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import Tenant


class RollupProgress(models.Model):
    """How far the runs of a tenant are counted.

    A statement that changes the sums of a tenant locks this row first.
    """

    tenant = models.OneToOneField(
        Tenant, models.CASCADE, primary_key=True, related_name="+"
    )
    # The closed hours: from `closed_from` to before `closed_until`.
    closed_from = models.DateTimeField()
    closed_until = models.DateTimeField()
    # Read by the release before alone; see RollupSearch.
    ended_until = models.DateTimeField()

    class Meta:
        verbose_name_plural = "rollup progress"
        indexes = [
            # Read by the rollups and their metric: who is furthest behind.
            models.Index(fields=["closed_until"], name="rollup_behind")
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} until {self.closed_until:%Y-%m-%d %H:%M}"


class RollupSearch(models.Model):
    """Up to when tasks that ended were searched for fire times in closed hours."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    ended_until = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="rollup_search_is_one", condition=Q(id=1))
        ]
        verbose_name_plural = "rollup searches"

    def __str__(self) -> str:
        return f"until {self.ended_until:%Y-%m-%d %H:%M}"


class HourRollup(models.Model):
    """The sums of a closed hour of fire times, of one user's tasks or of the tenant's.

    `counts` maps the names of `domain/tallies.py` to numbers. An hour without fire times
    has no row.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    # The user who owned the tasks, or 0 for all tasks of the tenant. No foreign key: 0
    # is no user.
    owner_id = models.BigIntegerField()
    hour = models.DateTimeField()
    counts = models.JSONField()

    class Meta:
        constraints = [
            # Read by the stats and the account of a tenant or a user.
            models.UniqueConstraint(
                fields=["tenant", "owner_id", "hour"], name="rollup_once_per_hour"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:%M} of {self.owner_id or self.tenant_id}"


class ReopenedHours(models.Model):
    """Hours whose fire times and runs are counted again, because a task catches up.

    The row goes once the hours in which it begins and ends, and those between, are
    counted.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    since = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        indexes = [
            # Read by the rollups: what has to be counted again.
            models.Index(fields=["tenant", "since"], name="reopened_hours")
        ]
        verbose_name_plural = "reopened hours"

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"


class LateRun(models.Model):
    """A run that was unfinished when its hour was closed.

    It is counted once it is over. Until the next day the row says that it was.
    """

    # No foreign keys: retention may delete the run or the task first.
    run_id = models.UUIDField(primary_key=True)
    task_id = models.UUIDField()
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    counted_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # Read by the stats and the account: the late runs of a range.
            models.Index(
                fields=["tenant", "hour"],
                name="late_run_to_count",
                condition=Q(counted_at=None),
            ),
            # Read by the search for late fire times: the task's run is known to be late.
            models.Index(fields=["task_id"], name="late_run_of_task"),
            # Read by the rollups: what was counted long ago is deleted.
            models.Index(
                fields=["counted_at"],
                name="late_run_counted",
                condition=Q(counted_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} of {self.hour:%Y-%m-%d %H:%M}"
