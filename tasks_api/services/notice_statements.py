"""The SQL that counts streaks for rules, and that writes and takes their notices."""

from __future__ import annotations

# Notices of one kind that one statement writes for a rule; it counts the others.
MAX_NOTICES_AT_ONCE = 10

# Finds those of some tasks whose last run failed, as far as rules ask for that.
FIND_FAILING = """
    SELECT task_id FROM tasks_api_failingtask WHERE task_id = ANY(%s::uuid[])
"""

# Counts a failed run, or ends a streak, of each task. The rows are written in the order in
# which every process writes them. A streak of -1 that ended is one that nobody counted.
COUNT_ENDS = """
    INSERT INTO tasks_api_failingtask AS failing (tenant_id, task_id, streak, ended_streak)
    SELECT task.tenant_id, task.id, has_failed::int, has_failed::int - 1
    FROM unnest(%s::uuid[], %s::bool[]) AS run(task_id, has_failed)
    JOIN tasks_api_task task ON task.id = run.task_id ORDER BY task.id
    ON CONFLICT (task_id) DO UPDATE SET
        streak = CASE WHEN excluded.streak = 0 THEN 0 ELSE failing.streak + 1 END,
        ended_streak = CASE WHEN excluded.streak = 0 THEN failing.streak ELSE 0 END
    RETURNING task_id, streak, ended_streak
"""

# Forgets tasks whose streaks have ended. The caller has just written these rows.
FORGET_RECOVERED = """
    DELETE FROM tasks_api_failingtask WHERE task_id = ANY(%s::uuid[]) AND streak = 0
"""

# Writes a notice for each event and each rule that asks for it. The rules are those of
# the caller's copy, with the moments at which they send; what they ask for is read now.
INSERT_NOTICES = f"""
    WITH event AS (
        SELECT * FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::text[], %s::float[])
            WITH ORDINALITY AS e(type, task_id, run_id, reason, measure, position)
    ), wanted AS (
        SELECT event.*, task.name AS task_name, rule.tenant_id, rule.channel_id,
            rule.id AS rule_id, planned.send_at,
            row_number() OVER (PARTITION BY rule.id, event.type ORDER BY position) AS place
        FROM event JOIN tasks_api_task task ON task.id = event.task_id
        CROSS JOIN unnest(%s::uuid[], %s::timestamptz[]) AS planned(rule_id, send_at)
        JOIN tasks_api_notificationrule rule ON rule.id = planned.rule_id
        JOIN tasks_api_channel channel ON channel.id = rule.channel_id
        WHERE rule.tenant_id = task.tenant_id AND task.surface <> 'notices'
            AND NOT rule.is_paused AND NOT channel.is_paused
            AND event.type = ANY(rule.events)
            AND (rule.task_id IS NULL OR rule.task_id = task.id)
            AND (rule.tag = '' OR rule.tag = ANY(task.tags))
            AND (event.type <> 'run.late' OR event.measure >= rule.late_after)
            AND (event.type <> 'task.failing' OR event.measure = rule.streak)
    )
    INSERT INTO tasks_api_pendingnotice (tenant_id, channel_id, rule_id, type, at, send_at,
        task_id, task_name, run_id, reason, count)
    SELECT tenant_id, channel_id, rule_id, type, now(), send_at,
        task_id, task_name, run_id, reason, count
    FROM (
        SELECT tenant_id, channel_id, rule_id, type, send_at, position,
            task_id, task_name, run_id, left(reason, 500) AS reason, 1 AS count
        FROM wanted WHERE place <= {MAX_NOTICES_AT_ONCE}
        UNION ALL
        SELECT tenant_id, channel_id, rule_id, type, send_at, max(position),
            NULL, '', NULL, '', count(*)
        FROM wanted WHERE place > {MAX_NOTICES_AT_ONCE}
        GROUP BY tenant_id, channel_id, rule_id, type, send_at
    ) AS notice ORDER BY position, rule_id
"""

# Takes the notices of a channel that are due. Those of a task with the same event become
# one; the newest are returned, with the counts of all.
TAKE_NOTICES = """
    WITH taken AS (
        DELETE FROM tasks_api_pendingnotice
        WHERE channel_id = %s AND send_at <= %s
        RETURNING *
    )
    SELECT type, task_id, max(at) AS at, max(task_name) AS task_name,
        (array_agg(run_id ORDER BY id DESC))[1] AS run_id,
        (array_agg(reason ORDER BY id DESC))[1] AS reason,
        sum(count)::bigint AS events,
        (sum(sum(count)) OVER ())::bigint AS total,
        (sum(sum(CASE WHEN is_held THEN count ELSE 0 END)) OVER ())::bigint AS held_back
    FROM taken GROUP BY type, task_id ORDER BY max(id) DESC LIMIT {limit}
"""
