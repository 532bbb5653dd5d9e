"""Schedules as django-celery-beat stores them; no other module reads its tables.

Its rows are the truth about when a task fires, whether it is paused (`enabled`) and
when it ends (`expires`), so that the admin shows and edits the real thing. We write
them in sets and without its signals, which lock one global row for every change; who
edits them by the usual means does touch that row, and so we hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import AnyRow, check_columns, prepared
from tasks_api.domain.cron import Dst
from tasks_api.domain.cron_text import known_zone
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
    first_after,
    least_interval,
    on_grid,
    put_off,
)
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.storage import task_counts

# What the admin's "run selected tasks" sends, with the task's id.
FIRE = "tasks_api.tasks.fire"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
# How Task.dst writes what clocks that change do to a fixed time.
_DST = {
    Dst(): "",
    Dst(skips_gap=True): "skip first",
    Dst(runs_twice=True): "next_valid both",
    Dst(skips_gap=True, runs_twice=True): "skip both",
}
_DST_OF = {text: dst for dst, text in _DST.items()}


class StoredSchedule(NamedTuple):
    """A task's schedule as the tables hold it, by the names of ScheduleColumns.

    Start and end are those of the fire times, so with a spread they lie by its offset
    after the grid's.
    """

    is_paused: bool = False
    is_one_off: bool = False
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    interval_every: int | None = None
    interval_period: str = ""
    once_at: datetime | None = None
    cron_minute: str = ""
    cron_hour: str = ""
    cron_day_of_month: str = ""
    cron_month_of_year: str = ""
    cron_day_of_week: str = ""
    cron_zone: str = ""
    solar_id: int | None = None
    cron_seconds: str = ""
    cron_years: str = ""
    dst: str = ""
    spread_offset: int = 0
    created_at: datetime = EPOCH


# Where django-celery-beat's tables hold the parts of a schedule.
_IN_BEAT_TABLES = {
    "is_paused": "NOT periodic.enabled",
    "is_one_off": "periodic.one_off",
    "starts_at": "periodic.start_time",
    "ends_at": "periodic.expires",
    "interval_every": "every.every",
    "interval_period": "coalesce(every.period, '')",
    "once_at": "clocked.clocked_time",
    "cron_minute": "coalesce(cron.minute, '')",
    "cron_hour": "coalesce(cron.hour, '')",
    "cron_day_of_month": "coalesce(cron.day_of_month, '')",
    "cron_month_of_year": "coalesce(cron.month_of_year, '')",
    "cron_day_of_week": "coalesce(cron.day_of_week, '')",
    "cron_zone": "coalesce(cron.timezone, '')",
    "solar_id": "periodic.solar_id",
}
SCHEDULE_COLUMNS = StoredSchedule._fields[: StoredSchedule._fields.index("created_at")]
# What those tables have no place for, and tasks alone hold.
OWN_COLUMNS = tuple(name for name in SCHEDULE_COLUMNS if name not in _IN_BEAT_TABLES)
# The columns of StoredSchedule, as they are now.
COLUMNS = ", ".join(
    f"{_IN_BEAT_TABLES.get(name, f'task.{name}')} AS {name}"
    for name in StoredSchedule._fields
)
JOINS = """
    JOIN django_celery_beat_periodictask periodic ON periodic.id = task.periodic_task_id
    LEFT JOIN django_celery_beat_intervalschedule every ON every.id = periodic.interval_id
    LEFT JOIN django_celery_beat_clockedschedule clocked ON clocked.id = periodic.clocked_id
    LEFT JOIN django_celery_beat_crontabschedule cron ON cron.id = periodic.crontab_id
"""

# What a task's own columns take from those tables. Python knows no moments beyond its
# calendar, such as an end at infinity, and must be able to read a task.
FOLLOWED = {
    name: f"CASE WHEN {source} IS NOT NULL THEN"
    f" least(greatest({source}, '0001-01-01 UTC'), '9999-12-31 23:59:59.999999 UTC') END"
    if name in ("starts_at", "ends_at", "once_at")
    else source
    for name, source in _IN_BEAT_TABLES.items()
}
# Whether a task's schedule is still the one that its next fire time was computed from.
IS_FOLLOWED = "({})".format(
    " AND ".join(
        f"task.{name} IS NOT DISTINCT FROM {source}"
        for name, source in FOLLOWED.items()
    )
)


def fetch_with_schedule(cursor: CursorWrapper, row: type[AnyRow]) -> list[AnyRow]:
    """Like fetch_all(), where a row's last field is a schedule, from the last columns."""
    names = row._fields[:-1]
    check_columns(cursor, names + StoredSchedule._fields)
    return [
        row._make((*values[: len(names)], StoredSchedule._make(values[len(names) :])))
        for values in cursor.fetchall()
    ]


def fires_alike(stored: StoredSchedule, other: StoredSchedule) -> bool:
    """Whether two schedules fire alike, though an interval may have begun elsewhere."""
    if stored.interval_every is not None:
        stored = stored._replace(starts_at=other.starts_at)
    return stored._replace(created_at=other.created_at) == other


def stored_of(task: Task) -> StoredSchedule:
    row = task.periodic_task
    every, clocked, cron = row.interval, row.clocked, row.crontab
    return StoredSchedule(
        is_paused=not row.enabled,
        is_one_off=row.one_off,
        starts_at=row.start_time,
        ends_at=row.expires,
        interval_every=every and every.every,
        interval_period=every.period if every else "",
        once_at=clocked and clocked.clocked_time,
        cron_minute=cron.minute if cron else "",
        cron_hour=cron.hour if cron else "",
        cron_day_of_month=cron.day_of_month if cron else "",
        cron_month_of_year=cron.month_of_year if cron else "",
        cron_day_of_week=cron.day_of_week if cron else "",
        cron_zone=str(cron.timezone) if cron else "",
        solar_id=row.solar_id,
        cron_seconds=task.cron_seconds,
        cron_years=task.cron_years,
        dst=task.dst,
        spread_offset=task.spread_offset,
        created_at=task.created_at,
    )


def stored_as(schedule: Schedule, *, created_at: datetime) -> StoredSchedule:
    """A schedule as it will lie in the tables once it is stored, not paused."""
    match schedule:
        case Once(at=at):
            return StoredSchedule(is_one_off=True, once_at=at, created_at=created_at)
        case Interval(start=start, every=every, end=end, offset=offset):
            return StoredSchedule(
                starts_at=put_off(start, offset),
                ends_at=put_off(end, offset),
                interval_every=every // SECOND,
                interval_period=str(IntervalSchedule.SECONDS),
                spread_offset=offset // SECOND,
                created_at=created_at,
            )
        case Cron(start=start, end=end, offset=offset):
            minute, hour, day, month, weekday = schedule.expression.split()
            return StoredSchedule(
                starts_at=put_off(start, offset),
                ends_at=put_off(end, offset),
                cron_minute=minute,
                cron_hour=hour,
                cron_day_of_month=day,
                cron_month_of_year=month,
                cron_day_of_week=weekday,
                cron_zone=schedule.zone,
                cron_seconds="" if schedule.seconds == "0" else schedule.seconds,
                cron_years="" if schedule.years == "*" else schedule.years,
                dst=_DST[schedule.dst],
                spread_offset=offset // SECOND,
                created_at=created_at,
            )


def schedule_from(stored: StoredSchedule) -> Schedule:
    """The schedule that a row stands for.

    Raises ScheduleError where it stands for none that we can compute.
    """
    if stored.once_at is not None:
        return Once(stored.once_at)
    offset = timedelta(seconds=stored.spread_offset)
    try:
        start = on_grid(stored.starts_at, offset)
        end = on_grid(stored.ends_at, offset)
    except OverflowError:
        raise ScheduleError("It begins or ends before the calendar does.") from None
    if stored.interval_every is not None:
        start = start or stored.created_at - offset
        return Interval(start, _every(stored), end, offset)
    if stored.cron_zone:
        return Cron(
            _expression(stored),
            known_zone(stored.cron_zone),
            start,
            end,
            seconds=stored.cron_seconds or "0",
            years=stored.cron_years or "*",
            dst=_DST_OF[stored.dst],
            offset=offset,
        )
    raise ScheduleError("The schedule is neither an interval, a crontab nor clocked.")


def _every(stored: StoredSchedule) -> timedelta:
    count, period = stored.interval_every or 0, stored.interval_period
    try:
        every = timedelta(**{period: count})
    except (TypeError, OverflowError):
        every = timedelta()
    if every <= timedelta():
        raise ScheduleError(f"Every {count} {period} is not an interval.")
    return every


def _expression(stored: StoredSchedule) -> str:
    fields = (
        stored.cron_minute,
        stored.cron_hour,
        stored.cron_day_of_month,
        stored.cron_month_of_year,
        stored.cron_day_of_week,
    )
    return " ".join("".join(field.split()) for field in fields)


def schedule_of(task: Task) -> Schedule:
    return schedule_from(stored_of(task))


def refuse_too_often(schedule: Schedule, *, least: int = 1) -> None:
    """Raises ScheduleError where less than so many seconds are between two fire times."""
    if least == 1 and isinstance(schedule, Cron):
        # It cannot say less.
        return
    if (found := least_interval(schedule)) < least:
        raise ScheduleError(
            f"It fires every {found:g} s, and {least} s are the least between two fires."
        )


def _least(schedule: Schedule, surface: str) -> int:
    """The least seconds between two fires of a task. A `frequency` has its own setting."""
    least: int = settings.SCHEDULER_MIN_CRON_INTERVAL
    if isinstance(schedule, Interval) and surface == Surface.TASKS:
        least = max(least, settings.SCHEDULER_MIN_FREQUENCY)
    return least


def first_fire(
    stored: StoredSchedule,
    *,
    now: datetime,
    last_fire_at: datetime | None,
    surface: str,
) -> datetime | None:
    """Where a task that is new, resumed or edited continues; None when nothing is left.

    A one-off fires even if its moment has passed, but only once. Any other schedule
    continues at its next fire time, with no catch-up.
    """
    if stored.is_paused:
        return None
    schedule = schedule_from(stored)
    refuse_too_often(schedule, least=_least(schedule, surface))
    if stored.is_one_off and last_fire_at is not None:
        return None
    if isinstance(schedule, Once):
        is_over = stored.ends_at is not None and schedule.at > stored.ends_at
        return None if is_over else schedule.at
    return first_after(schedule, now)


class New(NamedTuple):
    """What a new schedule needs besides its parts, as columns of `fresh` in CREATED."""

    description: str
    interval_id: int | None
    crontab_id: int | None


def new(wanted: Sequence[tuple[str, StoredSchedule]]) -> list[New]:
    """Schedules and their lines in the admin, for CREATED.

    What schedules share is stored here, where it was not; nothing else.
    """
    every_ids = _shared(_EVERY, (stored for _, stored in wanted))
    cron_ids = _shared(_CRON, (stored for _, stored in wanted))
    return [
        New(
            description,
            every_ids.get(_EVERY.key(stored)),
            cron_ids.get(_CRON.key(stored)),
        )
        for description, stored in wanted
    ]


# SQL for `fresh`, the new tasks of a statement: the ids of their rows, which refer to
# each other by ids drawn beforehand. To look up the names of the sequences, which are
# PostgreSQL's own for such columns, would be a tenth of the statement.
IDS = """
    nextval('django_celery_beat_periodictask_id_seq') AS periodic_task_id,
    CASE WHEN once_at IS NOT NULL
        THEN nextval('django_celery_beat_clockedschedule_id_seq') END AS clocked_id
"""
# Parts of a statement that store the schedules of `fresh`: the task's id, the columns of
# StoredSchedule and New, and IDS. Constraints are checked when it ends.
CREATED = f"""
    clocked AS (
        INSERT INTO django_celery_beat_clockedschedule (id, clocked_time)
        SELECT clocked_id, once_at FROM fresh WHERE clocked_id IS NOT NULL
    ), periodic AS (
        INSERT INTO django_celery_beat_periodictask (id, name, task, args, kwargs, headers,
            description, enabled, one_off, total_run_count, date_changed, start_time,
            expires, interval_id, crontab_id, clocked_id)
        SELECT periodic_task_id, 'task ' || id, '{FIRE}', '["' || id || '"]', '{{}}', '{{}}',
            description, NOT is_paused, is_one_off, 0, now(), starts_at, ends_at,
            interval_id, crontab_id, clocked_id
        FROM fresh
    )
"""  # noqa: S608 (constants)


class _Shared(NamedTuple):
    """A table whose rows many tasks share: its columns, and how to cast them."""

    table: str
    columns: tuple[str, ...]
    cast: str
    read: Callable[[StoredSchedule], tuple[Any, ...]]

    def key(self, stored: StoredSchedule) -> tuple[Any, ...] | None:
        """A task's row there; None for a schedule of another kind."""
        key = self.read(stored)
        return key if key[0] else None


_EVERY = _Shared(
    "django_celery_beat_intervalschedule",
    ("every", "period"),
    "%s::int[], %s::text[]",
    attrgetter("interval_every", "interval_period"),
)
_DAYS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_CRON = _Shared(
    "django_celery_beat_crontabschedule",
    (*_DAYS, "timezone"),
    ", ".join(["%s::text[]"] * 6),
    attrgetter(*(f"cron_{name}" for name in _DAYS), "cron_zone"),
)


def _shared(
    shared: _Shared, stored: Iterable[StoredSchedule]
) -> dict[tuple[Any, ...] | None, int]:
    """The ids of the rows that schedules need, made where there is none yet."""
    keys = {key for each in stored if (key := shared.key(each))}
    if not keys:
        return {}
    names = ", ".join(shared.columns)
    wanted = f"unnest({shared.cast}) AS wanted({names})"
    with prepared(rows=len(keys)) as cursor:
        # Two of the same, from two requests at once, do no harm.
        cursor.execute(
            f"SELECT {names}, min(id) FROM {shared.table} JOIN {wanted}"  # noqa: S608 (constants)
            f" USING ({names}) GROUP BY {names}",
            columns(keys),
        )
        found = {row[:-1]: row[-1] for row in cursor.fetchall()}
        if missing := keys - found.keys():
            cursor.execute(
                f"INSERT INTO {shared.table} ({names}) SELECT * FROM {wanted}"  # noqa: S608 (constants)
                f" RETURNING {names}, id",
                columns(missing),
            )
            found |= {row[:-1]: row[-1] for row in cursor.fetchall()}
    return found


def replace(periodic_task_id: int, stored: StoredSchedule, *, description: str) -> None:
    """Put another recurring schedule in the place of a task's; it is not paused then."""
    PeriodicTask.objects.filter(pk=periodic_task_id).update(
        description=description,
        enabled=True,
        start_time=stored.starts_at,
        expires=stored.ends_at,
        interval_id=_shared(_EVERY, [stored]).get(_EVERY.key(stored)),
        crontab_id=_shared(_CRON, [stored]).get(_CRON.key(stored)),
    )


def change(wanted: Sequence[tuple[Task, StoredSchedule]]) -> None:
    """Put other schedules of any kind in the place of those of tasks, paused or not."""
    every_ids = _shared(_EVERY, (stored for _, stored in wanted))
    cron_ids = _shared(_CRON, (stored for _, stored in wanted))
    clocked_ids, left = _reclocked(wanted)
    rows = [
        (
            task.periodic_task_id,
            stored.is_one_off,
            stored.starts_at,
            stored.ends_at,
            every_ids.get(_EVERY.key(stored)),
            cron_ids.get(_CRON.key(stored)),
            clocked_id,
            stored.solar_id,
        )
        for (task, stored), clocked_id in zip(wanted, clocked_ids, strict=True)
    ]
    with prepared(rows=len(rows)) as cursor:
        # Not by save(), which locks the one global row.
        cursor.execute(
            """
            UPDATE django_celery_beat_periodictask periodic SET
                one_off = new.one_off, start_time = new.start_time,
                expires = new.expires, interval_id = new.interval_id,
                crontab_id = new.crontab_id, clocked_id = new.clocked_id,
                solar_id = new.solar_id
            FROM unnest(%s::int[], %s::bool[], %s::timestamptz[], %s::timestamptz[],
                    %s::int[], %s::int[], %s::int[], %s::int[])
                AS new(id, one_off, start_time, expires, interval_id, crontab_id,
                    clocked_id, solar_id)
            WHERE periodic.id = new.id
            """,
            columns(rows),
        )
        if left:
            cursor.execute(
                """
                DELETE FROM django_celery_beat_clockedschedule clocked
                WHERE id = ANY(%s::int[]) AND NOT EXISTS (
                    SELECT FROM django_celery_beat_periodictask
                    WHERE clocked_id = clocked.id)
                """,
                [array(left)],
            )


def _reclocked(
    wanted: Sequence[tuple[Task, StoredSchedule]],
) -> tuple[list[int | None], list[int]]:
    """The moments of one-offs, new where they are others, and those that are left."""
    left = []
    fresh = []
    kept: list[ClockedSchedule | None] = []
    for task, stored in wanted:
        clocked = task.periodic_task.clocked
        if stored.once_at != (clocked and clocked.clocked_time):
            if clocked is not None:
                left.append(clocked.pk)
            clocked = None
            if stored.once_at is not None:
                clocked = ClockedSchedule(clocked_time=stored.once_at)
                fresh.append(clocked)
        kept.append(clocked)
    if fresh:
        ClockedSchedule.objects.bulk_create(fresh)
    return [clocked and clocked.pk for clocked in kept], left


def redescribe(descriptions: Sequence[tuple[int, str]]) -> None:
    """Let the admin show what tasks are now, by the ids of their schedules."""
    with prepared(rows=len(descriptions)) as cursor:
        cursor.execute(
            """
            UPDATE django_celery_beat_periodictask periodic
            SET description = new.description
            FROM unnest(%s::int[], %s::text[]) AS new(id, description)
            WHERE periodic.id = new.id
            """,
            columns(descriptions),
        )


def set_enabled(task_ids: Collection[UUID], enabled: bool) -> None:
    """Pause or resume schedules, in one statement however many they are."""
    if not task_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH changed AS (
                UPDATE tasks_api_task SET version = version + 1, is_paused = %s
                WHERE id = ANY(%s::uuid[]) RETURNING periodic_task_id
            )
            UPDATE django_celery_beat_periodictask periodic SET enabled = %s
            FROM changed WHERE periodic.id = changed.periodic_task_id
            """,
            [not enabled, array(task_ids), enabled],
        )


def end(task_ids: Collection[UUID], *, now: datetime, reason: str) -> None:
    """End tasks before their time, and stop their schedules, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH ended AS (
                UPDATE tasks_api_task task
                SET ended_at = %s, end_reason = %s, next_fire_at = NULL
                WHERE id = ANY(%s::uuid[]) AND ended_at IS NULL
                RETURNING periodic_task_id, {task_counts.ENDED_COLUMNS}
            ), {task_counts.ENDED}
            UPDATE django_celery_beat_periodictask periodic SET enabled = false
            FROM ended WHERE periodic.id = ended.periodic_task_id
            """,  # noqa: S608 (constants)
            [now, reason, array(task_ids)],
        )


# When somebody last edited the tables by the usual means: admin, shell, ORM.
LAST_EDIT = "SELECT max(last_update) FROM django_celery_beat_periodictasks"


def drifted(limit: int) -> list[UUID]:
    """Tasks whose schedule was edited since their next fire time was computed."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT task.id FROM tasks_api_task task {JOINS}
            WHERE task.ended_at IS NULL AND NOT {IS_FOLLOWED}
            LIMIT %s
            """,  # noqa: S608 (both are constants of this module)
            [limit],
        )
        return [task_id for (task_id,) in cursor.fetchall()]


def edited(tasks: Iterable[Task]) -> list[tuple[UUID, StoredSchedule]]:
    """The schedules of those tasks whose own columns do not say the same."""
    found = [(task, stored_of(task)) for task in tasks]
    return [
        (task.pk, stored)
        for task, stored in found
        if any(
            getattr(task, name) != getattr(stored, name) for name in SCHEDULE_COLUMNS
        )
    ]


def follow(schedules: Sequence[tuple[UUID, StoredSchedule]]) -> None:
    """Note on tasks the schedules from which their next fire times are computed now."""
    if not schedules:
        return
    rows = [(task_id, *_followed(stored)) for task_id, stored in schedules]
    with prepared(rows=len(rows)) as cursor:
        cursor.execute(_FOLLOW, columns(rows))


def _followed(stored: StoredSchedule) -> Sequence[object]:
    return stored[: len(_IN_BEAT_TABLES)]


_TYPES = {
    "is_paused": "bool",
    "is_one_off": "bool",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
    "interval_every": "int",
    "once_at": "timestamptz",
    "solar_id": "int",
}


def _each(form: str) -> str:
    return ", ".join(form.format(name) for name in _IN_BEAT_TABLES)


_ARRAYS = ", ".join(f"%s::{_TYPES.get(name, 'text')}[]" for name in _IN_BEAT_TABLES)
_FOLLOW = f"""
    UPDATE tasks_api_task task SET {_each("{0} = new.{0}")}, version = version + 1
    FROM unnest(%s::uuid[], {_ARRAYS}) AS new(id, {_each("{}")})
    WHERE task.id = new.id AND ({_each("task.{}")}) IS DISTINCT FROM ({_each("new.{}")})
"""  # noqa: S608 (names of columns)


def follow_unread(task_id: UUID) -> None:
    """Note on a task the schedule that it has, whatever that is."""
    with connection.cursor() as cursor:
        cursor.execute(_FOLLOW_UNREAD, [task_id])


_FOLLOW_UNREAD = f"""
    UPDATE tasks_api_task SET {", ".join(f"{name} = found.{name}" for name in FOLLOWED)}
    FROM (
        SELECT task.id, {", ".join(f"{source} AS {name}" for name, source in FOLLOWED.items())}
        FROM tasks_api_task task {JOINS} WHERE task.id = %s
    ) AS found
    WHERE tasks_api_task.id = found.id
"""  # noqa: S608 (constants)


def nobodys() -> list[int]:
    """The enabled periodic tasks that are no tenant's: housekeeping, or an operator's."""
    # The index is of those that send something else than a tenant's tasks do.
    rows = PeriodicTask.objects.exclude(task=FIRE).filter(enabled=True, http_task=None)
    return list(rows.order_by("pk").values_list("pk", flat=True))
