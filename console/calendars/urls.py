"""The URLs of the pages of calendars of days."""

from __future__ import annotations

from console.calendars import changes, views
from console.routes import change, route

_CALENDAR = r"app/calendars/(?P<calendar>[^/]+)"

urlpatterns = [
    route("app/calendars", views.calendar_list, "console-calendars"),
    # A calendar may have any name, also "new".
    route("app/new-calendar", changes.new_calendar, "console-new-calendar"),
    route(_CALENDAR, views.calendar_detail, "console-days"),
    route(f"{_CALENDAR}/edit", changes.edit_calendar, "console-edit-days"),
    route(f"{_CALENDAR}/import", changes.import_calendar, "console-import-days"),
    change(f"{_CALENDAR}/remove", changes.remove_calendar, "console-remove-days"),
]
