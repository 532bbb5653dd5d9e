"""What a form would do: when it fires, in words and in commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from console.fire_times import FireTimeRow, fire_time_rows
from console.schedule_words import schedule_words
from console.task_forms.checks import SCHEDULE, CheckedTask, sentence
from console.task_forms.equivalents import Equivalents
from console.task_forms.policy_words import policy_sentences
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import Cron, Schedule

FIRE_TIMES = 5
TIMING = SCHEDULE | {"dst"}


@dataclass(frozen=True)
class Preview:
    """The schedule in words with its next fire times, or the sentence that refuses it."""

    equivalents: Equivalents
    policies: list[str]
    words: str = ""
    zone: str = "UTC"
    fire_times: tuple[FireTimeRow, ...] = ()
    error: str = ""


def preview(
    checked: CheckedTask, equivalents: Equivalents, *, now: datetime
) -> Preview:
    policies = policy_sentences(checked.spec) if checked.spec else []
    if checked.spec is None or not checked.has_valid(TIMING):
        return Preview(equivalents, policies, error=_schedule_error(checked))
    schedule = checked.spec.schedule
    try:
        rows = tuple(fire_time_rows(schedule, since=now, count=FIRE_TIMES))
    except (ScheduleError, TooMuch) as error:
        return Preview(equivalents, policies, error=str(error))
    shown = _rows_zone(schedule)
    return Preview(equivalents, policies, schedule_words(schedule), shown, rows)


def _schedule_error(checked: CheckedTask) -> str:
    errors = sorted(checked.errors, key=lambda error: error.field not in TIMING)
    return next(map(sentence, errors), "")


def _rows_zone(schedule: Schedule) -> str:
    return schedule.zone if isinstance(schedule, Cron) else "UTC"
