"""The changes of schedules, each with the schedule that ended there."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tasks_api.domain.catch_up import CatchUp
from tasks_api.models.schedule_columns import ScheduleColumns
from tasks_api.models.tasks import Task
from tasks_api.models.tenants import CopiedTenant


class ScheduleChange(CopiedTenant, ScheduleColumns):
    """The end of one schedule of a task, and the schedule that ended there.

    The first schedule began with the task, and each later one where the one before it
    ended. The present schedule stands on the task, so a task whose schedule never
    changes has no row here.
    """

    class ChangeKind(models.TextChoices):
        PAUSED = "paused"
        RESUMED = "resumed"
        EDITED = "edited"
        REPLACED = "replaced"
        REMOVED = "removed"
        OVER = "over"
        BROKEN = "broken"

    # The statements that delete tasks delete these rows, too.
    task = models.ForeignKey(
        Task,
        models.CASCADE,
        related_name="schedule_changes",
        db_index=False,
        db_constraint=False,
    )
    at = models.DateTimeField()
    what = models.CharField(max_length=10, choices=ChangeKind)
    # The first fire time up to `at` that has no run yet; null when all have one.
    open_from = models.DateTimeField(null=True)
    # The change resumed a task that makes up for its pause: the row then holds the
    # schedule as if the task had not been paused.
    catch_up = models.CharField(
        max_length=10, default=CatchUp.NONE, db_default=CatchUp.NONE
    )

    class Meta:
        indexes = [
            # Read by the account of a task, and by the statements that delete tasks.
            models.Index(fields=["task", "id"], name="change_of_task"),
            # Read by the rollups: the changes in or after an hour.
            models.Index(fields=["at"], name="change_by_time"),
            # Read by the beat: the changes whose fire times have no run yet.
            models.Index(
                fields=["id"],
                name="change_is_open",
                condition=Q(open_from__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.what} at {self.at:%Y-%m-%d %H:%M:%S}"
