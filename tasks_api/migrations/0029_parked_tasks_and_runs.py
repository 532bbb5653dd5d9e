"""Tasks and unfinished runs of a frozen tenant are put aside, where no statement of a worker or a beat finds them."""

from __future__ import annotations

from django.contrib.postgres.operations import (
    AddConstraintNotValid,
    ValidateConstraint,
)
from django.db import migrations, models
from django.db.models import Q

# The partition is attached afterwards: to make it as one at once would take a lock that no
# reader of runs allows.
ADD_PARTITION = """
    CREATE TABLE tasks_api_run_parked (LIKE tasks_api_run
        INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    ALTER TABLE tasks_api_run_parked
        ADD CONSTRAINT tasks_api_run_parked_pkey PRIMARY KEY (id);
    CREATE INDEX run_parked_of_task ON tasks_api_run_parked (task_id, scheduled_for);
    CREATE INDEX run_parked_of_tenant
        ON tasks_api_run_parked (tenant_id, scheduled_for DESC);
    ALTER TABLE tasks_api_run
        ATTACH PARTITION tasks_api_run_parked FOR VALUES IN ('parked');
"""
SAMPLE_AS_OTHER_COLUMNS = """
    ALTER TABLE tasks_api_task
        ALTER COLUMN is_parked SET STATISTICS 25,
        ALTER COLUMN parked_fire_at SET STATISTICS 25
"""
DROP_PARTITION = "DROP TABLE tasks_api_run_parked"
NEVER_FIRES = models.CheckConstraint(
    name="task_that_is_parked_never_fires",
    condition=Q(is_parked=False) | Q(next_fire_at=None),
)


class Migration(migrations.Migration):
    dependencies = [
        ("tasks_api", "0028_rollups_of_many_tenants"),
        ("accounts", "0007_frozen_tenants"),
    ]

    operations = [
        migrations.AddField(
            model_name="task",
            name="is_parked",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="task",
            name="parked_fire_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunSQL(SAMPLE_AS_OTHER_COLUMNS, migrations.RunSQL.noop),
        AddConstraintNotValid(model_name="task", constraint=NEVER_FIRES),
        ValidateConstraint(model_name="task", name="task_that_is_parked_never_fires"),
        migrations.RunSQL(ADD_PARTITION, DROP_PARTITION),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="run",
                    name="stage",
                    field=models.TextField(
                        choices=[
                            ("live", "Live"),
                            ("over", "Over"),
                            ("late", "Late"),
                            ("parked", "Parked"),
                            ("before", "Before"),
                        ],
                        db_default="live",
                        default="live",
                    ),
                ),
            ]
        ),
    ]
