"""Explain a cron expression: in words, field by field, and by when it fires."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from console.cron.fields import FieldMeaning, explain_fields, find_wrong_fields
from console.fire_times import FireTimeRow, fire_time_rows
from tasks_api.domain import cron
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.schedules import Cron, Schedule, read_cron

FIRE_TIMES = 20
# Anybody may ask. A usual expression takes less than a thousand steps for all that the
# page shows, and this many steps take a tenth of a second.
MAX_STEPS = 40_000
# Most zones change their clock twice a year.
SHIFTS, SHIFT_SPAN = 2, timedelta(days=400)
# The most fire times around a shift that are looked through, and shown.
LOOKED_THROUGH, SHOWN_AT_SHIFT = 200, 6
HOUR = timedelta(hours=1)


class ShiftEffect(NamedTuple):
    """A coming change of the clock, and the fire times that it moves, drops or doubles."""

    before: datetime
    now: datetime
    fire_times: list[FireTimeRow]

    @property
    def is_gap(self) -> bool:
        return self.before < self.now


@dataclass(frozen=True)
class Explanation:
    """What the page says of an expression, or why the expression is refused."""

    words: str = ""
    zone: str = "UTC"
    fields: tuple[FieldMeaning, ...] = ()
    fire_times: tuple[FireTimeRow, ...] = ()
    shifts: tuple[ShiftEffect, ...] = ()
    error: str = ""


def explain(expression: str, zone: str, *, now: datetime) -> Explanation:
    try:
        with allowance(MAX_STEPS, TooMuch):
            return _explain(read_cron(expression, zone=zone or None, now=now), now)
    except (ScheduleError, TooMuch) as error:
        wrong = find_wrong_fields(expression)
        is_marked = any(field.is_wrong for field in wrong)
        return Explanation(error=str(error), fields=tuple(wrong if is_marked else ()))


def _explain(schedule: Schedule, now: datetime) -> Explanation:
    rows = tuple(fire_time_rows(schedule, since=now, count=FIRE_TIMES))
    words = schedule_words(schedule)
    if not isinstance(schedule, Cron):
        return Explanation(words, fire_times=rows)
    fields = cron.Fields(schedule.expression, schedule.seconds, schedule.years)
    return Explanation(
        words,
        schedule.zone,
        tuple(explain_fields(fields)),
        rows,
        tuple(_shift_effects(schedule, now)),
    )


def _shift_effects(schedule: Cron, now: datetime) -> Iterator[ShiftEffect]:
    coming = cron.clock_shifts(schedule.zone, now, now + SHIFT_SPAN)
    for at, before, after in islice(coming, SHIFTS):
        since, until = at - HOUR - cron.SECOND, at + HOUR
        rows = fire_time_rows(schedule, since=since, count=LOOKED_THROUGH)
        near = (row for row in rows if row.note and (row.at or at) <= until)
        yield ShiftEffect(before, after, list(islice(near, SHOWN_AT_SHIFT)))
