"""The SQL that finds what became of slots, and stores backfills of them."""

from __future__ import annotations

# Reads the runs of a task that stand for slots of some time, if they succeeded or have not
# ended, and all that users asked for. The ids say which partitions need not be read: a
# run that stands for a slot is made after it.
READ_RUNS_OF_SLOTS = """
    SELECT scheduled_for AS slot, state, false AS is_asked_for FROM tasks_api_run run
    WHERE run.task_id = %(task)s AND NOT run.by_hand
        AND run.scheduled_for >= %(since)s AND run.scheduled_for < %(until)s
        AND run.id >= %(first_id)s AND run.id < %(until_id)s
        AND (run.state = 'succeeded' OR run.finished_at IS NULL)
    UNION ALL
    SELECT slot, state, true FROM tasks_api_run run
    WHERE run.task_id = %(task)s AND run.redrive_of IS NOT NULL
        AND run.slot >= %(since)s AND run.slot < %(until)s AND run.id >= %(first_id)s
"""

# Finds when the last backfill of a task is sent that waits.
READ_LAST_SEND_TIME = """
    SELECT max(scheduled_for) FROM tasks_api_run_live
    WHERE task_id = %(task)s AND backfill_id IS NOT NULL AND finished_at IS NULL
"""

# Stores backfills, unless a constraint forbids them.
INSERT_BACKFILLS = """
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, attempt_count, lost_count, by_hand, exclusive, in_turn, redrive_of, slot,
        backfill_id)
    SELECT new.id, %(task)s, %(tenant)s, new.at, 'pending', '', new.at, 0, 0, true, false,
        %(in_turn)s, new.redrive_of, new.slot, %(backfill)s
    FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[], %(originals)s::uuid[],
        %(slots)s::timestamptz[]) AS new(id, at, redrive_of, slot)
    ON CONFLICT DO NOTHING
    RETURNING id
"""

# Counts the runs of a backfill by their states. They are made after its id, so the ids say
# which partitions need not be read.
COUNT_RUNS_OF_BACKFILL = """
    SELECT state, count(*) AS runs, min(slot) AS first_slot, max(slot) AS last_slot,
        max(scheduled_for) AS last_sent_at
    FROM tasks_api_run run
    WHERE run.task_id = %(task)s AND run.redrive_of IS NOT NULL
        AND run.backfill_id = %(backfill)s AND run.id >= %(first_id)s
    GROUP BY state
"""
