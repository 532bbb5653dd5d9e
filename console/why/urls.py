"""The URL of the page that answers why."""

from __future__ import annotations

from console.routes import ID, route
from console.why import views

urlpatterns = [
    route(rf"app/tasks/(?P<task_id>{ID})/why", views.why_page, "console-why"),
]
