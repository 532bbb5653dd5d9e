"""Check the body of a form by the API's own reader, and name every field that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from console.task_forms.bodies import Body
from console.task_forms.forms import NEEDED
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
        names = {error.field.partition(".")[0] for error in self.errors}
        return self.spec is not None and not names & fields


def check_task(body: Body, *, now: datetime) -> CheckedTask:
    return _check(body, lambda each: read_task(each, now=now), STAND_INS)


def check_change(task: Any, body: Body, *, now: datetime) -> CheckedTask:
    """Check the body of `PATCH`: a field that is wrong keeps its value."""
    return _check(body, lambda each: read_change(each, task, now=now), {})


def sentence(error: InvalidTask) -> str:
    """Return what the API says of a field, as it reads beside that field."""
    text = str(error)
    if text == f"Missing key: {error.field}":
        return NEEDED
    text = text.removeprefix(f"Invalid value of {error.field}. ")
    text = text.replace("Value should", "It should")
    if text.startswith(f"{error.field} should"):
        text = f"It{text.removeprefix(error.field)}"
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
            name = error.field.partition(".")[0]
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
