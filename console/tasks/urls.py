"""The URLs of the pages of tasks."""

from __future__ import annotations

from console.routes import ID, change, route
from console.tasks import views
from tasks_api.services.bulk_changes import Change

CHANGE = f"(?P<action>{'|'.join(Change)})"

urlpatterns = [
    route("app/tasks", views.tasks, "console-tasks"),
    change(f"app/tasks/{CHANGE}", views.change, "console-change-tasks"),
    route(rf"app/tasks/(?P<task_id>{ID})", views.task, "console-task"),
]
