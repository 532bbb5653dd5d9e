"""The SQL of lanes: find the lanes that runs wait for, lock them, and note their state.

A statement calls a lane `lane`. It locks lanes before tasks, and tasks before runs.
"""

from __future__ import annotations

from tasks_api.domain import lanes
from tasks_api.taking.statements import IN_LANE

AHEAD = f"'{lanes.AHEAD.total_seconds()} s'::interval"
WAITING_REASON = "'Waits for lane ' || lane.name || '.'"

# The columns of a LaneState.
_STATE = """
    lane.id, lane.tenant_id, lane.rate_limit, lane.rate_per, lane.burst, lane.concurrency,
    lane.paused_at IS NOT NULL
        AND (lane.resume_at IS NULL OR lane.resume_at > now()) AS is_paused,
    lane.resume_at, lane.next_slot_at, lane.line_ends_at, lane.slowdown, lane.held_until,
    lane.breaker_state, lane.breaker_until, ceiling.max_per_second, ceiling.max_concurrency
"""
_CEILING = """
    LEFT JOIN tasks_api_laneceiling ceiling ON ceiling.tenant_id = lane.tenant_id
"""
_HAS_PLACES = "(lane.concurrency IS NOT NULL OR ceiling.max_concurrency IS NOT NULL)"
_COUNT_RUNNING = """
    SELECT count(*) FROM tasks_api_run_live run
    WHERE run.lane_id = lane.id AND run.state IN ('running', 'open')
"""

# Finds lanes with runs that wait, in the order of their ids, after one of them, and the
# first of these runs. It steps from lane to lane in an index, so runs of the same lane
# cost nothing. A lane that was deleted has no columns.
FIND_LANES = f"""
    WITH RECURSIVE in_lane AS (
        (SELECT lane_id AS id FROM tasks_api_run_live
            WHERE {IN_LANE} AND lane_id > %(after)s ORDER BY lane_id LIMIT 1)
        UNION ALL
        SELECT (SELECT lane_id FROM tasks_api_run_live
            WHERE {IN_LANE} AND lane_id > in_lane.id ORDER BY lane_id LIMIT 1)
        FROM in_lane WHERE in_lane.id IS NOT NULL
    ), seen AS (
        SELECT id FROM in_lane WHERE id IS NOT NULL LIMIT {{limit}}
    )
    SELECT {_STATE}, seen.id AS lane_id, clock_timestamp() AS now, (
            SELECT min(wake_at) FROM tasks_api_run_live
            WHERE lane_id = seen.id AND {IN_LANE}) AS wake_at,
        CASE WHEN {_HAS_PLACES} THEN ({_COUNT_RUNNING}) ELSE 0 END AS running
    FROM seen LEFT JOIN tasks_api_lane lane ON lane.id = seen.id {_CEILING}
"""

# Locks those of some lanes that no other worker has locked, and says whether runs wait
# there. A lock that allows new tasks to refer to the lane is enough.
LOCK_LANES = f"""
    SELECT {_STATE}, clock_timestamp() AS now, EXISTS (
        SELECT FROM tasks_api_run_live
        WHERE lane_id = lane.id AND {IN_LANE} AND state = 'pending'
            AND wake_at <= greatest(lane.line_ends_at, now() + {AHEAD})) AS has_line
    FROM tasks_api_lane lane {_CEILING}
    WHERE lane.id = ANY(%s::bigint[])
    ORDER BY lane.id FOR NO KEY UPDATE OF lane SKIP LOCKED
"""

# Counts the requests of lanes that are under way, after the lanes were locked: no other
# worker may start one there now.
COUNT_RUNNING = f"""
    SELECT lane.id, ({_COUNT_RUNNING}) FROM tasks_api_lane lane {_CEILING}
    WHERE lane.id = ANY(%s::bigint[]) AND {_HAS_PLACES}
"""

# Writes the new state of locked lanes. A probe of an open breaker has started if its time
# was over; if the probe is lost, another one starts after the same time.
UPDATE_LANES = """
    UPDATE tasks_api_lane lane SET
        next_slot_at = new.next_slot_at, line_ends_at = new.line_ends_at,
        breaker_state = CASE WHEN new.is_probed THEN 'half_open' ELSE breaker_state END,
        breaker_until = CASE WHEN new.is_probed
            THEN now() + make_interval(secs => breaker_for) ELSE breaker_until END
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::bool[])
        AS new(id, next_slot_at, line_ends_at, is_probed)
    WHERE lane.id = new.id
"""

# Takes runs out of lanes that were deleted.
LEAVE_LANES = f"""
    UPDATE tasks_api_run_live SET lane_id = NULL
    WHERE lane_id = ANY(%s::bigint[]) AND {IN_LANE}
"""

# Notes what the answers of targets say of their lanes. A lane that is as it should be is
# not written, and the others are locked in the order of their ids. What happens while a breaker is open is left out: the requests began before.
NOTE_ANSWERS = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest(%s::bigint[], %s::bool[], %s::float[], %s::bool[], %s::int[],
            %s::bool[])
            AS answers(id, is_throttled, hold, has_success, failures, is_unsent)
    ), changing AS MATERIALIZED (
        SELECT lane.id FROM tasks_api_lane lane JOIN new ON new.id = lane.id
        WHERE new.is_throttled OR new.hold > 0
            OR lane.breaker_after IS NOT NULL AND (new.failures > 0 OR lane.failures > 0)
            OR lane.slowdown < 1 OR lane.breaker_state = 'half_open'
        ORDER BY lane.id FOR NO KEY UPDATE OF lane
    )
    UPDATE tasks_api_lane lane SET
        slowdown = CASE
            WHEN new.is_throttled AND coalesce(lane.slowed_at
                    <= now() - make_interval(secs => {lanes.SLOWDOWN_INTERVAL.total_seconds()}),
                    true)
                THEN greatest({lanes.MIN_SLOWDOWN}, lane.slowdown * {lanes.SLOWDOWN_FACTOR})
            WHEN new.is_throttled OR NOT new.has_success THEN lane.slowdown
            ELSE least(1, lane.slowdown + {lanes.RECOVERY_PER_SECOND} * least(1,
                extract(epoch FROM now() - coalesce(lane.slowed_at, now()))))
            END,
        slowed_at = CASE
            WHEN new.is_throttled AND lane.slowed_at
                > now() - make_interval(secs => {lanes.SLOWDOWN_INTERVAL.total_seconds()})
                THEN lane.slowed_at
            WHEN new.is_throttled OR new.has_success THEN now() ELSE lane.slowed_at END,
        held_until = CASE WHEN new.hold > 0 THEN greatest(
            lane.held_until, now() + make_interval(secs => new.hold))
            ELSE lane.held_until END,
        failures = CASE WHEN lane.breaker_state <> 'closed' THEN 0
            WHEN new.has_success THEN new.failures
            ELSE lane.failures + new.failures END,
        breaker_state = CASE
            WHEN lane.breaker_state = 'half_open' AND new.failures > 0 THEN 'open'
            WHEN lane.breaker_state = 'half_open' AND new.has_success THEN 'closed'
            WHEN lane.breaker_state = 'closed' AND new.failures
                + CASE WHEN new.has_success THEN 0 ELSE lane.failures END
                >= lane.breaker_after THEN 'open'
            ELSE lane.breaker_state END,
        breaker_until = CASE
            WHEN lane.breaker_state = 'half_open' AND new.is_unsent
                AND NOT new.has_success AND new.failures = 0 THEN now()
            WHEN lane.breaker_state = 'half_open' AND new.failures > 0
                OR lane.breaker_state = 'closed' AND new.failures
                    + CASE WHEN new.has_success THEN 0 ELSE lane.failures END
                    >= lane.breaker_after
                THEN now() + make_interval(secs => lane.breaker_for)
            ELSE lane.breaker_until END
    FROM new, changing WHERE lane.id = new.id AND changing.id = new.id
"""
