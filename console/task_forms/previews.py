"""What a form would do: when it fires, in words and in commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.models import User
from console.fire_times import FireTimeRow, fire_time_rows
from console.policy_words import policy_sentences
from console.task_forms.checks import SCHEDULE, CheckedTask, sentence, top_name
from console.task_forms.drafts import Draft
from console.task_forms.equivalents import Equivalents
from console.task_forms.lane_choices import LaneAnswer, ask_lane
from tasks_api.domain.effort import TooMuch
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.specs import TaskSpec
from tasks_api.services.calendars import resolve_calendars

FIRE_TIMES = 5
TIMING = SCHEDULE | {"dst"}


@dataclass(frozen=True)
class Preview:
    """The schedule in words with its next fire times, or the sentence that refuses it.

    All three are empty while the form does not say when.
    """

    equivalents: Equivalents
    policies: list[str]
    words: str = ""
    zone: str = "UTC"
    fire_times: tuple[FireTimeRow, ...] = ()
    error: str = ""
    # What the lane of the task says about it; None without a lane that has a rate.
    answer: LaneAnswer | None = None


def preview(draft: Draft, user: User, task: Any = None, *, now: datetime) -> Preview:
    """Return what a draft would do; `task` is the stored one, if the draft changes it."""
    checked, same = draft.checked, draft.equivalents
    spec = checked.spec
    if spec is None or not (draft.form.says_when and checked.has_valid(TIMING)):
        policies = policy_sentences(spec) if spec else []
        error = _schedule_error(checked) if draft.form.says_when else ""
        return Preview(same, policies, error=error)
    try:
        [spec] = resolve_calendars(user, [spec], now=now)
        rows = _read_rows(spec, now)
    except (InvalidTask, ScheduleError, TooMuch) as error:
        return Preview(same, policy_sentences(spec), error=str(error))
    words, zone = schedule_words(spec.schedule), zone_of(spec.schedule)
    answer = ask_lane(user, spec, task, now=now)
    return Preview(same, policy_sentences(spec), words, zone, rows, answer=answer)


def _read_rows(spec: TaskSpec, now: datetime) -> tuple[FireTimeRow, ...]:
    count = min(FIRE_TIMES, spec.max_runs or FIRE_TIMES)
    return tuple(fire_time_rows(spec.schedule, since=now, count=count))


def _schedule_error(checked: CheckedTask) -> str:
    errors = sorted(
        checked.errors, key=lambda error: top_name(error.field) not in TIMING
    )
    return next(map(sentence, errors), "")
