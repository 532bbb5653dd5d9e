"""The URLs of the pages of tasks."""

from __future__ import annotations

from console.routes import ID, change, route
from console.tasks import pauses, views
from tasks_api.services.bulk_changes import Change

_TASK = rf"app/tasks/(?P<task_id>{ID})"
CHANGE = f"(?P<action>{'|'.join(Change)})"

urlpatterns = [
    route("app/tasks", views.tasks, "console-tasks"),
    change(f"app/tasks/{CHANGE}", views.change, "console-change-tasks"),
    route(_TASK, views.task, "console-task"),
    change(f"{_TASK}/pause", pauses.pause, "console-pause-task"),
    change(f"{_TASK}/resume", pauses.resume, "console-resume-task"),
]
