"""Runs in partitions: live ones, history by day, and the table of the release before.

The step moves the unfinished runs and renames the old tables. All other runs stay where
they are, are read from there, and are moved by housekeeping.
"""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

# The names of indexes go over to the new tables.
RENAME_OLD_TABLES = """
    ALTER TABLE tasks_api_run RENAME TO tasks_api_run_before;
    ALTER INDEX tasks_api_run_pkey RENAME TO tasks_api_run_before_pkey;
    ALTER INDEX run_once_per_fire_time RENAME TO run_before_once_per_fire_time;
    ALTER INDEX run_of_tenant RENAME TO run_before_of_tenant;
    ALTER INDEX run_not_delivered RENAME TO run_before_not_delivered;
    ALTER INDEX run_covers RENAME TO run_before_covers;
    ALTER INDEX run_redriven RENAME TO run_before_redriven;
    ALTER TABLE tasks_api_run_before
        ADD COLUMN stage text NOT NULL DEFAULT 'before',
        ADD COLUMN first_started_at timestamptz,
        ADD COLUMN first_duration_ms integer,
        ADD COLUMN first_status_code smallint,
        ADD COLUMN first_error text NOT NULL DEFAULT '',
        ADD COLUMN first_answer text NOT NULL DEFAULT '';
    ALTER TABLE tasks_api_attempt RENAME TO tasks_api_attempt_before;
    ALTER TABLE tasks_api_attempt_before
        RENAME CONSTRAINT attempt_once_per_number TO attempt_before_once_per_number;
    ALTER TABLE tasks_api_attempt_before ALTER COLUMN id DROP IDENTITY;
    ALTER TABLE tasks_api_attempt_before ALTER COLUMN id DROP NOT NULL;
"""
# Statements that write and delete runs keep the reference valid.
DROP_FOREIGN_KEYS = """
    DO $$
    DECLARE found name;
    BEGIN
        FOR found IN SELECT conname FROM pg_constraint
            WHERE conrelid = 'tasks_api_run_before'::regclass AND contype = 'f'
        LOOP
            EXECUTE format('ALTER TABLE tasks_api_run_before DROP CONSTRAINT %I', found);
        END LOOP;
    END $$;
"""
CREATE_RUNS = """
    CREATE TABLE tasks_api_run (LIKE tasks_api_run_before
        INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY LIST (stage);
    ALTER TABLE tasks_api_run ALTER COLUMN stage SET DEFAULT 'live';

    CREATE TABLE tasks_api_run_live PARTITION OF tasks_api_run FOR VALUES IN ('live');
    CREATE TABLE tasks_api_run_over PARTITION OF tasks_api_run FOR VALUES IN ('over')
        PARTITION BY RANGE (id);
    CREATE TABLE tasks_api_run_over_other PARTITION OF tasks_api_run_over DEFAULT;
    CREATE TABLE tasks_api_run_late PARTITION OF tasks_api_run FOR VALUES IN ('late');
    ALTER TABLE tasks_api_run_over ALTER COLUMN finished_at SET NOT NULL;
    ALTER TABLE tasks_api_run_late ALTER COLUMN finished_at SET NOT NULL;
"""
# A row is inserted, perhaps changed, and deleted. A vacuum every few thousand rows keeps
# the table small, whatever passes through it; ANALYZE would see it empty at times, and
# have the next flood planned for that.
CREATE_LIVE_INDEXES = """
    ALTER TABLE tasks_api_run_live SET (
        fillfactor = 80,
        autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_limit = 2000,
        autovacuum_analyze_threshold = 2000000000
    );
    ALTER TABLE tasks_api_run_live ADD CONSTRAINT tasks_api_run_pkey PRIMARY KEY (id);
    ALTER TABLE tasks_api_run_live
        ADD CONSTRAINT run_once_per_fire_time UNIQUE (task_id, scheduled_for);
    DROP INDEX run_alone_while_exclusive, run_alone_while_next,
        run_redriven_once_at_a_time, run_waits;
    CREATE UNIQUE INDEX run_alone_while_exclusive ON tasks_api_run_live (task_id)
        WHERE exclusive AND finished_at IS NULL;
    CREATE UNIQUE INDEX run_alone_while_next ON tasks_api_run_live (task_id)
        WHERE is_next AND finished_at IS NULL;
    CREATE UNIQUE INDEX run_redriven_once_at_a_time ON tasks_api_run_live (redrive_of)
        WHERE redrive_of IS NOT NULL AND finished_at IS NULL;
    CREATE INDEX run_waits ON tasks_api_run_live (wake_at) WHERE wake_at IS NOT NULL;
    CREATE INDEX run_over_in_live ON tasks_api_run_live (id)
        WHERE finished_at IS NOT NULL;
"""


def create_history_indexes(table: str, suffix: str = "") -> str:
    return f"""
        ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (id);
        CREATE INDEX run_of_task{suffix} ON {table} (task_id, scheduled_for);
        CREATE INDEX run_of_tenant{suffix} ON {table} (tenant_id, scheduled_for DESC);
        CREATE INDEX run_not_delivered{suffix} ON {table} (tenant_id, scheduled_for DESC)
            WHERE state IN ('cancelled', 'failed', 'missed', 'skipped');
        CREATE INDEX run_covers{suffix} ON {table} (task_id, covers_until)
            WHERE covers_until IS NOT NULL;
        CREATE INDEX run_redriven{suffix} ON {table} (redrive_of)
            WHERE redrive_of IS NOT NULL;
    """


# `id` stays for the release before, which reads it; nobody writes it.
CREATE_ATTEMPTS = """
    CREATE TABLE tasks_api_attempt (LIKE tasks_api_attempt_before
        INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (run_id);
    ALTER TABLE tasks_api_attempt
        ADD CONSTRAINT attempt_once_per_number UNIQUE (run_id, number);
    CREATE TABLE tasks_api_attempt_other PARTITION OF tasks_api_attempt DEFAULT;
    ALTER TABLE tasks_api_attempt_other
        REPLICA IDENTITY USING INDEX tasks_api_attempt_other_run_id_number_key;

    CREATE VIEW tasks_api_all_attempts AS
        SELECT id::text || ' 1' AS id, id AS run_id, 1 AS number,
            first_started_at AS started_at, first_duration_ms AS duration_ms,
            first_status_code AS status_code, first_error AS error,
            first_answer AS answer
        FROM tasks_api_run WHERE first_started_at IS NOT NULL
        UNION ALL
        SELECT run_id::text || ' ' || number, run_id, number, started_at, duration_ms,
            status_code, error, answer
        FROM tasks_api_attempt attempt
        -- The release before has rows of first attempts, too.
        WHERE number > 1 OR NOT EXISTS (
            SELECT FROM tasks_api_run run
            WHERE run.id = attempt.run_id AND run.first_started_at IS NOT NULL);
"""
MOVE_UNFINISHED_RUNS = """
    WITH unfinished AS (
        DELETE FROM tasks_api_run_before WHERE wake_at IS NOT NULL RETURNING *
    ), first AS (
        DELETE FROM tasks_api_attempt_before attempt USING unfinished
        WHERE attempt.run_id = unfinished.id AND attempt.number = 1
        RETURNING attempt.*
    )
    INSERT INTO tasks_api_run (id, task_id, tenant_id, scheduled_for, state, reason,
        wake_at, lease, attempt_count, lost_count, exclusive, is_next, by_hand,
        covers_until, started_at, finished_at, redrive_of, slot, first_started_at,
        first_duration_ms, first_status_code, first_error, first_answer)
    SELECT run.id, run.task_id, run.tenant_id, run.scheduled_for, run.state, run.reason,
        run.wake_at, run.lease, run.attempt_count, run.lost_count, run.exclusive,
        run.is_next, run.by_hand, run.covers_until, run.started_at, run.finished_at,
        run.redrive_of, run.slot, first.started_at, first.duration_ms,
        first.status_code, coalesce(first.error, ''), coalesce(first.answer, '')
    FROM unfinished run LEFT JOIN first ON first.run_id = run.id;
"""
# The days of the runs that are made next. Housekeeping makes the later ones. An old table
# without rows is not kept.
ATTACH_PARTITIONS = """
    CREATE FUNCTION pg_temp.first_id_of(day date) RETURNS text LANGUAGE sql AS $$
        SELECT rpad(lpad(to_hex(extract(epoch FROM day)::bigint * 1000), 12, '0'), 32, '0')
    $$;
    DO $$
    DECLARE
        first_day date := (now() AT TIME ZONE 'UTC')::date - 1;
        cut date;
        day date;
        bounds text;
        attempts text;
    BEGIN
        SELECT greatest(first_day, 1 + (to_timestamp(('x' || translate(left(
                run_id::text, 13), '-', ''))::bit(48)::bigint / 1000)
                AT TIME ZONE 'UTC')::date)
        INTO cut FROM tasks_api_attempt_before ORDER BY run_id DESC LIMIT 1;
        IF cut IS NULL THEN
            DROP TABLE tasks_api_attempt_before;
        ELSE
            EXECUTE format('ALTER TABLE tasks_api_attempt ATTACH PARTITION '
                'tasks_api_attempt_before FOR VALUES FROM (MINVALUE) TO (%L)',
                pg_temp.first_id_of(cut));
        END IF;
        IF EXISTS (SELECT FROM tasks_api_run_before) THEN
            ALTER TABLE tasks_api_run
                ATTACH PARTITION tasks_api_run_before FOR VALUES IN ('before');
        ELSE
            DROP TABLE tasks_api_run_before;
        END IF;
        FOR number IN 0..8 LOOP
            day := first_day + number;
            bounds := format('FOR VALUES FROM (%L) TO (%L)',
                pg_temp.first_id_of(day), pg_temp.first_id_of(day + 1));
            EXECUTE format('CREATE TABLE %I PARTITION OF tasks_api_run_over %s',
                'tasks_api_run_' || to_char(day, 'YYYYMMDD'), bounds);
            IF cut IS NULL OR day >= cut THEN
                attempts := 'tasks_api_attempt_' || to_char(day, 'YYYYMMDD');
                EXECUTE format('CREATE TABLE %I PARTITION OF tasks_api_attempt %s',
                    attempts, bounds);
                EXECUTE format('ALTER TABLE %I REPLICA IDENTITY USING INDEX %I',
                    attempts, attempts || '_run_id_number_key');
            END IF;
        END LOOP;
    END $$;
"""
# The release before deletes old runs by their places (`ctid`), which are ambiguous in a
# table of partitions: it would delete other runs.
REFUSE_DELETES_BY_PLACE = """
    CREATE FUNCTION tasks_api_refuse_delete_by_place() RETURNS trigger
    LANGUAGE plpgsql AS $$
    BEGIN
        IF current_query() ~ '\\mctid\\M' THEN
            RAISE 'This release may not delete history any more: the next one does.';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER refuse_delete_by_place BEFORE DELETE ON tasks_api_run
        FOR EACH STATEMENT EXECUTE FUNCTION tasks_api_refuse_delete_by_place();
"""

ATTEMPT_FIELDS = [
    ("started_at", models.DateTimeField()),
    ("duration_ms", models.PositiveIntegerField()),
    ("status_code", models.PositiveSmallIntegerField(null=True)),
    ("error", models.TextField(blank=True)),
    ("answer", models.TextField(blank=True)),
]
STATE = [
    migrations.DeleteModel("Attempt"),
    migrations.CreateModel(
        name="FurtherAttempt",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "run_id",
                    "number",
                    blank=True,
                    editable=False,
                    primary_key=True,
                    serialize=False,
                ),
            ),
            ("run_id", models.UUIDField()),
            ("number", models.PositiveIntegerField()),
            *ATTEMPT_FIELDS,
        ],
        options={"db_table": "tasks_api_attempt"},
    ),
    migrations.CreateModel(
        name="Attempt",
        fields=[
            ("id", models.TextField(primary_key=True, serialize=False)),
            ("number", models.PositiveIntegerField()),
            *ATTEMPT_FIELDS,
            (
                "run",
                models.ForeignKey(
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    related_name="attempts",
                    to="tasks_api.run",
                ),
            ),
        ],
        options={"db_table": "tasks_api_all_attempts", "managed": False},
    ),
    migrations.AddField(
        "run",
        "stage",
        models.TextField(
            choices=[
                ("live", "Live"),
                ("over", "Over"),
                ("late", "Late"),
                ("before", "Before"),
            ],
            db_default="live",
            default="live",
        ),
    ),
    migrations.AddField("run", "first_started_at", models.DateTimeField(null=True)),
    migrations.AddField(
        "run", "first_duration_ms", models.PositiveIntegerField(null=True)
    ),
    migrations.AddField(
        "run", "first_status_code", models.PositiveSmallIntegerField(null=True)
    ),
    migrations.AddField(
        "run", "first_error", models.TextField(blank=True, db_default="", default="")
    ),
    migrations.AddField(
        "run", "first_answer", models.TextField(blank=True, db_default="", default="")
    ),
    migrations.AlterField(
        "run",
        "task",
        models.ForeignKey(
            db_constraint=False,
            db_index=False,
            on_delete=django.db.models.deletion.CASCADE,
            related_name="runs",
            to="tasks_api.task",
        ),
    ),
    migrations.AddIndex(
        "run",
        models.Index(
            condition=models.Q(("finished_at__isnull", False), ("stage", "live")),
            fields=["id"],
            name="run_over_in_live",
        ),
    ),
    migrations.AddIndex(
        "run", models.Index(fields=["task", "scheduled_for"], name="run_of_task")
    ),
]


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0002_wide_ids")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(statements)
                for statements in (
                    RENAME_OLD_TABLES,
                    DROP_FOREIGN_KEYS,
                    CREATE_RUNS,
                    CREATE_LIVE_INDEXES,
                    create_history_indexes("tasks_api_run_over"),
                    create_history_indexes("tasks_api_run_late", "_late"),
                    CREATE_ATTEMPTS,
                    MOVE_UNFINISHED_RUNS,
                    ATTACH_PARTITIONS,
                    REFUSE_DELETES_BY_PLACE,
                )
            ],
            STATE,
        )
    ]
