"""What the pages of the calendar show: the load as heat maps, and lists of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.models import User
from console.calendar import maps
from console.calendar.labels import Label, labels_of, name_of
from console.calendar.load import Load, read_load
from console.calendar.local_hours import hours_of
from console.calendar.maps import HeatMap
from console.calendar.query import DAY, CalendarQuery, Window
from console.links import runs_url
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.services.coming_tasks import ComingTasks, list_coming_tasks

HOUR, QUARTER, MINUTE = timedelta(hours=1), timedelta(minutes=15), timedelta(minutes=1)
# A longer time is not shown minute by minute.
MAX_MINUTES = 60


@dataclass(frozen=True)
class Calendar:
    """A week or a day: its heat map, its sums, and what it can be divided by."""

    since: datetime
    until: datetime
    load: Load
    map: HeatMap
    labels: list[Label]
    # The one task, tag or host that is counted.
    label: str
    runs_url: str
    tasks_url: str

    @property
    def runs(self) -> int:
        return 0 if self.load.past is None else self.load.past.total()

    @property
    def coming(self) -> int:
        return self.load.coming.total()


def read_calendar(
    user: User, query: CalendarQuery, *, now: datetime
) -> Calendar | None:
    """The calendar of a user; None if it is of a task that the user does not reach."""
    label = name_of(user, query) if query.of else ""
    if label is None:
        return None
    since, until = _span_of(query)
    is_day = query.view == DAY
    width = QUARTER if is_day else HOUR
    load = read_load(
        user, since, until, width, by=query.division, only=query.only, now=now
    )
    draw = maps.draw_day if is_day else maps.draw_week
    return Calendar(
        since,
        until,
        load,
        draw(query, load, now),
        labels_of(user, query, load),
        label,
        runs_url(since, min(until, now)),
        query.tasks_url(max(since, now), until),
    )


def _span_of(query: CalendarQuery) -> tuple[datetime, datetime]:
    hours = [hour for day in query.days for hour in hours_of(day, query.zone)]
    return hours[0].start, hours[-1].end


@dataclass(frozen=True)
class Coming:
    """What fires in a window; `refusal` says why nobody counted it."""

    found: ComingTasks | None
    minutes: HeatMap | None = None
    refusal: str = ""
    has_minutes: bool = False


def read_coming(
    user: User, window: Window, query: CalendarQuery, *, now: datetime
) -> Coming:
    size = (window.until - window.since) // MINUTE
    has_minutes = size <= MAX_MINUTES
    buckets = Buckets(window.since, MINUTE, size)
    if not has_minutes:
        buckets = Buckets(window.since, size * MINUTE, 1)
    try:
        found = list_coming_tasks(user, buckets, only=query.only, now=now)
    except InvalidTask as refusal:
        return Coming(None, refusal=str(refusal))
    minutes = _minutes_of(found, buckets, query)
    return Coming(found, minutes, has_minutes=has_minutes)


def _minutes_of(
    found: ComingTasks, buckets: Buckets, query: CalendarQuery
) -> HeatMap | None:
    if buckets.size == 1:
        return None
    counts = [
        (start, found.by_bucket[index]) for index, start in enumerate(buckets.starts())
    ]
    return maps.draw_minutes(counts, query.zone, query)
