"""The SQL that lists, cancels, deletes and redrives runs."""

from __future__ import annotations

from collections.abc import Collection

from tasks_api.domain.states import UNDELIVERED_STATES, RunState
from tasks_api.services.rollup_statements import REASON_OF_RUN
from tasks_api.storage.id_statements import ID_FOR
from tasks_api.storage.run_statements import (
    GIVE_BACK_RUNS,
    end_live_runs,
    insert_into_history,
)


def _quoted(states: Collection[RunState]) -> str:
    return ", ".join(f"'{state.value}'" for state in sorted(states))


# Cancels the runs of tasks that no worker has started. The state is in the WHERE of the
# statement itself, so a worker that takes a run meanwhile wins.
_IS_UNSTARTED = """
    run.task_id = ANY(%(tasks)s::uuid[]) AND run.state IN ('pending', 'retrying')
"""
CANCEL_UNSTARTED_RUNS = end_live_runs(
    f"{_IS_UNSTARTED} AND NOT (run.by_hand AND %(spares_by_hand)s)",
    reason="%(reason)s",
    further=GIVE_BACK_RUNS.format(runs="ended"),
)

# Cancels the runs of tasks that wait for another attempt.
CANCEL_RETRIES = end_live_runs(
    f"{_IS_UNSTARTED} AND run.attempt_count > 0", reason="%(reason)s"
)

# Deletes the runs of tasks that are not manual and that no worker has started.
DELETE_UNSTARTED_RUNS = """
    DELETE FROM tasks_api_run_live
    WHERE task_id = ANY(%(tasks)s::uuid[]) AND state = 'pending' AND attempt_count = 0
        AND NOT by_hand
"""

# The conditions of a filter. The text that PostgreSQL plans contains the values, so the
# planner drops the conditions of absent filters, and can use a partial index for the
# others; so the undelivered states are listed as that index lists them. From the bounds
# of the ids it sees which partitions it need not read. Of the two conditions on the cursor, the first is for the index, and the second is exact.
IS_WANTED = f"""
    run.tenant_id = %(tenant)s
    AND (run.state <> 'pending' OR run.scheduled_for <= now() OR run.by_hand)
    AND (%(task)s::uuid IS NULL OR run.task_id = %(task)s::uuid)
    AND (%(run)s::uuid IS NULL OR run.id = %(run)s::uuid)
    AND (NOT %(all_not_delivered)s OR run.state IN ({_quoted(UNDELIVERED_STATES)}))
    AND (NOT %(all_unfinished)s OR run.stage = 'live')
    AND (%(states)s::text[] IS NULL OR run.state = ANY(%(states)s::text[]))
    AND (%(first_id)s::uuid IS NULL OR run.id >= %(first_id)s::uuid)
    AND (%(until_id)s::uuid IS NULL OR run.id < %(until_id)s::uuid)
    AND (%(since)s::timestamptz IS NULL OR run.scheduled_for >= %(since)s::timestamptz)
    AND (%(until)s::timestamptz IS NULL OR run.scheduled_for < %(until)s::timestamptz)
    AND (%(after)s::timestamptz IS NULL OR run.scheduled_for <= %(after)s::timestamptz)
    AND (%(after)s::timestamptz IS NULL
        OR (run.scheduled_for, run.id) < (%(after)s::timestamptz, %(after_id)s::uuid))
"""
NEWEST = "ORDER BY run.scheduled_for DESC, run.id DESC LIMIT {limit}"
# A run that stands in line behind another one of its task is in no lane yet.
_IS_IN_LANE = """
    (%(lane)s::text IS NULL OR NOT run.is_next AND run.lane_id = (
        SELECT lane.id FROM tasks_api_lane lane
        WHERE lane.tenant_id = %(tenant)s AND lane.name = %(lane)s::text))
"""

# Finds the newest runs that a user reaches.
LIST_RUNS = f"""
    SELECT run.id FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE {IS_WANTED} AND (%(reaches_all)s OR task.owner_id = %(owner)s)
        AND (NOT %(spares_notices)s OR task.surface <> 'notices') AND {_IS_IN_LANE} {NEWEST}
"""

# Finds the newest runs of some tasks, task by task.
LIST_RUNS_OF_TASKS = f"""
    SELECT run.id FROM unnest(%(tasks)s::uuid[]) AS own(id) CROSS JOIN LATERAL (
        SELECT run.id, run.scheduled_for FROM tasks_api_run run
        WHERE run.task_id = own.id AND {IS_WANTED} AND {_IS_IN_LANE} {NEWEST}
    ) AS run {NEWEST}
"""

# The conditions of a search, which no index finds.
HAS_REASON = f"""
    (%(reason)s::text IS NULL OR {REASON_OF_RUN} = %(reason)s::text)
    AND (%(code)s::text IS NULL OR left(run.reason, 8) = 'HTTP ' || %(code)s::text)
"""
IS_OF_NAMED_TASK = """
    (%(name)s::text IS NULL OR position(%(name)s::text IN lower(task.name)) > 0)
"""

_IS_OF_BACKFILL = """
    (%(backfill)s::uuid IS NULL OR run.backfill_id = %(backfill)s::uuid)
"""

# Searches the newest runs of a filter, as many as a request may examine. Returns those
# that are found, and, if there may be more, the last one that was examined.
SEARCH_RUNS = f"""
    WITH examined AS MATERIALIZED (
        SELECT run.id, run.scheduled_for, run.task_id, run.reason, run.covers_until,
            run.backfill_id, run.lane_id, run.is_next
        FROM tasks_api_run run WHERE {IS_WANTED}
        ORDER BY run.scheduled_for DESC, run.id DESC LIMIT {{rows_examined}}
    ), found AS (
        SELECT run.id, run.scheduled_for
        FROM examined run JOIN tasks_api_task task ON task.id = run.task_id
        WHERE (%(reaches_all)s OR task.owner_id = %(owner)s)
            AND CASE WHEN %(task)s::uuid IS NOT NULL THEN true
                ELSE (task.surface = 'notices') = %(notices)s END
            AND {HAS_REASON} AND {IS_OF_NAMED_TASK} AND {_IS_OF_BACKFILL}
            AND {_IS_IN_LANE}
        {NEWEST}
    )
    (SELECT id, scheduled_for, true AS is_found FROM found run {NEWEST})
    UNION ALL (
        SELECT id, scheduled_for, false FROM examined
        WHERE (SELECT count(*) FROM examined) = {{rows_examined}}
        ORDER BY scheduled_for, id LIMIT 1)
"""

# Reads the newest runs of some tasks, task by task.
LIST_LAST_RUNS = """
    SELECT own.id AS task_id, run.id AS run_id, run.scheduled_for, run.state
    FROM unnest(%(tasks)s::uuid[]) AS own(id) CROSS JOIN LATERAL (
        SELECT run.id, run.scheduled_for, run.state FROM tasks_api_run run
        WHERE run.task_id = own.id AND run.tenant_id = %(tenant)s
            AND (run.state <> 'pending' OR run.scheduled_for <= now())
        ORDER BY run.scheduled_for DESC LIMIT {limit}
    ) AS run
    ORDER BY own.id, run.scheduled_for DESC
"""

# Reads the newest runs of a task with their last attempts.
LIST_RECENT_RUNS = """
    SELECT run.id, run.scheduled_for, run.state, run.reason, run.lane_id, run.by_hand,
        run.attempt_count,
        coalesce(run.first_started_at, run.started_at) AS begun_at,
        CASE WHEN last.run_id IS NULL THEN run.first_status_code ELSE last.status_code END
            AS status_code,
        CASE WHEN last.run_id IS NULL THEN run.first_error ELSE last.error END AS error,
        CASE WHEN last.run_id IS NULL THEN run.first_duration_ms ELSE last.duration_ms END
            * '1 millisecond'::interval AS duration
    FROM (
        SELECT * FROM tasks_api_run
        WHERE task_id = %(task)s AND tenant_id = %(tenant)s
            AND (state <> 'pending' OR scheduled_for <= now())
        ORDER BY scheduled_for DESC LIMIT {limit}
    ) run LEFT JOIN LATERAL (
        SELECT * FROM tasks_api_attempt
        WHERE run_id = run.id ORDER BY number DESC LIMIT 1
    ) last ON true
    ORDER BY run.scheduled_for DESC
"""

# Measures the newest runs of a task that were sent and were no redrives: how late their
# first requests began, and how long these took.
MEASURE_RUNS = """
    SELECT count(*) AS runs,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY late) AS late_p50,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY late) AS late_p99,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY took) AS answer_p50,
        percentile_cont(0.99) WITHIN GROUP (ORDER BY took) AS answer_p99
    FROM (
        SELECT greatest(run.first_started_at - run.scheduled_for, '0'::interval) AS late,
            run.first_duration_ms * '1 millisecond'::interval AS took
        FROM (
            SELECT * FROM tasks_api_run
            WHERE task_id = %(task)s AND tenant_id = %(tenant)s
            ORDER BY scheduled_for DESC LIMIT {limit}
        ) run
        WHERE run.first_started_at IS NOT NULL AND run.redrive_of IS NULL
    ) measured
"""

# The runs of a call that changes many, in statements whose task is `task`.
_IS_SELECTED = f"""
    run.tenant_id = %(tenant)s
    AND (%(reaches_all)s OR task.owner_id = %(owner)s)
    AND run.state = ANY(%(states)s::text[])
    AND CASE WHEN %(task)s::uuid IS NULL THEN task.surface <> 'notices'
        ELSE run.task_id = %(task)s END
    AND (%(since)s::timestamptz IS NULL OR run.scheduled_for >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR run.scheduled_for < %(until)s)
    AND (%(runs)s::uuid[] IS NULL OR run.id = ANY(%(runs)s::uuid[]))
    AND {_IS_OF_BACKFILL}
    AND {HAS_REASON} AND {IS_OF_NAMED_TASK}
"""

# Finds the oldest runs that a user may redrive. The undelivered states are listed as
# constants, so that PostgreSQL can use their partial index.
FIND_RUNS_TO_REDRIVE = f"""
    SELECT run.id FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
    WHERE {_IS_SELECTED} AND task.end_reason <> 'removed'
        AND run.state IN ({_quoted(UNDELIVERED_STATES)})
        AND NOT EXISTS (SELECT FROM tasks_api_run again WHERE again.redrive_of = run.id)
        AND NOT EXISTS (
            SELECT FROM tasks_api_run later WHERE later.redrive_of = run.redrive_of
                AND later.scheduled_for > run.scheduled_for)
        AND (task.overlap = 'allow' OR NOT EXISTS (
            SELECT FROM tasks_api_run_live other WHERE other.task_id = task.id
                AND other.finished_at IS NULL AND CASE task.overlap
                    WHEN 'skip' THEN other.exclusive ELSE other.is_next END))
    ORDER BY run.scheduled_for LIMIT {{limit}}
"""

# Finds the oldest unfinished runs that a user may cancel. A run that was made ahead of its
# fire time is not among them.
FIND_RUNS_TO_CANCEL = f"""
    SELECT run.id FROM tasks_api_run_live run
    JOIN tasks_api_task task ON task.id = run.task_id
    WHERE {_IS_SELECTED} AND run.finished_at IS NULL AND run.cancelled_by = ''
        AND (run.state <> 'pending' OR run.scheduled_for <= now() OR run.by_hand)
    ORDER BY run.scheduled_for LIMIT {{limit}}
"""

# Locks the tasks of some live runs, in the order that all code uses.
LOCK_TASKS_OF_RUNS = """
    SELECT FROM tasks_api_task WHERE id IN (
        SELECT task_id FROM tasks_api_run_live WHERE id = ANY(%(runs)s::uuid[]))
    ORDER BY id FOR NO KEY UPDATE
"""

# Cancels live runs: those that no request may be in flight for end, and the running ones
# are marked. Returns the state of each, and whether its one-off task is over with it. The
# runs are locked first, so that a worker or a target that changes one meanwhile is seen.
CANCEL_RUNS = f"""
    WITH live AS MATERIALIZED (
        SELECT id, state, task_id, scheduled_for FROM tasks_api_run_live
        WHERE id = ANY(%(runs)s::uuid[]) AND finished_at IS NULL ORDER BY id FOR UPDATE
    ), marked AS (
        UPDATE tasks_api_run_live run SET cancelled_by = %(user)s
        FROM live WHERE run.id = live.id AND live.state = 'running'
        RETURNING run.id
    ), over AS (
        DELETE FROM tasks_api_run_live run USING live
        WHERE run.id = live.id AND live.state <> 'running'
        RETURNING run.*
    ), history AS ({
    insert_into_history(
        "over", state="'cancelled'", reason="'Cancelled by ' || %(user)s || '.'"
    )
}), {GIVE_BACK_RUNS.format(runs="over")}
    SELECT live.id AS run_id,
        CASE live.state WHEN 'running' THEN 'running' ELSE 'cancelled' END AS state,
        live.task_id, task.is_one_off AND task.last_fire_at = live.scheduled_for
            AND task.ended_at IS NULL AS ends_task
    FROM live JOIN tasks_api_task task ON task.id = live.task_id ORDER BY live.id
"""

# Locks the tasks with queue_one, in the order that all code uses: a run may begin to
# wait only while its task is locked.
LOCK_QUEUEING_TASKS = """
    SELECT FROM tasks_api_task WHERE overlap = 'queue_one' AND id IN (
        SELECT task_id FROM tasks_api_run WHERE id = ANY(%s::uuid[]))
    ORDER BY id FOR NO KEY UPDATE
"""

# Stores redrives of runs, unless a constraint forbids them. Their fire times are passed
# and a microsecond apart, because a task has one run per fire time. The slot is that of
# the original run.
REDRIVE_RUNS = f"""
    WITH run AS (
        SELECT run.id, run.task_id, run.tenant_id, task.overlap,
            coalesce(run.slot, run.scheduled_for) AS slot,
            (SELECT clock_timestamp()) - '1 microsecond'::interval
                * row_number() OVER (ORDER BY run.scheduled_for DESC) AS at
        FROM tasks_api_run run JOIN tasks_api_task task ON task.id = run.task_id
        WHERE run.id = ANY(%(runs)s::uuid[])
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, exclusive, is_next, attempt_count, lost_count, by_hand, redrive_of,
        slot)
    SELECT {ID_FOR.format(moment="at", tenant_id="tenant_id")}, task_id, tenant_id, at,
        'pending', CASE overlap WHEN 'queue_one' THEN %(waits)s ELSE '' END, now(),
        overlap = 'skip', overlap = 'queue_one', 0, 0, true, id, slot
    FROM run ORDER BY at
    ON CONFLICT DO NOTHING
    RETURNING id, redrive_of, is_next, task_id
"""
