"""Runs that wait in a lane stand in an index of their own, which other polls never read."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q

# Live runs are few, so their indexes are made at once.
INDEX_LIVE_RUNS = """
    DROP INDEX IF EXISTS run_waits, run_waits_of_tenant;
    CREATE INDEX run_waits ON tasks_api_run_live (wake_at)
        WHERE state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NULL;
    CREATE INDEX run_waits_of_tenant ON tasks_api_run_live (tenant_id, wake_at)
        WHERE state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NULL;
    CREATE INDEX run_waits_in_lane ON tasks_api_run_live (lane_id, wake_at)
        WHERE state IN ('pending', 'retrying') AND NOT is_next AND lane_id IS NOT NULL;
    CREATE INDEX run_under_way_in_lane ON tasks_api_run_live (lane_id)
        WHERE state IN ('running', 'open') AND lane_id IS NOT NULL;
"""
WAITS = [("is_next", False), ("state__in", ["pending", "retrying"])]
IS_WAITING = Q(WAITS[0], ("lane_id", None), WAITS[1])
INDEXES = (
    models.Index(condition=IS_WAITING, fields=["wake_at"], name="run_waits"),
    models.Index(
        condition=IS_WAITING, fields=["tenant", "wake_at"], name="run_waits_of_tenant"
    ),
    models.Index(
        condition=Q(WAITS[0], ("lane_id__isnull", False), WAITS[1]),
        fields=["lane_id", "wake_at"],
        name="run_waits_in_lane",
    ),
    models.Index(
        condition=Q(("lane_id__isnull", False), ("state__in", ["running", "open"])),
        fields=["lane_id"],
        name="run_under_way_in_lane",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0017_lanes")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="lane_id",
            field=models.BigIntegerField(null=True),
        ),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL(INDEX_LIVE_RUNS)],
            [
                migrations.RemoveIndex("run", "run_waits"),
                migrations.RemoveIndex("run", "run_waits_of_tenant"),
                *(migrations.AddIndex("run", index) for index in INDEXES),
            ],
        ),
    ]
