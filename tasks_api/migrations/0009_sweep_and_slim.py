"""Sweep runs and tasks early, and drop the indexes that nobody reads.

Sweeping. A run is written three times, and its entry in `run_waits` moves or goes each time;
the same goes for tasks and `task_due`. Beats read both from their old end, five times a
second, and step over every dead entry there: 0.33 ms for the 120,000 dead rows of 60,000
runs, measured with 1.5 million stored. By default a fifth of the table is dead before
anybody sweeps: 0.8 ms a look with 1.5 million stored, and 140 ms with 260 million. A fiftieth
is swept for a tenth of that. Not at a fixed number: a sweep reads whole indexes.

Attempts are only added and deleted, and nobody reads their indexes from the old end; a
twentieth bounds what lies idle. The cost limit lets a sweep work five times as fast as by
default, which wrote 40 MB/s at most: less than forgetting a day in bites does.

No fillfactor: the runs' and tasks' updates change indexed columns, so none of them could
stay on its page (0 of 15,000 in a steady load), and of the schedules' updates 97 to 99 in a
hundred do so as it is.

Slimming. Attempts are found by their run, never by `id`; its index was an eighth of what a
stored attempt takes. A replica tells attempts apart by run and number. Patterns of names, and
solar events, are what nobody asks django-celery-beat's table for.
"""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

SWEEP = """
    ALTER TABLE tasks_api_run SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_limit = 1000
    );
    ALTER TABLE tasks_api_task SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_limit = 1000
    );
    ALTER TABLE tasks_api_attempt SET (
        autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_cost_limit = 1000
    )
"""
SWEEP_AS_USUAL = """
    ALTER TABLE tasks_api_run RESET (
        autovacuum_vacuum_threshold,
        autovacuum_vacuum_scale_factor,
        autovacuum_vacuum_cost_limit
    );
    ALTER TABLE tasks_api_task RESET (
        autovacuum_vacuum_threshold,
        autovacuum_vacuum_scale_factor,
        autovacuum_vacuum_cost_limit
    );
    ALTER TABLE tasks_api_attempt RESET (
        autovacuum_vacuum_threshold,
        autovacuum_vacuum_scale_factor,
        autovacuum_vacuum_cost_limit
    )
"""
# IF EXISTS: whoever manages django-celery-beat's tables may have dropped theirs.
SLIM = """
    ALTER TABLE tasks_api_attempt DROP CONSTRAINT tasks_api_attempt_pkey;
    ALTER TABLE tasks_api_attempt REPLICA IDENTITY USING INDEX attempt_once_per_number;
    DROP INDEX IF EXISTS django_celery_beat_periodictask_name_265a36b7_like;
    DROP INDEX IF EXISTS django_celery_beat_periodictask_solar_id_a87ce72c
"""
FATTEN = """
    ALTER TABLE tasks_api_attempt REPLICA IDENTITY DEFAULT;
    ALTER TABLE tasks_api_attempt ADD CONSTRAINT tasks_api_attempt_pkey PRIMARY KEY (id);
    CREATE INDEX django_celery_beat_periodictask_name_265a36b7_like
        ON django_celery_beat_periodictask (name varchar_pattern_ops);
    CREATE INDEX django_celery_beat_periodictask_solar_id_a87ce72c
        ON django_celery_beat_periodictask (solar_id)
"""


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0008_task_ended")]

    operations = [
        # The index of its constraint begins with the same column.
        migrations.AlterField(
            model_name="queuetally",
            name="tenant",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="queue_tallies",
                to="accounts.tenant",
            ),
        ),
        migrations.RunSQL(SWEEP, SWEEP_AS_USUAL),
        migrations.RunSQL(SLIM, FATTEN),
    ]
