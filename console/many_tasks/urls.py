"""The URL of the pages that change all tasks of a filter."""

from __future__ import annotations

from console.many_tasks import views
from console.many_tasks.actions import ACTIONS
from console.routes import route

urlpatterns = [
    route(
        f"app/tasks/all/(?P<verb>{'|'.join(ACTIONS)})",
        views.many_tasks,
        "console-many-tasks",
    ),
]
