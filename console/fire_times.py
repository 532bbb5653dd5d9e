"""Coming fire times as the pages show them, with a sentence on each clock change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from tasks_api.domain.fire_times import (
    ClockChange,
    ComingFireTime,
    coming_fire_times,
)
from tasks_api.domain.schedules import Schedule


class FireTimeRow(NamedTuple):
    """A fire time in UTC and as the clock of its zone shows it.

    A fire time that a clock change drops, or a calendar leaves out, has no instant.
    """

    at: datetime | None
    local: str
    note: str
    # The calendar that left it out or moved it.
    calendar: str = ""


def fire_time_rows(
    schedule: Schedule, *, since: datetime, count: int
) -> Iterator[FireTimeRow]:
    """Yield the next fire times, at most `count`, and those that are dropped among them."""
    for each in coming_fire_times(schedule, since=since, count=count):
        yield to_row(each)


def to_row(each: ComingFireTime) -> FireTimeRow:
    local = f"{each.local:%a} {each.local.isoformat(' ', 'seconds')}"
    calendar = each.calendar.name if each.calendar else ""
    return FireTimeRow(each.at, local, _note(each), calendar)


def _note(each: ComingFireTime) -> str:
    if each.calendar is not None:
        by = f"by calendar {each.calendar.name}, version {each.calendar.number}."
        if each.at is None or each.moved_from is None:
            return f"Left out {by}"
        planned = each.moved_from.astimezone(each.local.tzinfo)
        return f"Moved from {planned:%a %Y-%m-%d} {by}"
    match each.dst:
        case ClockChange.MOVED:
            return f"The clock skips {each.wall:%H:%M}; it fires when the gap is over."
        case ClockChange.DROPPED:
            return f"Left out: the clock skips {each.wall:%H:%M}."
        case ClockChange.DOUBLED:
            pass_name = "first" if each.which_pass == 1 else "second"
            return f"The clock shows this time twice. This is the {pass_name} one."
        case ClockChange.ONCE:
            return "The clock shows this time twice; it fires once."
    return ""
