"""The SQL of a split: freeze many tenants, and put aside first what could fire soon."""

from __future__ import annotations

from tasks_api.domain.states import RunState
from tasks_api.moving.statements import IS_PARKABLE, move_runs

# Begin a split of this database.
BEGIN_SPLIT = """
    INSERT INTO accounts_owncell AS own (id, name, split_id, splits_to, tenants, stage)
    VALUES (1, %(name)s, %(split)s::uuid, %(splits_to)s, %(tenants)s::bigint[], 'freezing')
    ON CONFLICT (id) DO UPDATE SET split_id = excluded.split_id,
        splits_to = excluded.splits_to, tenants = excluded.tenants, stage = excluded.stage
"""

# What freezing.py says of one tenant, of many.
FREEZE_TENANTS = """
    UPDATE accounts_tenant SET frozen_at = clock_timestamp(), moves_to = %(destination)s,
        move_id = %(split)s::uuid
    WHERE id = ANY(%(tenants)s::bigint[]) AND frozen_at IS NULL
    RETURNING id, name
"""
THAW_TENANTS = """
    UPDATE accounts_tenant SET frozen_at = NULL, moves_to = '', move_id = NULL
    WHERE id = ANY(%(tenants)s::bigint[]) AND frozen_at IS NOT NULL
    RETURNING id, name
"""
MARK_TENANTS_AS_MOVED = """
    UPDATE accounts_tenant SET moved_at = coalesce(moved_at, clock_timestamp())
    WHERE id = ANY(%(tenants)s::bigint[])
"""
# In the copy, all tenants but these live elsewhere, and their rows are waste.
MARK_OTHERS_AS_MOVED = """
    UPDATE accounts_tenant SET frozen_at = coalesce(frozen_at, clock_timestamp()),
        moves_to = %(destination)s, move_id = %(split)s::uuid,
        moved_at = coalesce(moved_at, clock_timestamp())
    WHERE id <> ALL(%(tenants)s::bigint[]) AND move_id IS DISTINCT FROM %(split)s::uuid
"""
# Forget the processes of the old cell, which a beat would take for dead ones.
FORGET_PROCESSES = "DELETE FROM tasks_api_heartbeat"

# The condition of rows of tenants that the split has frozen here.
_OF_FROZEN = """
    tenant_id IN (SELECT id FROM accounts_tenant WHERE frozen_at IS NOT NULL
        AND move_id = (SELECT split_id FROM accounts_owncell))
"""
_SOON = "now() + make_interval(secs => %(horizon)s)"
_IS_LIVE = "task.ended_at IS NULL AND NOT task.is_parked"
# The conditions of tasks that could make a run soon: they fire, a pause ends or they end,
# or fire times of a change or a pause have no runs yet. Each is the condition of an index.
_URGENT = {
    "fires": f"task.next_fire_at < {_SOON}",
    "resumes": f"task.resume_at < {_SOON} AND {_IS_LIVE}",
    "ends": f"task.ends_at < {_SOON} AND task.next_fire_at IS NULL AND {_IS_LIVE}",
    "is owed runs": f"""
        task.id IN (SELECT task_id FROM tasks_api_schedulechange
            WHERE open_from IS NOT NULL) AND {_IS_LIVE}
    """,
}


def _park(condition: str) -> str:
    return f"""
        WITH chosen AS MATERIALIZED (
            SELECT task.id FROM tasks_api_task task
            WHERE {condition} AND task.{_OF_FROZEN.strip()}
            LIMIT {{limit}} FOR NO KEY UPDATE OF task SKIP LOCKED
        )
        UPDATE tasks_api_task task SET
            is_parked = true, parked_fire_at = task.next_fire_at, next_fire_at = NULL
        FROM chosen WHERE task.id = chosen.id
    """


# Put tasks of frozen tenants aside, as PARK_FIRING_TASKS does those of one tenant.
PARK_URGENT_TASKS = tuple(_park(condition) for condition in _URGENT.values())
HAS_URGENT_TASKS = "SELECT {}".format(
    " OR ".join(
        f"EXISTS (SELECT FROM tasks_api_task task WHERE {condition}"
        f" AND task.{_OF_FROZEN.strip()})"
        for condition in _URGENT.values()
    )
)
# Put aside unfinished runs of frozen tenants; in the copy also those whose requests were
# under way, because these go on where the tenants live.
PARK_RUNS_OF_FROZEN = move_runs(
    "tasks_api_run_live", "parked", f"{_OF_FROZEN} AND {IS_PARKABLE}"
)
PARK_ALL_RUNS_OF_FROZEN = move_runs("tasks_api_run_live", "parked", _OF_FROZEN)
COUNT_LIVE_RUNS_OF_FROZEN = f"""
    SELECT count(*) FROM tasks_api_run_live WHERE {_OF_FROZEN} AND finished_at IS NULL
"""

_OF_TENANTS = "tenant_id = ANY(%(tenants)s::bigint[])"
UNPARK_RUNS = move_runs("tasks_api_run_parked", "live", _OF_TENANTS)
UNPARK_TASKS = f"""
    UPDATE tasks_api_task SET
        is_parked = false, next_fire_at = parked_fire_at, parked_fire_at = NULL
    WHERE is_parked AND ended_at IS NULL AND {_OF_TENANTS}
"""

# Let the database refuse to fire tasks of frozen tenants, or no longer.
ENABLE_FENCE = "ALTER TABLE tasks_api_task ENABLE TRIGGER refuse_to_fire_if_frozen"
DISABLE_FENCE = "ALTER TABLE tasks_api_task DISABLE TRIGGER refuse_to_fire_if_frozen"
LIMIT_WAIT = "SET LOCAL lock_timeout = '500ms'"

# Identifies the server, and says whether it is a standby.
READ_SERVER = """
    SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
        pg_is_in_recovery() AS is_standby
"""
READ_STAGE = """
    SELECT coalesce((SELECT stage FROM accounts_owncell
        WHERE split_id = %(split)s::uuid), '')
"""
PROMOTE = "SELECT pg_promote(true, %(seconds)s)"

_STATES = ", ".join(f"'runs:{state.value}'" for state in RunState)
# The living tasks of each tenant, and its runs in the last week.
WEIGH_TENANTS = f"""
    SELECT tenant.id, coalesce(tally.tasks, 0)::bigint AS tasks,
        coalesce(rollup.runs, 0)::bigint AS runs
    FROM accounts_tenant tenant
    LEFT JOIN (SELECT tenant_id, sum(tasks) AS tasks FROM tasks_api_tasktally
        GROUP BY tenant_id) AS tally ON tally.tenant_id = tenant.id
    LEFT JOIN (
        SELECT tenant_id, sum(value::bigint) AS runs
        FROM tasks_api_hourrollup CROSS JOIN LATERAL jsonb_each_text(counts)
        WHERE owner_id = 0 AND hour > now() - interval '7 days' AND key IN ({_STATES})
        GROUP BY tenant_id
    ) AS rollup ON rollup.tenant_id = tenant.id
    WHERE tenant.frozen_at IS NULL
    ORDER BY tenant.id
"""
SECONDS_FROZEN = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(frozen_at)), 0)::float
    FROM accounts_tenant WHERE id = ANY(%(tenants)s::bigint[])
"""
