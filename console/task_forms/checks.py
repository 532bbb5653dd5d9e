"""Check the body of a form by the API's own reader, and name every field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from console.task_forms.bodies import Body
from console.task_forms.schedule_rows import NEEDED
from tasks_api.api.tasks import schedule_fields
from tasks_api.api.tasks.parsing import read_change, read_task
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import TaskSpec

# A body has fewer fields than this.
MAX_ERRORS = 20
# Fields that are read together: if one is wrong, the others cannot be read either.
SCHEDULE = frozenset(schedule_fields.FIELDS)
TARGET = frozenset({"url", "queue"})
PAYLOAD = frozenset({"body", "post_data", "content_type"})
# How the API names a field of one of several schedules.
_IN_SCHEDULE = re.compile(r"^schedules\[[0-9]+\]: ")
_IN_SCHEDULE_NAME = re.compile(r"^schedules\[[0-9]+\]\.?")
# What takes the place of required fields that are wrong, so that the others are read.
STAND_INS: Mapping[frozenset[str], Body] = {
    SCHEDULE: {"task_type": "periodic", "cron": "@daily"},
    TARGET: {"url": "https://example.com/"},
}


class CheckedTask(NamedTuple):
    """What the API makes of a body. With errors, other values stand in for wrong ones."""

    spec: TaskSpec | None
    errors: list[InvalidTask]

    def has_valid(self, fields: frozenset[str]) -> bool:
        names = {top_name(error.field) for error in self.errors}
        return self.spec is not None and not names & fields


def top_name(field: str) -> str:
    """Return the field of the body in which a field is: `retry.max_age` is in `retry`."""
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def check_task(body: Body, *, now: datetime) -> CheckedTask:
    return _check(body, lambda each: read_task(each, now=now), STAND_INS)


def check_change(task: Any, body: Body, *, now: datetime) -> CheckedTask:
    """Check the body of `PATCH`: a field that is wrong keeps its value."""
    return _check(body, lambda each: read_change(each, task, now=now), {})


def sentence(error: InvalidTask) -> str:
    """Return what the API says of a field, as it reads beside that field."""
    text = _IN_SCHEDULE.sub("", str(error))
    name = _IN_SCHEDULE_NAME.sub("", error.field)
    if text == f"Missing key: {name}":
        return NEEDED
    text = text.removeprefix(f"Invalid value of {name}. ")
    text = text.replace("Value should", "It should")
    if name and text.startswith(f"{name} should"):
        text = f"It{text.removeprefix(name)}"
    return text if text.endswith((".", "?")) else f"{text}."


def _check(
    body: Body,
    read: Callable[[Body], TaskSpec],
    stand_ins: Mapping[frozenset[str], Body],
) -> CheckedTask:
    errors: list[InvalidTask] = []
    while len(errors) < MAX_ERRORS:
        try:
            return CheckedTask(read(body), errors)
        except InvalidTask as error:
            errors.append(error)
            name = top_name(error.field)
            group = _group_of(name)
            rest = {each: body[each] for each in body.keys() - group}
            valid = {**rest, **stand_ins.get(group, {})}
            if valid == body:
                break
            body = valid
    return CheckedTask(None, errors)


def _group_of(name: str) -> frozenset[str]:
    groups = (group for group in (SCHEDULE, TARGET, PAYLOAD) if name in group)
    return next(groups, frozenset({name}))
