"""The hours of a local day, as the clocks of its zone show them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)


class LocalHour(NamedTuple):
    """An hour of UTC, and the local times at which it begins and ends."""

    start: datetime
    begins: datetime
    ends: datetime

    @property
    def end(self) -> datetime:
        return self.start + HOUR

    @property
    def is_second_pass(self) -> bool:
        """Whether the clock showed this hour before on the same day."""
        return bool(self.begins.fold)


def hours_of(day: date, zone: ZoneInfo) -> list[LocalHour]:
    """The hours that begin on a day: 23 or 25 of them where the clock changes."""
    return list(_hours_of(day, zone))


def _hours_of(day: date, zone: ZoneInfo) -> Iterator[LocalHour]:
    midnight = datetime.combine(day, time(), zone).astimezone(UTC)
    # Where zones are off by parts of an hour, hours begin at other minutes than 0.
    start = midnight.replace(minute=0, second=0, microsecond=0) - HOUR
    while (begins := start.astimezone(zone)).date() <= day:
        if begins.date() == day:
            yield LocalHour(start, begins, (start + HOUR).astimezone(zone))
        start += HOUR
