"""The tasks that fire between two moments, those with the most fire times first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.models import Task
from tasks_api.services.forecast import (
    Division,
    Forecast,
    Only,
    find_next,
    make_forecast,
)
from tasks_api.services.overview import title_of

# A list with more tasks than this is not looked for: it shows those that fire next.
MAX_GROUPS = 5000
# The most tasks in the list.
MAX_TASKS = 100


class ComingTask(NamedTuple):
    """A task, and how often it fires in the time asked for; None if nobody counted."""

    task_id: UUID
    title: str
    # The first fire time, rounded down to the beginning of its bucket.
    first_at: datetime
    fire_times: int | None


@dataclass(frozen=True)
class ComingTasks:
    """The fire times of all tasks by bucket, and some of the tasks that have them."""

    by_bucket: Counter[int]
    tasks: list[ComingTask]

    @property
    def total(self) -> int:
        return self.by_bucket.total()

    @property
    def others(self) -> int:
        """Return the fire times of tasks that are not in the list, if it counts any."""
        counts = [each.fire_times for each in self.tasks if each.fire_times is not None]
        return self.total - sum(counts)


def list_coming_tasks(
    user: User, buckets: Buckets, *, now: datetime, only: Only | None = None
) -> ComingTasks:
    """Return what fires after now in the buckets. Raises InvalidTask as a forecast does."""
    forecast = partial(make_forecast, user, buckets, now=now, only=only)
    try:
        divided = forecast(by=Division.TASK, max_groups=MAX_GROUPS)
    except InvalidTask:
        together = forecast(by=Division.NOTHING).all.coming
        ids = find_next(user, buckets, only=only, now=now, limit=MAX_TASKS)
        return ComingTasks(together, _read_next(ids))
    return ComingTasks(divided.all.coming, _read(user, divided))


def titles_of(user: User, task_ids: Iterable[str]) -> dict[str, str]:
    """Return what people call those of the tasks that the user reaches, by their ids."""
    tasks = Task.objects.visible_to(user).filter(pk__in=list(task_ids))
    return {str(task.pk): title_of(task) for task in tasks}


def _read(user: User, divided: Forecast) -> list[ComingTask]:
    found = {label: each.coming for label, each in divided.labelled if each.coming}
    titles, buckets = titles_of(user, found), divided.buckets
    return [
        ComingTask(
            UUID(label),
            titles[label],
            buckets.start + min(counts) * buckets.width,
            counts.total(),
        )
        for label, counts in found.items()
        if label in titles
    ]


def _read_next(ids: list[UUID]) -> list[ComingTask]:
    tasks = Task.objects.filter(pk__in=ids, next_fire_at__isnull=False)
    return [
        ComingTask(task.pk, title_of(task), task.next_fire_at, None)
        for task in tasks.order_by("next_fire_at")
        if task.next_fire_at is not None
    ]
