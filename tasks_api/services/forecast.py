"""The forecast: how many fire times are to come in each bucket of time.

It is computed from groups of tasks that fire alike, so its cost grows with the number
of different schedules and not with the number of tasks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from accounts.models import User
from scheduler_service.db.arrays import array
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.fire_counts import Buckets, FireTimeCounter
from tasks_api.domain.schedules import MICROSECOND
from tasks_api.services import forecast_statements as statements
from tasks_api.storage import fire_time_groups
from tasks_api.storage.fire_time_groups import GroupWindow

# The most groups of tasks in one forecast, and the steps that it may take in all: some
# three seconds of a web process.
MAX_GROUPS = 50_000
MAX_STEPS = 600_000
# The most series in one answer: those with the most fire times.
MAX_SERIES = 100


class Division(StrEnum):
    """What a forecast is divided by."""

    NOTHING = ""
    TASK = "task"
    TAG = "tag"
    HOST = "host"
    LANE = "lane"


@dataclass
class Series:
    """The fire times of some tasks by the index of their bucket.

    `paused` counts those that paused tasks would have if somebody resumed them now.
    """

    coming: Counter[int] = field(default_factory=Counter)
    paused: Counter[int] = field(default_factory=Counter)

    def add(self, counts: Counter[int], *, is_paused: bool) -> None:
        (self.paused if is_paused else self.coming).update(counts)

    @property
    def size(self) -> int:
        return self.coming.total() + self.paused.total()


@dataclass
class Forecast:
    """The fire times of all tasks, and of those with each label, the largest first."""

    buckets: Buckets
    all: Series
    labelled: list[tuple[str, Series]]
    # How many more labels have fire times.
    omitted: int


class Only(NamedTuple):
    """The one task, tag, host or lane whose fire times alone are counted."""

    by: Division
    label: str


class _Asked(NamedTuple):
    """The tasks that a forecast counts, and the most groups of them."""

    user: User
    by: Division
    only: Only | None
    max_groups: int

    def refuse_too_many(self, number: int) -> None:
        most = self.max_groups
        if number < most:
            return
        if self.by is Division.NOTHING:
            text = (
                f"More than {most} schedules differ from from to to; ask for less time"
            )
            raise InvalidTask("to", text)
        text = f"There are more than {most} to divide the forecast by; leave by out, or ask for less time"
        raise InvalidTask("by", text)

    def values(self) -> dict[str, Any]:
        user = self.user
        users = User.objects.filter(tenant=user.tenant_id)
        owners = (
            users.values_list("pk", flat=True) if user.reaches_tenant else [user.pk]
        )
        return {
            "tenant": user.tenant_id,
            "owner": None if user.reaches_tenant else user.pk,
            "owners": array(owners),
            **{
                f"only_{by}": self.only.label
                if self.only and self.only.by == by
                else None
                for by in Division
                if by
            },
            "limit": self.max_groups + 1,
        }


class _Counted(NamedTuple):
    labels: list[str]
    is_paused: bool
    counts: Counter[int]


def make_forecast(
    user: User,
    buckets: Buckets,
    *,
    by: Division,
    now: datetime,
    only: Only | None = None,
    max_groups: int | None = None,
) -> Forecast:
    """Return the fire times after now that the tasks of a user have in the buckets.

    Raises InvalidTask that names `by` or `to` if there are too many of them.
    """
    asked = _Asked(user, by, only, max_groups or MAX_GROUPS)
    everything = Series()
    labelled: defaultdict[str, Series] = defaultdict(Series)
    try:
        with allowance(MAX_STEPS, TooMuch):
            for found in _count_groups(asked, buckets, now):
                everything.add(found.counts, is_paused=found.is_paused)
                for label in found.labels:
                    labelled[label].add(found.counts, is_paused=found.is_paused)
    except TooMuch:
        text = (
            "The fire times from from to to take too long to count; ask for less time, "
            "or for longer buckets"
        )
        raise InvalidTask("to", text) from None
    ordered = sorted(labelled.items(), key=lambda item: (-item[1].size, item[0]))
    omitted = max(0, len(ordered) - MAX_SERIES)
    return Forecast(buckets, everything, ordered[:MAX_SERIES], omitted)


def find_next(
    user: User, buckets: Buckets, *, only: Only | None, now: datetime, limit: int
) -> list[UUID]:
    """Return the first tasks whose next fire time is after now and in the buckets."""
    window = GroupWindow(buckets, max(buckets.start, now + MICROSECOND), now)
    values = _Asked(user, Division.NOTHING, only, limit - 1).values()
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_NEXT, {**values, **window.values()})
        return [task_id for (task_id,) in cursor.fetchall()]


def _count_groups(asked: _Asked, buckets: Buckets, now: datetime) -> Iterator[_Counted]:
    window = GroupWindow(buckets, max(buckets.start, now + MICROSECOND), now)
    if window.first > window.last:
        return
    values, by = asked.values(), asked.by
    yield from _count_one_offs(asked, values, window)
    counter = FireTimeCounter(buckets)
    for read, statement in (
        (fire_time_groups.read_intervals, statements.COMING_INTERVALS[by]),
        (fire_time_groups.read_crons, statements.COMING_CRONS[by]),
        (fire_time_groups.read_on_calendars, statements.COMING_ON_CALENDARS[by]),
    ):
        for number, (keys, group) in enumerate(read(statement, values, window)):
            asked.refuse_too_many(number)
            label, is_paused = keys
            try:
                counts = counter.count(group)
            except ScheduleError:
                # A schedule that cannot be computed has no fire times.
                continue
            yield _Counted(_labels(label, by), is_paused, counts)


def _count_one_offs(
    asked: _Asked, values: dict[str, Any], window: GroupWindow
) -> Iterator[_Counted]:
    by = asked.by
    with connection.cursor() as cursor:
        cursor.execute(statements.COUNT_ONE_OFFS[by], {**values, **window.values()})
        rows = cursor.fetchall()
    for number, (label, is_paused, bucket, count) in enumerate(rows):
        asked.refuse_too_many(number)
        yield _Counted(_labels(label, by), is_paused, Counter({bucket: count}))


def _labels(label: Any, by: Division) -> list[str]:
    """Return the labels of a group: none, one, or the tags of its tasks."""
    if by is Division.TAG:
        return list(dict.fromkeys(label))
    return [] if label is None else [label]
