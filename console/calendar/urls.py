"""The URLs of the calendar."""

from __future__ import annotations

from console.calendar import views
from console.routes import route

urlpatterns = [
    route("app/calendar", views.calendar, "console-calendar"),
    route("app/calendar/tasks", views.coming_tasks, "console-calendar-tasks"),
]
