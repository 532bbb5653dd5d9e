"""The SQL that reads and writes the tables of django-celery-beat.

A statement that uses the fragments selects from a task as `task`, followed by JOINS.
"""

from __future__ import annotations

from tasks_api.storage.count_statements import COUNT_OUT_ENDED, ENDED_COLUMNS
from tasks_api.storage.stored_schedules import SCHEDULE_COLUMNS, StoredSchedule

# The Celery task that the admin's "run selected tasks" sends, with the task's id.
FIRE_TASK_NAME = "tasks_api.tasks.fire"

# The columns of a schedule, and their sources in django-celery-beat's tables.
_BEAT_COLUMNS = {
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
# The columns of a schedule that only tasks have.
TASK_ONLY_COLUMNS = tuple(
    name for name in SCHEDULE_COLUMNS if name not in _BEAT_COLUMNS
)
# The columns of StoredSchedule with their present values.
COLUMNS = ", ".join(
    f"{_BEAT_COLUMNS.get(name, f'task.{name}')} AS {name}"
    for name in StoredSchedule._fields
)
JOINS = """
    JOIN django_celery_beat_periodictask periodic ON periodic.id = task.periodic_task_id
    LEFT JOIN django_celery_beat_intervalschedule every ON every.id = periodic.interval_id
    LEFT JOIN django_celery_beat_clockedschedule clocked ON clocked.id = periodic.clocked_id
    LEFT JOIN django_celery_beat_crontabschedule cron ON cron.id = periodic.crontab_id
"""

# The sources of a task's copy. Moments beyond Python's calendar, such as an end at
# infinity, are moved into it, because Python must be able to read a task.
COPIED_COLUMNS = {
    name: f"CASE WHEN {source} IS NOT NULL THEN"
    f" least(greatest({source}, '0001-01-01 UTC'), '9999-12-31 23:59:59.999999 UTC') END"
    if name in ("starts_at", "ends_at", "once_at")
    else source
    for name, source in _BEAT_COLUMNS.items()
}
# True if a task's next fire time was computed from its present schedule.
IS_UNEDITED = "({})".format(
    " AND ".join(
        f"task.{name} IS NOT DISTINCT FROM {source}"
        for name, source in COPIED_COLUMNS.items()
    )
)
# Columns of `fresh`, the new tasks of a statement: ids for their rows, drawn beforehand
# because the rows refer to each other. The names of the sequences are PostgreSQL's
# defaults; a lookup would cost a tenth of the statement.
DRAW_IDS = """
    nextval('django_celery_beat_periodictask_id_seq') AS periodic_task_id,
    CASE WHEN once_at IS NOT NULL
        THEN nextval('django_celery_beat_clockedschedule_id_seq') END AS clocked_id
"""
# Parts of a statement that store the schedules of `fresh`: the task's id, the columns
# of StoredSchedule and NewScheduleRow, and DRAW_IDS. Constraints are checked when it
# ends.
INSERT_SCHEDULES = f"""
    clocked AS (
        INSERT INTO django_celery_beat_clockedschedule (id, clocked_time)
        SELECT clocked_id, once_at FROM fresh WHERE clocked_id IS NOT NULL
    ), periodic AS (
        INSERT INTO django_celery_beat_periodictask (id, name, task, args, kwargs, headers,
            description, enabled, one_off, total_run_count, date_changed, start_time,
            expires, interval_id, crontab_id, clocked_id)
        SELECT periodic_task_id, 'task ' || id, '{FIRE_TASK_NAME}', '["' || id || '"]', '{{}}', '{{}}',
            description, NOT is_paused, is_one_off, 0, now(), starts_at, ends_at,
            interval_id, crontab_id, clocked_id
        FROM fresh
    )
"""

# The ids of shared rows are cast: PostgreSQL refuses a prepared statement whose result has
# another type than before, and these columns may have 32 or 64 bits.
_EVERY = "unnest(%s::int[], %s::text[]) AS wanted(every, period)"
# Find the ids of intervals that are stored already.
FIND_INTERVALS = f"""
    SELECT every, period, min(id)::bigint FROM django_celery_beat_intervalschedule
    JOIN {_EVERY} USING (every, period) GROUP BY every, period
"""
# Store intervals.
INSERT_INTERVALS = f"""
    INSERT INTO django_celery_beat_intervalschedule (every, period)
    SELECT * FROM {_EVERY} RETURNING every, period, id::bigint
"""

CRONTAB_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_CRONTAB = f"{', '.join(CRONTAB_FIELDS)}, timezone"
_CRONTABS = f"unnest({', '.join(['%s::text[]'] * 6)}) AS wanted({_CRONTAB})"
# Find the ids of crontabs that are stored already.
FIND_CRONTABS = f"""
    SELECT {_CRONTAB}, min(id)::bigint FROM django_celery_beat_crontabschedule
    JOIN {_CRONTABS} USING ({_CRONTAB}) GROUP BY {_CRONTAB}
"""
# Store crontabs.
INSERT_CRONTABS = f"""
    INSERT INTO django_celery_beat_crontabschedule ({_CRONTAB})
    SELECT * FROM {_CRONTABS} RETURNING {_CRONTAB}, id::bigint
"""

# Replace the schedules of tasks. save() would lock the one global row.
CHANGE_SCHEDULES = """
    UPDATE django_celery_beat_periodictask periodic SET
        one_off = new.one_off, start_time = new.start_time,
        expires = new.expires, interval_id = new.interval_id,
        crontab_id = new.crontab_id, clocked_id = new.clocked_id,
        solar_id = new.solar_id
    FROM unnest(%s::bigint[], %s::bool[], %s::timestamptz[], %s::timestamptz[],
            %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS new(id, one_off, start_time, expires, interval_id, crontab_id,
            clocked_id, solar_id)
    WHERE periodic.id = new.id
"""

# Delete moments of one-offs that no periodic task refers to.
DELETE_UNUSED_MOMENTS = """
    DELETE FROM django_celery_beat_clockedschedule clocked
    WHERE id = ANY(%s::bigint[]) AND NOT EXISTS (
        SELECT FROM django_celery_beat_periodictask
        WHERE clocked_id = clocked.id)
"""

# Write the descriptions that the admin shows.
UPDATE_DESCRIPTIONS = """
    UPDATE django_celery_beat_periodictask periodic
    SET description = new.description
    FROM unnest(%s::bigint[], %s::text[]) AS new(id, description)
    WHERE periodic.id = new.id
"""

# Pause or resume the schedules of tasks.
SET_ENABLED = """
    WITH changed AS (
        UPDATE tasks_api_task SET version = version + 1, is_paused = %s
        WHERE id = ANY(%s::uuid[]) RETURNING periodic_task_id
    )
    UPDATE django_celery_beat_periodictask periodic SET enabled = %s
    FROM changed WHERE periodic.id = changed.periodic_task_id
"""

# End tasks before their end, and stop their schedules.
END_TASKS = f"""
    WITH ended AS (
        UPDATE tasks_api_task task
        SET ended_at = %s, end_reason = %s, next_fire_at = NULL
        WHERE id = ANY(%s::uuid[]) AND ended_at IS NULL
        RETURNING periodic_task_id, {ENDED_COLUMNS}
    ), {COUNT_OUT_ENDED}
    UPDATE django_celery_beat_periodictask periodic SET enabled = false
    FROM ended WHERE periodic.id = ended.periodic_task_id
"""

# Read when the tables were last edited in the admin, a shell or the ORM.
LAST_EDIT = "SELECT max(last_update) FROM django_celery_beat_periodictasks"

# Find tasks whose schedule was edited since their next fire time was computed.
FIND_EDITED_TASKS = f"""
    SELECT task.id FROM tasks_api_task task {JOINS}
    WHERE task.ended_at IS NULL AND NOT task.is_parked AND NOT {IS_UNEDITED} LIMIT %s
"""

_TYPES = {
    "is_paused": "bool",
    "is_one_off": "bool",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
    "interval_every": "int",
    "once_at": "timestamptz",
    "solar_id": "bigint",
}


def _each(form: str) -> str:
    return ", ".join(form.format(name) for name in COPIED_COLUMNS)


_ARRAYS = ", ".join(f"%s::{_TYPES.get(name, 'text')}[]" for name in COPIED_COLUMNS)
# Copy schedules to their tasks if they differ, with the rules that still count.
COPY_SCHEDULES = f"""
    UPDATE tasks_api_task task SET {_each("{0} = new.{0}")}, rules = new.rules,
        version = version + 1
    FROM unnest(%s::uuid[], {_ARRAYS}, %s::text[]) AS new(id, {_each("{}")}, rules)
    WHERE task.id = new.id AND ({_each("task.{}")}, task.rules)
        IS DISTINCT FROM ({_each("new.{}")}, new.rules)
"""

_AS_COPIED = ", ".join(f"{source} AS {name}" for name, source in COPIED_COLUMNS.items())
# Copy a schedule to its task within the database: Python may not be able to read it.
COPY_SCHEDULE_UNREAD = f"""
    UPDATE tasks_api_task SET {_each("{0} = found.{0}")}
    FROM (
        SELECT task.id, {_AS_COPIED} FROM tasks_api_task task {JOINS} WHERE task.id = %s
    ) AS found
    WHERE tasks_api_task.id = found.id
"""
