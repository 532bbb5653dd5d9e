"""The SQL that reads the sums of hours, closed and open."""

from __future__ import annotations

from tasks_api.services.rollup_statements import (
    HAS_ID_IN_RANGE,
    IS_UNFINISHED,
    RUN_GROUP,
    RUN_GROUP_OF_TENANT,
    hour_of,
)

READ_PROGRESS = """
    SELECT closed_until FROM tasks_api_rollupprogress WHERE tenant_id = %(tenant)s
"""

# Reads the sums of closed hours, of a user or of the tenant.
READ_CLOSED_HOURS = """
    SELECT hour, counts::text FROM tasks_api_hourrollup
    WHERE tenant_id = %(tenant)s AND owner_id = %(sums_of)s
        AND hour >= %(since)s::timestamptz AND hour < %(until)s::timestamptz
"""

_COUNT_RUNS = f"""
    SELECT {hour_of("run.scheduled_for")} AS hour, {RUN_GROUP}, count(*) AS size
    FROM {{runs}} JOIN tasks_api_task task
        ON task.id = run.task_id AND task.surface <> 'notices'
    WHERE run.tenant_id = %(tenant)s AND {HAS_ID_IN_RANGE}
        AND run.scheduled_for >= %(since)s::timestamptz
        AND run.scheduled_for < %(until)s::timestamptz
        AND (%(owner)s::bigint IS NULL OR task.owner_id = %(owner)s)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
# Counts the runs of a user in open hours.
COUNT_OPEN_HOURS_OF_OWNER = _COUNT_RUNS.format(runs="tasks_api_run run")
# Counts the runs of a tenant in open hours. It reads no tasks but the few notices.
COUNT_OPEN_HOURS = f"""
    SELECT {hour_of("run.scheduled_for")} AS hour, {RUN_GROUP_OF_TENANT}, count(*) AS size
    FROM tasks_api_run run
    WHERE run.tenant_id = %(tenant)s AND {HAS_ID_IN_RANGE}
        AND run.scheduled_for >= %(since)s::timestamptz
        AND run.scheduled_for < %(until)s::timestamptz
        AND run.task_id NOT IN (
            SELECT id FROM tasks_api_task
            WHERE tenant_id = %(tenant)s AND surface = 'notices')
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
# Counts the runs of closed hours that are not in their sums: late ones that were not
# added yet, and unfinished ones that were made since.
COUNT_LATE = _COUNT_RUNS.format(
    runs=f"""(
        SELECT run_id AS id FROM tasks_api_laterun
        WHERE tenant_id = %(tenant)s AND counted_at IS NULL
            AND hour >= %(since)s::timestamptz AND hour < %(until)s::timestamptz
        UNION
        SELECT run.id FROM tasks_api_run run
        WHERE run.tenant_id = %(tenant)s AND {IS_UNFINISHED} AND {HAS_ID_IN_RANGE}
            AND run.scheduled_for >= %(since)s::timestamptz
            AND run.scheduled_for < %(until)s::timestamptz
    ) late JOIN tasks_api_run run ON run.id = late.id"""
)
