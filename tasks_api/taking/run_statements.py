"""The SQL that takes waiting runs."""

from __future__ import annotations

from tasks_api.storage import sending_rules
from tasks_api.storage.quota_statements import NEXT_DAY, QUOTA_REASON
from tasks_api.storage.run_rows import WAITING_REASON as WAITING_IN_LINE
from tasks_api.storage.run_statements import insert_into_history
from tasks_api.storage.waiting_reasons import REASON_WHEN_TAKEN
from tasks_api.taking.lane_statements import AHEAD, WAITING_REASON
from tasks_api.taking.statements import (
    BYTES,
    CLAIMED_RUN_COLUMNS,
    FROM_TASK,
    HAS_ROOM,
    REASON_OF_END,
    ROOMS,
    FromMoment,
    claimed_run,
    from_moment,
    unknown_tenant,
)

_CHOOSE_RUNS = """
    chosen AS MATERIALIZED (
        SELECT of_tenant.id
        FROM unnest(%(sharers)s::bigint[], %(shares)s::int[]) AS share(tenant_id, most)
        CROSS JOIN LATERAL (
            SELECT run.id FROM tasks_api_run_live run
            WHERE run.tenant_id = share.tenant_id AND run.wake_at <= now()
                AND run.state IN ('pending', 'retrying') AND NOT run.is_next
                AND run.lane_id IS NULL AND run.scheduled_for <= now()
            ORDER BY run.wake_at LIMIT share.most
            FOR UPDATE SKIP LOCKED
        ) AS of_tenant
        LIMIT {limit}
    ),
"""
# A release before makes runs ahead of their moments, and may ask for a look at them.
_RUN_WAITS = """
    run.wake_at <= now() AND run.state IN ('pending', 'retrying') AND NOT run.is_next
        AND run.lane_id IS NULL AND run.scheduled_for <= now() {since}
"""

# The runs of each lane that has slots, in the order in which they came. A retry is never
# early; another run may be taken a moment ahead, because it starts at its slot.
_CHOOSE_RUNS_OF_LANES = f"""
    chosen AS MATERIALIZED (
        SELECT of_lane.id
        FROM unnest(%(lanes)s::bigint[], %(slots)s::int[]) AS room(lane_id, slots)
        CROSS JOIN LATERAL (
            SELECT run.id FROM tasks_api_run_live run
            WHERE run.lane_id = room.lane_id AND NOT run.is_next
                AND run.state IN ('pending', 'retrying') AND run.scheduled_for <= now()
                AND run.wake_at <= now() + {AHEAD}
                AND (run.state = 'pending' OR run.wake_at <= now())
            ORDER BY run.wake_at LIMIT room.slots
            FOR UPDATE SKIP LOCKED
        ) AS of_lane
        LIMIT {{limit}}
    ),
"""
# What a run has that comes into the lane of its task: a new one begins at the end.
_WAKE_AT_IN_LANE = """
    greatest(now(), CASE WHEN run.attempt_count = 0 THEN (
        SELECT line_ends_at FROM tasks_api_lane lane WHERE lane.id = fitting.lane_id) END)
"""
_REASON_IN_LANE = f"""
    CASE WHEN run.attempt_count > 0 THEN run.reason ELSE coalesce((
        SELECT {WAITING_REASON} FROM tasks_api_lane lane
        WHERE lane.id = fitting.lane_id), '') END
"""

# Takes waiting runs for which there is room: new ones that a user or Python made, and
# those whose retry is due. A run whose task may not be sent any more ends instead, and
# the run of a paused one-off is held. A run whose task has another lane moves there. The
# rows of task and schedule are read now, so that a pause, a removal or an end wins. A
# backfill that may not overlap waits for its turn, which it gets with its task locked,
# and is looked at again every minute.
_TAKE_RUNS = f"""
    WITH {{chosen}} waiting AS MATERIALIZED (
        SELECT run.id, run.task_id, run.tenant_id, run.wake_at, {FROM_TASK}, {
    BYTES
} AS bytes, CASE
                WHEN run.cancelled_by <> '' THEN 'cancelled'
                WHEN {sending_rules.IS_REMOVED} THEN 'removed'
                WHEN {sending_rules.IS_PAST_END} THEN 'over'
                WHEN {sending_rules.IS_PAUSED} AND NOT periodic.one_off THEN 'paused'
                WHEN {sending_rules.IS_PAUSED} THEN 'held'
                WHEN run.attempt_count > 0 AND task.replaced_at > run.started_at
                    THEN 'replaced'
                WHEN run.in_turn AND NOT run.exclusive THEN 'in turn'
                WHEN task.bounds_id IS NOT NULL
                    AND run.id <> ALL(%(admitted)s::uuid[]) THEN 'bounded'
                WHEN task.tenant_id = ANY(%(over_quota)s::bigint[])
                    -- Otherwise the count is that of yesterday.
                    AND %(quota_day)s::date = (now() AT TIME ZONE 'UTC')::date
                    AND run.attempt_count = 0 AND task.surface <> 'notices'
                    THEN 'over_quota'
                WHEN task.lane_id IS DISTINCT FROM run.lane_id THEN 'moved'
                ELSE 'ready'
            END AS fate,
            CASE WHEN periodic.enabled AND {sending_rules.IS_SUSPENDED}
                THEN task.owner_id END AS inactive_owner_id
        FROM tasks_api_run_live run {sending_rules.JOINS}
        WHERE {{waits}}
        FOR UPDATE OF run SKIP LOCKED
    ), weighed AS (
        SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY wake_at, id) AS nth,
            sum(bytes) OVER (ORDER BY wake_at, id) - bytes AS before
        FROM waiting
    ), fitting AS MATERIALIZED (
        SELECT weighed.* FROM weighed LEFT JOIN {ROOMS}
            ON room.tenant_id = weighed.tenant_id
        WHERE fate NOT IN ('ready', 'bounded') OR {HAS_ROOM}
    ), taken AS (
        UPDATE tasks_api_run_live run SET
            state = CASE fitting.fate WHEN 'ready' THEN 'running'
                WHEN 'moved' THEN run.state ELSE 'pending' END,
            lease = CASE fitting.fate WHEN 'ready' THEN %(lease)s::uuid END,
            wake_at = CASE fitting.fate
                WHEN 'ready' THEN now() + make_interval(secs => %(term)s)
                WHEN 'over_quota' THEN {NEXT_DAY}
                WHEN 'in turn' THEN now() + '60s'::interval
                WHEN 'moved' THEN {_WAKE_AT_IN_LANE}
                ELSE now() + '30s'::interval END,
            lane_id = CASE fitting.fate
                WHEN 'moved' THEN fitting.lane_id ELSE run.lane_id END,
            attempt_count = run.attempt_count + (fitting.fate = 'ready')::int,
            started_at = CASE fitting.fate WHEN 'ready' THEN now() ELSE run.started_at END,
            reason = CASE
                WHEN fitting.fate = 'over_quota' THEN {QUOTA_REASON}
                WHEN fitting.fate = 'moved' THEN {_REASON_IN_LANE}
                WHEN fitting.fate = 'in turn' THEN '{WAITING_IN_LINE}'
                WHEN fitting.fate <> 'ready' THEN run.reason
                ELSE {REASON_WHEN_TAKEN} END
        FROM fitting
        WHERE run.id = fitting.id
            AND fitting.fate IN ('ready', 'held', 'over_quota', 'in turn', 'moved')
        RETURNING {claimed_run("fitting")}
    ), ended AS (
        DELETE FROM tasks_api_run_live run USING fitting
        WHERE run.id = fitting.id
            AND fitting.fate NOT IN ('ready', 'held', 'over_quota', 'bounded', 'in turn', 'moved')
        RETURNING run.*, fitting.fate
    ), history AS ({
    insert_into_history(
        "ended",
        state="'cancelled'",
        reason=REASON_OF_END,
    )
})
    SELECT coalesce(fitting.fate, 'left') AS fate, waiting.id AS waiting_id,
        fitting.inactive_owner_id,
        CASE WHEN fitting.overlap = 'queue_one' OR fitting.fate = 'in turn'
            THEN fitting.task_id END AS queued_task_id,
        {unknown_tenant("waiting")},
        {", ".join(f"taken.{name}" for name in CLAIMED_RUN_COLUMNS)}
    FROM waiting
    LEFT JOIN fitting ON fitting.id = waiting.id
    LEFT JOIN taken ON taken.run_id = waiting.id
"""


def _take_runs(condition: str, chosen: str = "") -> FromMoment:
    statement = _TAKE_RUNS.replace("{chosen}", chosen).replace("{waits}", condition)
    return from_moment(statement, "AND run.wake_at >= %(since)s::timestamptz")


TAKE_EARLIEST_RUNS = _take_runs(f"{_RUN_WAITS} ORDER BY run.wake_at LIMIT {{limit}}")
TAKE_SHARES_OF_RUNS = _take_runs("run.id IN (SELECT id FROM chosen)", _CHOOSE_RUNS)
TAKE_RUNS_OF_LANES = _take_runs(
    "run.id IN (SELECT id FROM chosen)", _CHOOSE_RUNS_OF_LANES
)
TAKE_RUNS = _take_runs(f"run.id = ANY(%(runs)s::uuid[]) AND {_RUN_WAITS}")
# Takes runs that the bounds of their tasks have admitted, also in lanes.
TAKE_ADMITTED_RUNS = _take_runs(
    "run.id = ANY(%(runs)s::uuid[]) AND NOT run.is_next"
    " AND run.state IN ('pending', 'retrying') {since}"
)
