"""The SQL that writes tasks, composed from the names of their columns."""

from __future__ import annotations

from datetime import datetime
from typing import get_type_hints
from uuid import UUID

from accounts.statements import INSERT_ENTRY
from tasks_api.storage.count_statements import count_in
from tasks_api.storage.lane_statements import lane_of
from tasks_api.storage.schedule_rows import NewScheduleRow
from tasks_api.storage.schedule_statements import (
    DRAW_IDS,
    INSERT_SCHEDULES,
    TASK_ONLY_COLUMNS,
)
from tasks_api.storage.stored_schedules import StoredSchedule
from tasks_api.storage.task_columns import SPEC_COLUMNS, SPEC_TYPES, cast, sql_types

_TASK_TYPES = (
    sql_types(
        {"id": UUID, "tenant_id": int, "owner_id": int, "surface": str}
        | {"next_fire_at": datetime, "bounds_id": int}
    )
    | SPEC_TYPES
    | sql_types(get_type_hints(StoredSchedule))
)
_TYPES = _TASK_TYPES | sql_types(get_type_hints(NewScheduleRow))
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPES.values())
# Store tasks, their schedules, tags and tallies, and the audit entry. One statement
# costs a third of several in a transaction.
INSERT_TASKS = f"""
    WITH entry AS ({INSERT_ENTRY}), fresh AS MATERIALIZED (
        SELECT new.*, {DRAW_IDS} FROM unnest({_ARRAYS}) AS new({", ".join(_TYPES)})
    ), {INSERT_SCHEDULES}, made AS (
        INSERT INTO tasks_api_task ({", ".join(_TASK_TYPES)}, periodic_task_id,
            pause_reason, end_reason, lane_id)
        SELECT {", ".join(map(cast, _TASK_TYPES))}, periodic_task_id, '', '',
            {lane_of("fresh", "fresh.tenant_id")}
        FROM fresh
    ), tagged AS (
        INSERT INTO tasks_api_tasktag (tenant_id, owner_id, task_id, tag)
        SELECT tenant_id, owner_id, id, unnest(tags::text[]) FROM fresh WHERE tags <> '{{}}'
    ) {count_in("fresh")}
"""

# The columns that the owner of a task chooses.
UPDATED_COLUMNS = (*SPEC_COLUMNS, *TASK_ONLY_COLUMNS, "version")
_UPDATED_TYPES = [
    (_TASK_TYPES | {"version": "bigint"})[name] for name in UPDATED_COLUMNS
]
# Write the columns that owners choose.
UPDATE_TASKS = f"""
    UPDATE tasks_api_task task SET
        {", ".join(f"{name} = new.{cast(name)}" for name in UPDATED_COLUMNS)},
        lane_id = {lane_of("new", "task.tenant_id")}
    FROM unnest(%s::uuid[], {", ".join(f"%s::{kind}[]" for kind in _UPDATED_TYPES)})
        AS new(id, {", ".join(UPDATED_COLUMNS)})
    WHERE task.id = new.id
"""

# Store the tags by which tasks are found.
INSERT_TAGS = """
    INSERT INTO tasks_api_tasktag (tenant_id, owner_id, task_id, tag)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::text[])
"""

# Counts the runs that the schedules of tasks made.
COUNT_RUNS_MADE = """
    UPDATE tasks_api_task task SET runs_made = task.runs_made + made.runs
    FROM unnest(%s::uuid[], %s::int[]) AS made(task_id, runs)
    WHERE task.id = made.task_id
"""
