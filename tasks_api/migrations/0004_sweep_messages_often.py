"""Let PostgreSQL sweep the pull queue's dead rows early, and all of them."""

from __future__ import annotations

from django.db import migrations

# Consumers read the indexes from their old end, which is where the dead entries of taken
# messages lie. By default they would become a fifth of the table before anybody swept:
# 200,000 to step over for each /next of a queue of a million. With these it is a
# hundredth.
#
# vacuum_index_cleanup, because a sweep leaves the indexes alone while few pages of the
# table have dead rows, as the old end of a large queue does.
SET = """
    ALTER TABLE tasks_api_message SET (
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_scale_factor = 0.01,
        vacuum_index_cleanup = on
    )
"""
RESET = """
    ALTER TABLE tasks_api_message RESET (
        autovacuum_vacuum_threshold,
        autovacuum_vacuum_scale_factor,
        vacuum_index_cleanup
    )
"""


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0003_four_wire_formats")]

    operations = [migrations.RunSQL(SET, RESET)]
