"""Leave room on the pages of tasks, so that a task that moves stays on its page."""

from __future__ import annotations

from django.db import migrations

# Each fire writes the task's row anew, and ends of one-offs do so once more. Without room
# on its page, a row is locked, written whole elsewhere, and logged whole. The pages that
# are there already stay full until their rows move.
LEAVE_ROOM = "ALTER TABLE tasks_api_task SET (fillfactor = 50)"
FILL_PAGES = "ALTER TABLE tasks_api_task RESET (fillfactor)"


class Migration(migrations.Migration):
    dependencies = [("tasks_api", "0010_tenant_of_each_row")]

    operations = [migrations.RunSQL(LEAVE_ROOM, FILL_PAGES)]
