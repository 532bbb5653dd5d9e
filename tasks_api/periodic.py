"""Schedules as django-celery-beat stores them; no other module reads its tables.

Its rows are the truth about when a task fires, whether it is paused (`enabled`) and
when it ends (`expires`), so that the admin shows and edits the real thing. We write
them in sets and without its signals, which lock one global row for every change; who
edits them by the usual means does touch that row, and so we hear of it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Model, Value
from django.db.models.functions import Concat, Substr
from django_celery_beat.models import (
    ClockedSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
)

from tasks_api.exceptions import ScheduleError
from tasks_api.models import Task
from tasks_api.schedules import Cron, Interval, Once, Schedule, first_after

# What the admin's "run selected tasks" sends, with the task's id.
FIRE = "tasks_api.tasks.fire"

Row = TypeVar("Row", bound=Model)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stored(NamedTuple):
    """A task's schedule as it lies in the tables; the order is that of COLUMNS."""

    enabled: bool
    one_off: bool
    start_time: datetime | None
    expires: datetime | None
    every: int | None
    period: str | None
    clocked_time: datetime | None
    minute: str | None
    hour: str | None
    day_of_month: str | None
    month_of_year: str | None
    day_of_week: str | None
    zone: str | None
    solar_id: int | None
    created_at: datetime


COLUMNS = """
    periodic.enabled, periodic.one_off, periodic.start_time, periodic.expires,
    every.every, every.period, clocked.clocked_time,
    cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week,
    cron.timezone, periodic.solar_id, task.created_at
"""
JOINS = """
    JOIN django_celery_beat_periodictask periodic ON periodic.id = task.periodic_task_id
    LEFT JOIN django_celery_beat_intervalschedule every ON every.id = periodic.interval_id
    LEFT JOIN django_celery_beat_clockedschedule clocked ON clocked.id = periodic.clocked_id
    LEFT JOIN django_celery_beat_crontabschedule cron ON cron.id = periodic.crontab_id
"""

# The same text as plan_of() makes, for the rows of COLUMNS.
PLAN = """
    concat_ws('|',
        CASE WHEN periodic.enabled THEN 't' ELSE 'f' END,
        CASE WHEN periodic.one_off THEN 't' ELSE 'f' END,
        coalesce((extract(epoch FROM periodic.start_time) * 1000000)::bigint::text, ''),
        coalesce((extract(epoch FROM periodic.expires) * 1000000)::bigint::text, ''),
        coalesce(every.every::text, ''), coalesce(every.period, ''),
        coalesce((extract(epoch FROM clocked.clocked_time) * 1000000)::bigint::text, ''),
        coalesce(cron.minute, ''), coalesce(cron.hour, ''),
        coalesce(cron.day_of_month, ''), coalesce(cron.month_of_year, ''),
        coalesce(cron.day_of_week, ''), coalesce(cron.timezone, ''),
        coalesce(periodic.solar_id::text, ''))
"""


def plan_of(stored: Stored) -> str:
    """A schedule as one text, kept on the task to notice when somebody edits it."""
    return "|".join(_as_text(value) for value in stored[:-1])


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "t" if value else "f"
        case datetime():
            return str((value - EPOCH) // timedelta(microseconds=1))
        case _:
            return str(value)


def stored_of(task: Task) -> Stored:
    row = task.periodic_task
    every, clocked, cron = row.interval, row.clocked, row.crontab
    return Stored(
        enabled=row.enabled,
        one_off=row.one_off,
        start_time=row.start_time,
        expires=row.expires,
        every=every and every.every,
        period=every and every.period,
        clocked_time=clocked and clocked.clocked_time,
        minute=cron and cron.minute,
        hour=cron and cron.hour,
        day_of_month=cron and cron.day_of_month,
        month_of_year=cron and cron.month_of_year,
        day_of_week=cron and cron.day_of_week,
        zone=cron and str(cron.timezone),
        solar_id=row.solar_id,
        created_at=task.created_at,
    )


def schedule_from(stored: Stored) -> Schedule:
    """The schedule that a row stands for.

    Raises ScheduleError where it stands for none that we can compute.
    """
    if stored.clocked_time is not None:
        return Once(stored.clocked_time)
    start = stored.start_time
    if stored.every is not None and stored.period is not None:
        try:
            every = timedelta(**{stored.period: stored.every})
        except (TypeError, OverflowError):
            every = timedelta()
        if every <= timedelta():
            raise ScheduleError(
                f"Every {stored.every} {stored.period} is not an interval."
            )
        return Interval(start or stored.created_at, every, stored.expires)
    if stored.minute is not None and stored.zone is not None:
        return Cron(_expression(stored), _checked(stored.zone), start, stored.expires)
    raise ScheduleError("The schedule is neither an interval, a crontab nor clocked.")


def _expression(stored: Stored) -> str:
    fields = (
        stored.minute,
        stored.hour,
        stored.day_of_month,
        stored.month_of_year,
        stored.day_of_week,
    )
    return " ".join("".join(str(field).split()) for field in fields)


def _checked(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError):
        raise ScheduleError(f"The time zone {zone} is not known.") from None
    return zone


def schedule_of(task: Task) -> Schedule:
    return schedule_from(stored_of(task))


def first_fire(
    stored: Stored, *, now: datetime, last_fire_at: datetime | None
) -> datetime | None:
    """Where a task that is new, resumed or edited continues; None when nothing is left.

    A one-off fires even if its moment has passed, but only once. Any other schedule
    continues at its next fire time, with no catch-up.
    """
    if not stored.enabled:
        return None
    schedule = schedule_from(stored)
    if stored.one_off and last_fire_at is not None:
        return None
    if isinstance(schedule, Once):
        return schedule.at
    return first_after(schedule, now)


def create(
    task_id: UUID, schedule: Interval | Once, *, description: str
) -> PeriodicTask:
    """Store a schedule for a new task, without the signals of a save()."""
    row = PeriodicTask(
        name=f"task {task_id}",
        task=FIRE,
        args=f'["{task_id}"]',
        description=description,
    )
    match schedule:
        case Once(at=at):
            row.one_off = True
            row.clocked = _stored(ClockedSchedule(clocked_time=at))
        case Interval(start=start, every=every, end=end):
            row.interval = _interval(every)
            row.start_time, row.expires = start, end
    return _stored(row)


def _stored(row: Row) -> Row:
    # Other than save(), bulk_create() sends no signals.
    [created] = type(row)._default_manager.bulk_create([row])
    return created


def _interval(every: timedelta) -> IntervalSchedule:
    # Shared where one exists. Two of the same, from two requests at once, do no harm.
    seconds = every // timedelta(seconds=1)
    wanted = {"every": seconds, "period": IntervalSchedule.SECONDS}
    found = IntervalSchedule.objects.filter(**wanted).order_by("pk").first()
    return found or _stored(IntervalSchedule(**wanted))


def set_enabled(task_ids: Collection[UUID], enabled: bool) -> None:
    """Pause or resume schedules, in two statements however many they are."""
    if not task_ids:
        return
    PeriodicTask.objects.filter(http_task__in=task_ids).update(enabled=enabled)
    plan = Concat(Value("t" if enabled else "f"), Substr("planned_from", 2))
    Task.objects.filter(pk__in=task_ids).update(planned_from=plan)


def last_edit() -> datetime | None:
    """When somebody last edited the tables by the usual means: admin, shell, ORM."""
    edited_at: datetime | None = PeriodicTasks.last_change()
    return edited_at


def drifted(limit: int) -> list[UUID]:
    """Tasks whose schedule is no longer the one that their plan was made from."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT task.id FROM tasks_api_task task {JOINS}
            WHERE task.ended_at IS NULL AND task.planned_from <> {PLAN}
            LIMIT %s
            """,  # noqa: S608 (both are constants of this module)
            [limit],
        )
        return [task_id for (task_id,) in cursor.fetchall()]


def nobodys() -> list[int]:
    """The enabled periodic tasks that are no tenant's: housekeeping, or an operator's."""
    rows = PeriodicTask.objects.filter(enabled=True, http_task=None)
    return list(rows.order_by("pk").values_list("pk", flat=True))
