"""The calendars of a task: read from requests, shown in responses, and described.

The rules are in docs/reference/calendars.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from tasks_api.api import fields, openapi
from tasks_api.api.tasks.field_types import Fields, OptionalField
from tasks_api.domain.calendars import (
    MIN_MOVING_INTERVAL,
    CalendarChoice,
    OnExcluded,
    parse_pace,
)
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.schedules import least_interval
from tasks_api.domain.specs import Overlap, RequestOptions, TaskSpec
from tasks_api.models import Task
from tasks_api.services.calendars import choice_of

MAX_NAMES = 10
_LISTS = ("exclude", "only", "hold")


def _read(given: Fields, spec: TaskSpec, now: datetime) -> Fields:
    value = given["calendars"]
    if not isinstance(value, Mapping):
        fields.raise_invalid("calendars", "should be an object")
    lists = {name: _names(value, name) for name in _LISTS}
    choice = CalendarChoice(**lists, on_excluded=_on_excluded(value), pace=_pace(value))
    if not choice.names:
        return {"calendars": None}
    _check(choice, given, spec)
    return {"calendars": choice}


def _names(value: Fields, name: str) -> tuple[str, ...]:
    names = value.get(name)
    if names is None:
        return ()
    if (
        isinstance(names, list)
        and len(names) <= MAX_NAMES
        and all(isinstance(each, str) for each in names)
    ):
        return tuple(dict.fromkeys(names))
    raise InvalidTask(
        f"calendars.{name}",
        f"Invalid value of calendars.{name}. Value should be a list of at most "
        f"{MAX_NAMES} names of calendars",
    )


def _on_excluded(value: Fields) -> OnExcluded:
    try:
        return OnExcluded(value.get("on_excluded") or OnExcluded.SKIP)
    except ValueError:
        raise InvalidTask(
            "calendars.on_excluded",
            "Invalid value of calendars.on_excluded. Value should be "
            f"{fields.join_choices(OnExcluded)}",
        ) from None


def _pace(value: Fields) -> str:
    pace = value.get("pace")
    if pace is None or pace == "":
        return ""
    try:
        parse_pace(pace if isinstance(pace, str) else "")
    except ValueError:
        raise InvalidTask(
            "calendars.pace",
            "Invalid value of calendars.pace. Value should be a number of runs a second, "
            "minute or hour, such as 20/minute",
        ) from None
    return str(pace)


def _check(choice: CalendarChoice, given: Fields, spec: TaskSpec) -> None:
    if choice.pace and not choice.hold:
        fields.raise_invalid("calendars.pace", "goes with hold")
    if choice.hold and given.get("overlap") == Overlap.QUEUE_ONE:
        fields.raise_invalid("calendars.hold", "goes with overlap allow or skip")
    if choice.on_excluded == OnExcluded.SKIP:
        return
    if not choice.exclude and not choice.only:
        fields.raise_invalid("calendars.on_excluded", "goes with exclude or only")
    try:
        is_too_often = least_interval(spec.schedule) < MIN_MOVING_INTERVAL
    except ScheduleError as error:
        raise InvalidTask("calendars", f"Invalid value of calendars. {error}") from None
    if is_too_often:
        fields.raise_invalid(
            "calendars.on_excluded",
            "goes with a schedule that fires at most once an hour",
        )


def _show(task: Task, options: RequestOptions) -> dict[str, Any] | None:
    try:
        choice = choice_of(task.calendars)
    except ScheduleError:
        return None
    if choice is None:
        return None
    shown = {name: value for name, value in asdict(choice).items() if value}
    if choice.on_excluded == OnExcluded.SKIP:
        del shown["on_excluded"]
    return {
        name: list(value) if isinstance(value, tuple) else str(value)
        for name, value in shown.items()
    }


def _list(description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "description": description,
        "maxItems": MAX_NAMES,
        "items": {"type": "string"},
    }


_SCHEMA = {
    "type": "object",
    "description": "Calendars by their names: when the task does not fire, or fires alone, "
    "and when its runs wait.",
    "properties": {
        "exclude": _list("The task does not fire on what any of these calendars has."),
        "only": _list("The task fires only on what one of these calendars has."),
        "on_excluded": openapi.text(
            "What becomes of a fire time that calendars leave out: it is skipped, or moves "
            "to the same local time on the next or the previous day that is not left out.",
            enum=[each.value for each in OnExcluded],
        ),
        "hold": _list(
            "During the time of these calendars the runs of the task wait, and are sent "
            "after it."
        ),
        "pace": openapi.text(
            "How many waiting runs are sent a second, minute or hour after the hold, such "
            "as `20/minute`; if absent, all at once.",
            pattern="^[1-9][0-9]{0,6}/(second|minute|hour)$",
        ),
    },
}

CALENDARS_FIELD = OptionalField("calendars", _SCHEMA, _read, _show, needs_periodic=True)
