"""The methods of the client for calendars, which tasks leave out, follow or wait for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from scheduler_client.calendar_models import (
    Calendar,
    CalendarDay,
    CalendarEffect,
    CalendarVersion,
)
from scheduler_client.connection import MAX_PAGE_SIZE, ConnectionOwner
from scheduler_client.decoding import decode
from scheduler_client.encoding import quote_segment

CalendarOrName = Calendar | str


class CalendarMethods(ConnectionOwner):
    def list_calendars(self) -> Iterator[Calendar]:
        """List the calendars of your tenant by their names."""
        for item in self._connection.get("/calendars/").body["calendars"]:
            yield decode(Calendar, item)

    def get_calendar(self, calendar: CalendarOrName) -> Calendar:
        return decode(Calendar, self._connection.get(_path(calendar)).body)

    def create_calendar(self, name: str, **content: Any) -> Calendar:
        """Create a calendar of a zone, dates, ranges, weekdays and holidays."""
        body = {"name": name, **content}
        response = self._connection.post("/calendars/", body, idempotent=False)
        return decode(Calendar, response.body)

    def change_calendar(self, calendar: CalendarOrName, **content: Any) -> Calendar:
        """Replace what a calendar contains, and move the tasks that follow it."""
        response = self._connection.request(
            "PUT", _path(calendar), body=content, idempotent=True
        )
        return decode(Calendar, response.body)

    def preview_calendar(
        self, calendar: CalendarOrName, **content: Any
    ) -> CalendarEffect:
        """Say what a change would do to the fire times of tasks; it changes nothing."""
        path = f"{_path(calendar)}preview/"
        response = self._connection.post(path, content, idempotent=True)
        return decode(CalendarEffect, response.body)

    def import_calendar(self, calendar: CalendarOrName, ics: str) -> Calendar:
        """Replace the dates and ranges of a calendar by the events of a file."""
        path = f"{_path(calendar)}import/"
        response = self._connection.post(path, {"ics": ics}, idempotent=True)
        return decode(Calendar, response.body)

    def remove_calendar(self, calendar: CalendarOrName) -> None:
        """Remove a calendar that no task follows."""
        self._connection.request("DELETE", _path(calendar), idempotent=True)

    def list_calendar_versions(
        self, calendar: CalendarOrName
    ) -> Iterator[CalendarVersion]:
        """List what a calendar contained, the newest version first."""
        query = {"limit": MAX_PAGE_SIZE}
        path = f"{_path(calendar)}versions/"
        for item in self._connection.get_pages(path, "versions", query):
            yield decode(CalendarVersion, item)

    def list_calendar_days(
        self,
        calendar: CalendarOrName,
        *,
        since: date | None = None,
        until: date | None = None,
    ) -> Iterator[CalendarDay]:
        """List the days that a calendar has, from `since` to `until`, both included."""
        query = {
            "from": since and since.isoformat(),
            "to": until and until.isoformat(),
        }
        body = self._connection.get(f"{_path(calendar)}days/", query).body
        for item in body["days"]:
            yield decode(CalendarDay, item)


def _path(calendar: CalendarOrName) -> str:
    name = calendar if isinstance(calendar, str) else calendar.name
    return f"/calendars/{quote_segment(name)}/"
