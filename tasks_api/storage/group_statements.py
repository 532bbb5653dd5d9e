"""The SQL that groups tasks by the fire times that their schedules have in a window.

The window runs from `first` to `last`, both included. It lies in buckets of `width`
seconds from `start` on, and ends with the last of them. Buckets begin at whole seconds.
The fire times of an interval in whole seconds share a fraction of a second, so tasks
whose fire times lie in the same seconds are one group.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS

CRON_COLUMNS = (
    "cron_minute",
    "cron_hour",
    "cron_day_of_month",
    "cron_month_of_year",
    "cron_day_of_week",
    "cron_zone",
    "cron_seconds",
    "cron_years",
    "dst",
    "spread_offset",
    "interval_every",
    "interval_period",
    "rules",
)
# The microseconds of an interval of django-celery-beat, at most a thousand years, so
# that no sum with it leaves PostgreSQL's calendar.
_MICROSECONDS = """
    CASE task.interval_period
        WHEN 'days' THEN least(task.interval_every, 365000) * 86400000000
        WHEN 'hours' THEN least(task.interval_every, 8760000) * 3600000000
        WHEN 'minutes' THEN least(task.interval_every, 525600000)::bigint * 60000000
        WHEN 'seconds' THEN task.interval_every::bigint * 1000000
        WHEN 'microseconds' THEN task.interval_every::bigint
    END
"""
# The latest fire time that a task may have in the window.
_END = "least(task.ends_at, task.ended_at, %(last)s::timestamptz)"
_FIRST, _LAST = "%(first)s::timestamptz", "%(last)s::timestamptz"
_START = "%(start)s::timestamptz"


def group_intervals(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL that groups the tasks with an interval by keys and fire times.

    `keys` are SQL over `task` by their names, and `tasks` is the FROM clause with its
    conditions. `last_at` is null if the fire times go on after the window. Of a one-off
    with an interval, the first fire time after `now` is the only one.

    A task whose interval is a multiple of the buckets' width, or which fires only once,
    fires in the same buckets wherever in a bucket its fire times are. Its fire times are
    moved to the beginnings of their buckets, which makes few groups.
    """
    names = ", ".join(keys)
    columns = ", ".join(map(str, range(1, len(keys) + 4)))
    return f"""
        SELECT {names}, every, date_bin(unit, first_at, {_START}) AS first_at,
            CASE WHEN fires_once THEN date_bin(unit, first_at, {_START})
                WHEN end_at < {_LAST}
                THEN date_bin(unit, date_bin(every, end_at, first_at), {_START})
                END AS last_at,
            count(*) AS size
        FROM (
            SELECT {names}, every, first_at, end_at, fires_once,
                CASE WHEN fires_once OR microseconds %% (%(width)s * 1000000::bigint) = 0
                    THEN %(width)s * '1 second'::interval
                    WHEN microseconds %% 1000000 = 0 THEN '1 second'::interval
                    ELSE '1 microsecond'::interval END AS unit
            FROM ({_fire_in_window(keys, tasks)}) task
            OFFSET 0
        ) task
        GROUP BY {columns}
    """


def _fire_in_window(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL for the tasks with an interval that fire in the window.

    OFFSET 0 lets PostgreSQL compute each column once, and not at each of its uses.
    """
    return f"""
        SELECT *, is_one_off OR first_at + every > end_at AS fires_once
        FROM (
            SELECT *, CASE WHEN origin >= since THEN origin
                ELSE every + date_bin(every, since - '1 microsecond'::interval, origin)
                END AS first_at
            FROM (
                SELECT {_selected(keys)}, task.is_one_off,
                    {_MICROSECONDS} AS microseconds,
                    ({_MICROSECONDS})::float8 * '1 microsecond'::interval AS every,
                    {_END} AS end_at, coalesce(task.starts_at, task.created_at) AS origin,
                    CASE WHEN task.is_one_off
                        THEN %(now)s::timestamptz + '1 microsecond'::interval
                        ELSE {_FIRST} END AS since
                {tasks} AND task.once_at IS NULL AND task.interval_every > 0
                    AND task.rules = '' AND task.calendars = ''
                OFFSET 0
            ) task
            OFFSET 0
        ) task
        WHERE first_at BETWEEN {_FIRST} AND end_at
        OFFSET 0
    """


def group_crons(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL that groups the tasks with a cron expression or rules by keys and times.

    `first_at` and `last_at` are null where the fire times go on beyond the window.
    """
    columns = ", ".join(f"task.{name}" for name in CRON_COLUMNS)
    start = "greatest(task.starts_at, task.created_at + '1 microsecond'::interval)"
    return f"""
        SELECT {_selected(keys)}, {columns},
            CASE WHEN {start} > {_FIRST} THEN {start} END AS first_at,
            CASE WHEN {_END} < {_LAST} THEN {_END} END AS last_at,
            task.is_one_off AS fires_once, count(*) AS size
        {tasks} AND task.once_at IS NULL AND task.calendars = '' AND (task.rules <> ''
            OR (task.interval_every IS NULL AND task.cron_zone <> ''))
        GROUP BY {", ".join(map(str, range(1, len(keys) + len(CRON_COLUMNS) + 4)))}
    """


def group_on_calendars(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL that groups the tasks with calendars by keys and schedules.

    The schedules have their starts and ends. Fire times of intervals without a start
    count from the creation of the task; those of crons lie after it.
    """
    names = [name for name in SCHEDULE_COLUMNS if name != "is_paused"]
    columns = ", ".join(f"task.{name}" for name in names)
    return f"""
        SELECT {_selected(keys)}, {columns},
            CASE WHEN task.interval_every IS NOT NULL AND task.starts_at IS NULL
                THEN task.created_at END AS created_at,
            CASE WHEN task.interval_every IS NULL AND task.created_at >= {_FIRST}
                THEN task.created_at + '1 microsecond'::interval END AS first_at,
            CASE WHEN {_END} < {_LAST} THEN {_END} END AS last_at, count(*) AS size
        {tasks} AND task.once_at IS NULL AND task.calendars <> ''
        GROUP BY {", ".join(map(str, range(1, len(keys) + len(names) + 4)))}
    """


def _selected(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{value} AS {name}" for name, value in keys.items())
