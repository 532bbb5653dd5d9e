"""How many living tasks each user has."""

from __future__ import annotations

from django.db import models

from accounts.models import User
from tasks_api.models.tenants import CopiedTenant


class TaskTally(CopiedTenant):
    """The number of living tasks of a user on a surface, as a sum of parts.

    Connections count in different parts, so that they seldom wait for each other.
    `storage/task_counts.py` updates the tallies.
    """

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="task_tallies", db_index=False
    )
    surface = models.CharField(max_length=12)
    part = models.PositiveSmallIntegerField()
    # A part may be below zero: one connection may create a task and another end it.
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
