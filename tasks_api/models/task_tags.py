"""The tags of living tasks, by which tasks are found."""

from __future__ import annotations

from django.db import models

from accounts.models import User
from tasks_api.models.tasks import Task
from tasks_api.models.tenants import CopiedTenant


class TaskTag(CopiedTenant):
    """A tag of a living task, to find the task by."""

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    # The statements that write and end tasks keep this reference valid.
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
