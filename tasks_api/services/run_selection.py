"""The runs that one call changes: chosen by a filter or by their ids, the oldest first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count

from accounts.models import User
from scheduler_service.db.arrays import array
from scheduler_service.db.statements import with_limit
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task


class RunsOfTask(NamedTuple):
    """A task and how many of its runs are selected."""

    task: Task
    runs: int


class RunsPreview(NamedTuple):
    """The number of runs that a call would change, and the tasks with the most of them."""

    total: int
    has_more: bool
    tasks: list[RunsOfTask]


@dataclass(frozen=True)
class RunSelection:
    """Which runs a call changes; None lets all of them through."""

    states: Collection[RunState]
    task_id: UUID | None = None
    since: datetime | None = None
    # Exclusive.
    until: datetime | None = None
    # The reason as the sums of hours name it, and the status of the last answer.
    reason: str | None = None
    code: int | None = None
    # A part of the task's name, in lower case.
    name: str | None = None
    run_ids: Collection[UUID] | None = None
    backfill_id: UUID | None = None

    def find(self, statement: str, user: User, *, limit: int) -> list[UUID]:
        """Return the ids of the runs that the user reaches, by one of the statements."""
        with connection.cursor() as cursor:
            cursor.execute(with_limit(statement, limit), self._values(user))
            return [run_id for (run_id,) in cursor.fetchall()]

    def preview(
        self, statement: str, user: User, *, limit: int, task_limit: int
    ) -> RunsPreview:
        """Return what a call would find by the same statement at the moment."""
        found = self.find(statement, user, limit=limit + 1)
        ids, has_more = found[:limit], len(found) > limit
        runs = Run.objects.filter(pk__in=ids).order_by().values("task")
        counted = runs.annotate(runs=Count("pk")).order_by("-runs", "task")[:task_limit]
        counts = {row["task"]: row["runs"] for row in counted}
        tasks = Task.objects.in_bulk(counts)
        by_task = [RunsOfTask(tasks[pk], count) for pk, count in counts.items()]
        return RunsPreview(len(ids), has_more, by_task)

    def _values(self, user: User) -> dict[str, Any]:
        return {
            "owner": user.pk,
            "reaches_all": user.reaches_tenant,
            "tenant": user.tenant_id,
            "states": array(sorted(self.states)),
            "task": self.task_id,
            "since": self.since,
            "until": self.until,
            "reason": self.reason,
            "code": self.code and str(self.code),
            "name": self.name,
            "backfill": self.backfill_id,
            "runs": None if self.run_ids is None else array(self.run_ids),
        }
