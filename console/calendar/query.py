"""What the address of the calendar asks for, and the addresses that ask for other things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from console.links import CALENDAR
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services.forecast import Division, Only

WEEK, DAY = "week", "day"
# How far back and ahead the calendar goes.
MAX_PAST, MAX_FUTURE = timedelta(days=366), timedelta(days=360)
# The longest time whose tasks are listed.
MAX_WINDOW = timedelta(days=8)
ZONES = sorted(zone for zone in available_timezones() if "/" in zone or zone == "UTC")

DIVISIONS = [each.value for each in Division if each]


@dataclass(frozen=True)
class CalendarQuery:
    """A week or a day in a zone, and the tasks, tag or host that alone are counted."""

    day: date
    today: date
    zone_name: str = "UTC"
    view: str = WEEK
    by: Division = Division.NOTHING
    of: str = ""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone_name)

    @property
    def only(self) -> Only | None:
        return Only(self.by, self.of) if self.of else None

    @property
    def division(self) -> Division:
        """What the load is divided by: nothing, if it is of one label only."""
        return Division.NOTHING if self.of else self.by

    @property
    def days(self) -> list[date]:
        if self.view == DAY:
            return [self.day]
        monday = self.day - timedelta(days=self.day.weekday())
        return [monday + timedelta(days=number) for number in range(7)]

    @property
    def url(self) -> str:
        query = {
            "view": self.view if self.view != WEEK else "",
            "day": self.day.isoformat() if self.day != self.today else "",
            **self.kept(),
        }
        given = {key: value for key, value in query.items() if value}
        return f"{CALENDAR}?{urlencode(given)}" if given else CALENDAR

    @property
    def unit(self) -> str:
        """What a place of the heat map stands for."""
        return "an hour" if self.view == WEEK else "a quarter of an hour"

    def kept(self) -> dict[str, str]:
        """The parameters that all pages of the calendar have."""
        zone = "" if self.zone_name == "UTC" else self.zone_name
        return {"zone": zone, "by": self.by.value, "of": self.of}

    def with_(self, **changes: Any) -> CalendarQuery:
        return replace(self, **changes)

    @property
    def as_of_today(self) -> CalendarQuery:
        return self.with_(day=self.today)

    @property
    def as_week(self) -> CalendarQuery:
        return self.with_(view=WEEK)

    @property
    def as_day(self) -> CalendarQuery:
        return self.with_(view=DAY)

    @property
    def undivided(self) -> CalendarQuery:
        return self.with_(by=Division.NOTHING, of="")

    @property
    def earlier(self) -> CalendarQuery:
        return self.with_(day=self.day - timedelta(days=len(self.days)))

    @property
    def later(self) -> CalendarQuery:
        return self.with_(day=self.day + timedelta(days=len(self.days)))

    def tasks_url(self, since: datetime, until: datetime) -> str:
        """The tasks that fire between two moments."""
        query = {
            "from": format_timestamp(since),
            "to": format_timestamp(until),
            **self.kept(),
        }
        given = {key: value for key, value in query.items() if value}
        return f"{CALENDAR}tasks/?{urlencode(given)}"


def read_query(given: Mapping[str, str], now: datetime) -> CalendarQuery:
    """Read an address. What it does not say, or says wrong, is as by default."""
    zone_name = _read_zone(given)
    today = now.astimezone(ZoneInfo(zone_name)).date()
    by = _read_division(given.get("by", ""))
    return CalendarQuery(
        day=_read_day(given.get("day", ""), today),
        today=today,
        zone_name=zone_name,
        view=DAY if given.get("view") == DAY else WEEK,
        by=by,
        of=_read_label(given.get("of", ""), by),
    )


def _read_label(text: str, by: Division) -> str:
    if not by or "\0" in text:
        return ""
    if by is not Division.TASK or not text:
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def _read_zone(given: Mapping[str, str]) -> str:
    name = given.get("zone", "").strip()
    return name if name in ZONES else "UTC"


def _read_day(text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return today
    return min(max(day, today - MAX_PAST), today + MAX_FUTURE)


def _read_division(text: str) -> Division:
    return Division(text) if text in set(Division) else Division.NOTHING


class Window(NamedTuple):
    """The time whose tasks are listed, in whole minutes."""

    since: datetime
    until: datetime


def read_window(given: Mapping[str, str], now: datetime) -> Window:
    """Read a window. By default it is the coming hour; it has at most MAX_WINDOW."""
    since = _read_moment(given.get("from", ""), now)
    since = min(max(since, now - MAX_PAST), now + MAX_FUTURE)
    since = since.replace(second=0, microsecond=0)
    until = _read_moment(given.get("to", ""), since + timedelta(hours=1))
    until = until.replace(second=0, microsecond=0)
    until = min(max(until, since + timedelta(minutes=1)), since + MAX_WINDOW)
    return Window(since, until)


def _read_moment(text: str, default: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return default
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return default
