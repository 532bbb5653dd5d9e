"""The SQL that stores runs, lets waiting runs move up, and moves runs into history."""

from __future__ import annotations

from tasks_api.domain.states import LATE_AFTER

# The columns of a run, except for its stage.
COLUMNS = (
    "id",
    "task_id",
    "tenant_id",
    "scheduled_for",
    "state",
    "reason",
    "wake_at",
    "lease",
    "attempt_count",
    "lost_count",
    "exclusive",
    "is_next",
    "by_hand",
    "lane_id",
    "covers_until",
    "started_at",
    "finished_at",
    "redrive_of",
    "slot",
    "backfill_id",
    "in_turn",
    "first_started_at",
    "first_duration_ms",
    "first_status_code",
    "first_error",
    "first_answer",
)
_ENDED = {
    "wake_at": "NULL",
    "lease": "NULL",
    # A transaction that waited for the claim of a run began before that.
    "finished_at": "greatest(now(), started_at)",
}


def stage_in_history(finished_at: str) -> str:
    """Return SQL for the stage of a run that is over: most belong to the day's partition.

    A run that was over late would keep the partition of its day from being dropped.
    """
    late_after = f"'{LATE_AFTER.total_seconds():.0f} s'::interval"
    return f"""
        CASE WHEN {finished_at} - scheduled_for > {late_after}
            THEN 'late' ELSE 'over' END
    """


def insert_into_history(source: str, **values: str) -> str:
    """Return SQL that inserts the runs of `source` into history.

    `source` is a part of the same statement, which deletes live runs and returns all
    their columns; `values` take the places of some. An UPDATE could move a row, but then
    every other statement that waits for the row would fail.
    """
    selected = _ENDED | values
    finished_at = selected["finished_at"]
    return f"""
        INSERT INTO tasks_api_run (stage, {", ".join(COLUMNS)})
        SELECT {stage_in_history(finished_at)},
            {", ".join(selected.get(name, name) for name in COLUMNS)}
        FROM {source} ON CONFLICT DO NOTHING
    """


def end_live_runs(
    where: str, *, reason: str, tables: str = "", further: str = ""
) -> str:
    """Return a statement that cancels the live runs of a condition, into history.

    The condition is that of the DELETE itself, so a worker that takes a run meanwhile
    wins. `further` is a part of the statement that reads the runs as `ended`.
    """
    return f"""
        WITH ended AS (
            DELETE FROM tasks_api_run_live run {tables} WHERE {where}
            RETURNING run.*, {reason} AS new_reason
        ) {f", {further}" if further else ""}
        {insert_into_history("ended", state="'cancelled'", reason="new_reason")}
    """


# A part of a statement that cancels runs as `{runs}` while their tasks are locked: those
# that never started do not count for the tasks that may make so many only.
GIVE_BACK_RUNS = """
    given_back AS (
        UPDATE tasks_api_task task SET runs_made = task.runs_made - unstarted.runs
        FROM (
            SELECT task_id, count(*) AS runs FROM {runs}
            WHERE attempt_count = 0 AND NOT by_hand GROUP BY task_id
        ) AS unstarted
        WHERE task.id = unstarted.task_id AND task.max_runs IS NOT NULL
            AND task.runs_made >= unstarted.runs
    )
"""

# Store the runs that no constraint forbids.
INSERT_RUNS = f"""
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state,
        reason, wake_at, finished_at, exclusive, is_next, covers_until,
        attempt_count, lost_count, stage)
    SELECT *, 0, 0, CASE WHEN finished_at IS NULL THEN 'live'
        ELSE {stage_in_history("finished_at")} END
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[],
        %s::timestamptz[], %s::text[], %s::text[], %s::timestamptz[],
        %s::timestamptz[], %s::bool[], %s::bool[], %s::timestamptz[])
        AS run(id, task_id, tenant_id, scheduled_for, state, reason, wake_at,
            finished_at, exclusive, is_next, covers_until)
    ON CONFLICT DO NOTHING
    RETURNING id
"""

# Find the runs with some ids.
FIND_TAKEN_IDS = """
    SELECT id, task_id, scheduled_for FROM tasks_api_run WHERE id = ANY(%s::uuid[])
"""

# Let waiting runs of tasks move up if the exclusive run has ended.
START_WAITING_RUNS = """
    UPDATE tasks_api_run_live run SET exclusive = true, is_next = false, reason = '',
        wake_at = now()
    WHERE run.task_id = ANY(%s::uuid[]) AND run.is_next
        AND run.finished_at IS NULL AND NOT EXISTS (
            SELECT FROM tasks_api_run_live earlier
            WHERE earlier.task_id = run.task_id AND earlier.exclusive
                AND earlier.finished_at IS NULL)
    RETURNING run.id
"""

# Let the oldest due backfill of each task have its turn, if no exclusive run is unfinished.
START_TURNS = """
    UPDATE tasks_api_run_live run SET exclusive = true, wake_at = now()
    FROM (
        SELECT DISTINCT ON (waiting.task_id) waiting.id FROM tasks_api_run_live waiting
        WHERE waiting.task_id = ANY(%s::uuid[]) AND waiting.in_turn
            AND NOT waiting.exclusive AND waiting.state = 'pending'
            AND waiting.scheduled_for <= now() AND NOT EXISTS (
                SELECT FROM tasks_api_run_live earlier
                WHERE earlier.task_id = waiting.task_id AND earlier.exclusive
                    AND earlier.finished_at IS NULL)
        ORDER BY waiting.task_id, waiting.scheduled_for
    ) AS first
    WHERE run.id = first.id
    RETURNING run.id
"""

# Lock tasks, in the order that every statement uses.
LOCK_TASKS = """
    SELECT FROM tasks_api_task WHERE id = ANY(%s::uuid[])
    ORDER BY id FOR NO KEY UPDATE
"""

# The most rows that are moved in one statement, which then takes some tens of ms.
MOVE_BATCH_SIZE = 1000

# Move runs that are over from a table into history, in the order of their ids. A first
# attempt that has a row of its own moves into the run's row.
_MOVE_RUNS = f"""
    WITH old AS MATERIALIZED (
        SELECT id FROM {{table}} WHERE finished_at IS NOT NULL AND id > %(after)s::uuid
        ORDER BY id LIMIT {MOVE_BATCH_SIZE} FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM {{table}} WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING *
    ), first AS (
        DELETE FROM tasks_api_attempt
        WHERE number = 1 AND run_id = ANY(ARRAY(
            SELECT id FROM gone WHERE first_started_at IS NULL))
        RETURNING *
    ), moving AS (
        SELECT gone.*, first.started_at AS sent_at, first.duration_ms, first.status_code,
            first.error, first.answer
        FROM gone LEFT JOIN first ON first.run_id = gone.id
    ), moved AS ({
    insert_into_history(
        "moving",
        finished_at="finished_at",
        first_started_at="coalesce(first_started_at, sent_at)",
        first_duration_ms="coalesce(first_duration_ms, duration_ms)",
        first_status_code="coalesce(first_status_code, status_code)",
        first_error="coalesce(error, first_error)",
        first_answer="coalesce(answer, first_answer)",
    )
})
    SELECT count(*), (SELECT id FROM old ORDER BY id DESC LIMIT 1) FROM gone
"""
# Move the runs of the release before, and those that it left among the live ones.
MOVE_RUNS_BEFORE = _MOVE_RUNS.replace("{table}", "tasks_api_run_before")
MOVE_RUNS_OVER = _MOVE_RUNS.replace("{table}", "tasks_api_run_live")

# Find the oldest run of the release before.
FIND_OLDEST_RUN_BEFORE = "SELECT id FROM tasks_api_run_before ORDER BY id LIMIT 1"
