"""The URLs of the forms of tasks."""

from __future__ import annotations

from console.routes import ID, route
from console.task_forms import views

TASK = f"(?P<task_id>{ID})"

urlpatterns = [
    route("app/tasks/new", views.new_task, "console-new-task"),
    route(f"app/tasks/{TASK}/edit", views.edit_task, "console-edit-task"),
    route(f"app/tests/{TASK}", views.trial, "console-test"),
]
