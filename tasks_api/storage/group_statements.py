"""The SQL that groups tasks by the fire times that their schedules have in a window.

The window runs from `first` to `last`, both included. It begins at a whole second, and
ends a microsecond before one. The fire times of an interval in whole seconds share a
fraction of a second, so tasks whose fire times lie in the same seconds are one group.
"""

from __future__ import annotations

from collections.abc import Mapping

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
)
# An interval of django-celery-beat, at most a thousand years long, so that no sum with
# it leaves PostgreSQL's calendar. date_bin() takes no months.
_EVERY = """
    CASE task.interval_period
        WHEN 'days' THEN least(task.interval_every, 365000) * '1 day'::interval
        WHEN 'hours' THEN least(task.interval_every, 8760000) * '1 hour'::interval
        WHEN 'minutes' THEN least(task.interval_every, 525600000) * '1 minute'::interval
        WHEN 'seconds' THEN task.interval_every * '1 second'::interval
        WHEN 'microseconds' THEN task.interval_every * '1 microsecond'::interval
    END
"""
_UNIT = "CASE task.interval_period WHEN 'microseconds' THEN 'microseconds' ELSE 'second' END"
# The latest fire time that a task may have in the window.
_END = "least(task.ends_at, task.ended_at, %(last)s::timestamptz)"
_FIRST, _LAST = "%(first)s::timestamptz", "%(last)s::timestamptz"


def group_intervals(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL that groups the tasks with an interval by keys and fire times.

    `keys` are SQL over `task` by their names, and `tasks` is the FROM clause with its
    conditions. `last_at` is null if the fire times go on after the window. Of a one-off
    with an interval, the first fire time after `now` is the only one.
    """
    names = ", ".join(keys)
    columns = ", ".join(map(str, range(1, len(keys) + 4)))
    return f"""
        SELECT {names}, every,
            date_trunc(unit, first_at) AS first_at,
            CASE WHEN is_one_off THEN date_trunc(unit, first_at)
                WHEN end_at < {_LAST} THEN date_trunc(unit, date_bin(every, end_at, first_at))
                END AS last_at,
            count(*) AS size
        FROM (
            SELECT *, CASE WHEN origin >= since THEN origin
                ELSE date_bin(every, since - '1 microsecond'::interval, origin) + every
                END AS first_at
            FROM (
                SELECT {_selected(keys)}, task.is_one_off, {_EVERY} AS every,
                    {_UNIT} AS unit, {_END} AS end_at,
                    coalesce(task.starts_at, task.created_at) AS origin,
                    CASE WHEN task.is_one_off
                        THEN %(now)s::timestamptz + '1 microsecond'::interval
                        ELSE {_FIRST} END AS since
                {tasks} AND task.once_at IS NULL AND task.interval_every > 0
            ) task
        ) task
        WHERE first_at BETWEEN {_FIRST} AND end_at
        GROUP BY {columns}
    """


def group_crons(keys: Mapping[str, str], tasks: str) -> str:
    """Return SQL that groups the tasks with a cron expression by keys and fire times.

    `first_at` and `last_at` are null where the fire times go on beyond the window.
    """
    columns = ", ".join(f"task.{name}" for name in CRON_COLUMNS)
    start = "greatest(task.starts_at, task.created_at + '1 microsecond'::interval)"
    return f"""
        SELECT {_selected(keys)}, {columns},
            CASE WHEN {start} > {_FIRST} THEN {start} END AS first_at,
            CASE WHEN {_END} < {_LAST} THEN {_END} END AS last_at,
            task.is_one_off AS fires_once, count(*) AS size
        {tasks} AND task.once_at IS NULL AND task.interval_every IS NULL
            AND task.cron_zone <> ''
        GROUP BY {", ".join(map(str, range(1, len(keys) + len(CRON_COLUMNS) + 4)))}
    """


def _selected(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{value} AS {name}" for name, value in keys.items())
