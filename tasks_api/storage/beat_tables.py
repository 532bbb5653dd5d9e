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
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask

from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared
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


class Stored(NamedTuple):
    """A task's schedule as it lies in the tables; the order is that of COLUMNS.

    The last five stand on the task, where only the service writes. Start and expiry are
    those of the fire times, so with a spread they lie by its offset after the grid's.
    """

    enabled: bool
    one_off: bool
    start_time: datetime | None = None
    expires: datetime | None = None
    every: int | None = None
    period: str | None = None
    clocked_time: datetime | None = None
    minute: str | None = None
    hour: str | None = None
    day_of_month: str | None = None
    month_of_year: str | None = None
    day_of_week: str | None = None
    zone: str | None = None
    solar_id: int | None = None
    created_at: datetime = EPOCH
    seconds: str = ""
    years: str = ""
    dst: str = ""
    offset_seconds: int = 0

    @property
    def of_task(self) -> tuple[str, str, str, int]:
        """What the tables of django-celery-beat have no place for."""
        return self.seconds, self.years, self.dst, self.offset_seconds


COLUMNS = """
    periodic.enabled, periodic.one_off, periodic.start_time, periodic.expires,
    every.every, every.period, clocked.clocked_time,
    cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week,
    cron.timezone, periodic.solar_id, task.created_at, task.cron_seconds,
    task.cron_years, task.dst, task.spread_offset
"""
JOINS = """
    JOIN django_celery_beat_periodictask periodic ON periodic.id = task.periodic_task_id
    LEFT JOIN django_celery_beat_intervalschedule every ON every.id = periodic.interval_id
    LEFT JOIN django_celery_beat_clockedschedule clocked ON clocked.id = periodic.clocked_id
    LEFT JOIN django_celery_beat_crontabschedule cron ON cron.id = periodic.crontab_id
"""

# Whether a task may fire: it is not paused, and its user is not deactivated. Notices are
# their tenant's.
GOES = "(periodic.enabled AND (owner.is_active OR task.surface = 'notices'))"
OWNER = "JOIN accounts_user owner ON owner.id = task.owner_id"

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


# What django-celery-beat's tables say, where others edit it.
_PLANNED = Stored._fields.index("created_at")


def plan_of(stored: Stored) -> str:
    """A schedule as one text, kept on the task to notice when somebody edits it."""
    return "|".join(map(_as_text, stored[:_PLANNED]))


def stored_from(
    plan: str, *, created_at: datetime, of_task: tuple[str, str, str, int]
) -> Stored:
    """A schedule read back from its plan; the rest of it stands beside it on the task."""
    texts = dict(zip(Stored._fields[:_PLANNED], plan.split("|"), strict=True))
    values: dict[str, Any] = {name: text or None for name, text in texts.items()}
    for name in ("enabled", "one_off"):
        values[name] = texts[name] == "t"
    for name in ("start_time", "expires", "clocked_time"):
        if texts[name]:
            values[name] = EPOCH + timedelta(microseconds=int(texts[name]))
    for name in ("every", "solar_id"):
        if texts[name]:
            values[name] = int(texts[name])
    seconds, years, dst, offset_seconds = of_task
    return Stored(
        **values,
        created_at=created_at,
        seconds=seconds,
        years=years,
        dst=dst,
        offset_seconds=offset_seconds,
    )


def is_one_off(plan: str) -> bool:
    return plan.split("|")[Stored._fields.index("one_off")] == "t"


def fires_alike(plan: str, other: str) -> bool:
    """Whether two plans fire alike, though an interval may have begun elsewhere."""
    fields, others = plan.split("|"), other.split("|")
    start, every = Stored._fields.index("start_time"), Stored._fields.index("every")
    if fields[every]:
        fields[start] = others[start]
    return fields == others


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
        seconds=task.cron_seconds,
        years=task.cron_years,
        dst=task.dst,
        offset_seconds=task.spread_offset,
    )


def stored_as(schedule: Schedule, *, created_at: datetime) -> Stored:
    """A schedule as it will lie in the tables once it is stored, not paused."""
    match schedule:
        case Once(at=at):
            return Stored(True, one_off=True, clocked_time=at, created_at=created_at)
        case Interval(start=start, every=every, end=end, offset=offset):
            return Stored(
                True,
                one_off=False,
                start_time=put_off(start, offset),
                expires=put_off(end, offset),
                every=every // SECOND,
                period=str(IntervalSchedule.SECONDS),
                created_at=created_at,
                offset_seconds=offset // SECOND,
            )
        case Cron(start=start, end=end, offset=offset):
            minute, hour, day, month, weekday = schedule.expression.split()
            return Stored(
                True,
                one_off=False,
                start_time=put_off(start, offset),
                expires=put_off(end, offset),
                minute=minute,
                hour=hour,
                day_of_month=day,
                month_of_year=month,
                day_of_week=weekday,
                zone=schedule.zone,
                created_at=created_at,
                seconds="" if schedule.seconds == "0" else schedule.seconds,
                years="" if schedule.years == "*" else schedule.years,
                dst=_DST[schedule.dst],
                offset_seconds=offset // SECOND,
            )


def schedule_from(stored: Stored) -> Schedule:
    """The schedule that a row stands for.

    Raises ScheduleError where it stands for none that we can compute.
    """
    if stored.clocked_time is not None:
        return Once(stored.clocked_time)
    offset = timedelta(seconds=stored.offset_seconds)
    try:
        start = on_grid(stored.start_time, offset)
        end = on_grid(stored.expires, offset)
    except OverflowError:
        raise ScheduleError("It begins or ends before the calendar does.") from None
    if stored.every is not None and stored.period is not None:
        try:
            every = timedelta(**{stored.period: stored.every})
        except (TypeError, OverflowError):
            every = timedelta()
        if every <= timedelta():
            raise ScheduleError(
                f"Every {stored.every} {stored.period} is not an interval."
            )
        return Interval(start or stored.created_at - offset, every, end, offset)
    if stored.minute is not None and stored.zone is not None:
        return Cron(
            _expression(stored),
            known_zone(stored.zone),
            start,
            end,
            seconds=stored.seconds or "0",
            years=stored.years or "*",
            dst=_DST_OF[stored.dst],
            offset=offset,
        )
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
    stored: Stored, *, now: datetime, last_fire_at: datetime | None, surface: str
) -> datetime | None:
    """Where a task that is new, resumed or edited continues; None when nothing is left.

    A one-off fires even if its moment has passed, but only once. Any other schedule
    continues at its next fire time, with no catch-up.
    """
    if not stored.enabled:
        return None
    schedule = schedule_from(stored)
    refuse_too_often(schedule, least=_least(schedule, surface))
    if stored.one_off and last_fire_at is not None:
        return None
    if isinstance(schedule, Once):
        is_over = stored.expires is not None and schedule.at > stored.expires
        return None if is_over else schedule.at
    return first_after(schedule, now)


class New(NamedTuple):
    """A schedule to be stored for a task, as columns of `fresh` in CREATED's statement."""

    description: str
    one_off: bool
    start_time: datetime | None
    expires: datetime | None
    clocked_time: datetime | None
    interval_id: int | None
    crontab_id: int | None


def new(wanted: Sequence[tuple[str, Stored]]) -> list[New]:
    """Schedules and their lines in the admin, for CREATED.

    What schedules share is stored here, where it was not; nothing else.
    """
    every_ids = _shared(_EVERY, (stored for _, stored in wanted))
    cron_ids = _shared(_CRON, (stored for _, stored in wanted))
    return [
        New(
            description,
            stored.one_off,
            stored.start_time,
            stored.expires,
            stored.clocked_time,
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
    CASE WHEN clocked_time IS NOT NULL
        THEN nextval('django_celery_beat_clockedschedule_id_seq') END AS clocked_id
"""
# Parts of a statement that store the schedules of `fresh`: the task's id, the columns of
# New, and IDS. Constraints are checked when it ends.
CREATED = f"""
    clocked AS (
        INSERT INTO django_celery_beat_clockedschedule (id, clocked_time)
        SELECT clocked_id, clocked_time FROM fresh WHERE clocked_id IS NOT NULL
    ), periodic AS (
        INSERT INTO django_celery_beat_periodictask (id, name, task, args, kwargs, headers,
            description, enabled, one_off, total_run_count, date_changed, start_time,
            expires, interval_id, crontab_id, clocked_id)
        SELECT periodic_task_id, 'task ' || id, '{FIRE}', '["' || id || '"]', '{{}}', '{{}}',
            description, true, one_off, 0, now(), start_time, expires, interval_id,
            crontab_id, clocked_id
        FROM fresh
    )
"""  # noqa: S608 (constants)


class _Shared(NamedTuple):
    """A table whose rows many tasks share: its columns, and how to cast them."""

    table: str
    columns: tuple[str, ...]
    cast: str
    read: Callable[[Stored], tuple[Any, ...]]

    def key(self, stored: Stored) -> tuple[Any, ...] | None:
        """A task's row there; None for a schedule of another kind."""
        key = self.read(stored)
        return None if key[0] is None else key


_EVERY = _Shared(
    "django_celery_beat_intervalschedule",
    ("every", "period"),
    "%s::int[], %s::text[]",
    attrgetter("every", "period"),
)
_DAYS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_CRON = _Shared(
    "django_celery_beat_crontabschedule",
    (*_DAYS, "timezone"),
    ", ".join(["%s::text[]"] * 6),
    attrgetter(*_DAYS, "zone"),
)


def _shared(
    shared: _Shared, stored: Iterable[Stored]
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


def replace(periodic_task_id: int, stored: Stored, *, description: str) -> None:
    """Put another recurring schedule in the place of a task's; it is not paused then."""
    PeriodicTask.objects.filter(pk=periodic_task_id).update(
        description=description,
        enabled=True,
        start_time=stored.start_time,
        expires=stored.expires,
        interval_id=_shared(_EVERY, [stored]).get(_EVERY.key(stored)),
        crontab_id=_shared(_CRON, [stored]).get(_CRON.key(stored)),
    )


def change(wanted: Sequence[tuple[Task, Stored]]) -> None:
    """Put other schedules of any kind in the place of those of tasks, paused or not."""
    every_ids = _shared(_EVERY, (stored for _, stored in wanted))
    cron_ids = _shared(_CRON, (stored for _, stored in wanted))
    clocked_ids, left = _reclocked(wanted)
    rows = [
        (
            task.periodic_task_id,
            stored.one_off,
            stored.start_time,
            stored.expires,
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
    wanted: Sequence[tuple[Task, Stored]],
) -> tuple[list[int | None], list[int]]:
    """The moments of one-offs, new where they are others, and those that are left."""
    left = []
    fresh = []
    kept: list[ClockedSchedule | None] = []
    for task, stored in wanted:
        clocked = task.periodic_task.clocked
        if stored.clocked_time != (clocked and clocked.clocked_time):
            if clocked is not None:
                left.append(clocked.pk)
            clocked = None
            if stored.clocked_time is not None:
                clocked = ClockedSchedule(clocked_time=stored.clocked_time)
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
                UPDATE tasks_api_task SET version = version + 1,
                    planned_from = %s || substr(planned_from, 2)
                WHERE id = ANY(%s::uuid[]) RETURNING periodic_task_id
            )
            UPDATE django_celery_beat_periodictask periodic SET enabled = %s
            FROM changed WHERE periodic.id = changed.periodic_task_id
            """,
            ["t" if enabled else "f", array(task_ids), enabled],
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


def take_for_followed(task_id: UUID) -> None:
    """Let a task's plan be its schedule as it lies, whatever that is."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE tasks_api_task SET planned_from = found.plan
            FROM (SELECT task.id, {PLAN} AS plan FROM tasks_api_task task {JOINS}
                WHERE task.id = %s) AS found
            WHERE tasks_api_task.id = found.id
            """,  # noqa: S608 (both are constants of this module)
            [task_id],
        )


def nobodys() -> list[int]:
    """The enabled periodic tasks that are no tenant's: housekeeping, or an operator's."""
    # The index is of those that send something else than a tenant's tasks do.
    rows = PeriodicTask.objects.exclude(task=FIRE).filter(enabled=True, http_task=None)
    return list(rows.order_by("pk").values_list("pk", flat=True))
