"""The SQL of what is wrong now: failures, tasks that were paused, and queues that grow.

Each statement reads a limited number of rows, however many there are.
"""

from __future__ import annotations

from tasks_api.domain.states import UNDELIVERED_STATES
from tasks_api.services.rollup_statements import REASON_OF_RUN

# The rows that a statement looks at to find those of one user among all.
ROWS_EXAMINED = 5000
_UNDELIVERED = ", ".join(f"'{state.value}'" for state in sorted(UNDELIVERED_STATES))

# Groups the newest failed and missed runs of a user's tasks by task and reason, the
# newest first. The states are listed twice: as their index lists them, and as asked.
GROUP_NEWEST_FAILURES = f"""
    SELECT run.state, run.reason, run.task_id, count(*) AS runs,
        max(run.scheduled_for) AS latest_at,
        (array_agg(run.id ORDER BY run.scheduled_for DESC))[1] AS latest_run_id
    FROM (
        SELECT run.id, run.task_id, run.state, run.scheduled_for, {REASON_OF_RUN} AS reason
        FROM tasks_api_run run
        WHERE run.tenant_id = %(tenant)s AND run.state IN ({_UNDELIVERED})
            AND run.state IN ('failed', 'missed') AND run.id >= %(first_id)s::uuid
            AND run.scheduled_for >= %(since)s::timestamptz
        ORDER BY run.scheduled_for DESC LIMIT {ROWS_EXAMINED}
    ) run JOIN tasks_api_task task
        ON task.id = run.task_id AND task.surface <> 'notices'
    WHERE %(owner)s::bigint IS NULL OR task.owner_id = %(owner)s
    GROUP BY 1, 2, 3 ORDER BY latest_at DESC LIMIT {{limit}}
"""

# Finds the paused tasks of users that the service has paused itself, with a reason.
FIND_PAUSED_BY_SERVICE = f"""
    SELECT task.id FROM (
        SELECT id, pause_reason FROM tasks_api_task
        WHERE owner_id = ANY(%(owners)s::bigint[]) AND ended_at IS NULL AND is_paused
        LIMIT {ROWS_EXAMINED}
    ) task
    WHERE task.pause_reason <> '' LIMIT {{limit}}
"""

# Finds the queues of a tenant, one step of an index each, and counts the messages that
# wait in each of them, up to a number.
COUNT_WAITING_MESSAGES = f"""
    WITH RECURSIVE queue(name, place) AS (
        SELECT min(queue), 1 FROM tasks_api_message WHERE tenant_id = %(tenant)s
        UNION ALL
        SELECT (
            SELECT min(message.queue) FROM tasks_api_message message
            WHERE message.tenant_id = %(tenant)s AND message.queue > queue.name
        ), place + 1
        FROM queue WHERE queue.name IS NOT NULL AND place <= {{limit}}
    )
    SELECT queue.name, waiting.depth, waiting.oldest_at
    FROM queue CROSS JOIN LATERAL (
        SELECT count(*) AS depth, min(message.run_at) AS oldest_at FROM (
            SELECT run_at FROM tasks_api_message
            WHERE tenant_id = %(tenant)s AND queue = queue.name
                AND leased_until IS NULL AND run_at <= now()
            ORDER BY run_at LIMIT {ROWS_EXAMINED}
        ) message
    ) waiting
    WHERE queue.name IS NOT NULL
    ORDER BY waiting.depth DESC, queue.name LIMIT {{limit}}
"""
