"""A form that somebody sent, with the request to the API that it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from console.task_forms import equivalents
from console.task_forms.bodies import Body, changes, form_name, to_body, to_initial
from console.task_forms.checks import (
    PAYLOAD,
    TARGET,
    CheckedTask,
    check_change,
    check_task,
    sentence,
)
from console.task_forms.equivalents import Equivalents
from console.task_forms.forms import TaskForm
from tasks_api.api.tasks.rendering import render_task
from tasks_api.api.tasks.views import etag_of
from tasks_api.domain.specs import TaskSpec

_SCHEDULE = re.compile(r"schedules\[([0-9]+)\]")
REQUEST = (
    TARGET
    | PAYLOAD
    | {"method", "headers", "timeout_seconds", "expected_status", "long_work"}
)


@dataclass(frozen=True)
class Draft:
    """A form, the body of its request to the API, and what the API says of it."""

    form: TaskForm
    body: Body
    checked: CheckedTask
    equivalents: Equivalents

    @property
    def spec(self) -> TaskSpec:
        """What the form asks for, if nothing in it is wrong."""
        assert self.checked.spec is not None
        return self.checked.spec

    @property
    def has_valid_request(self) -> bool:
        """Return whether the request can be sent, whenever that is to be."""
        names = {form_name(field) for field in REQUEST}
        return self.checked.has_valid(REQUEST) and not names & self.form.errors.keys()

    def put(self, field: str, value: str) -> None:
        """Change what the form shows in a field."""
        data: Any = self.form.data
        data = data.copy()
        data[field] = value
        self.form.data = data

    def refuse(self, field: str, reason: str) -> None:
        """Say beside a field of the API why it cannot be stored, or above the form."""
        name = form_name(field)
        known = name if name in self.form.fields else None
        if place := _SCHEDULE.match(field):
            self.form.refuse_row(int(place[1]), reason)
        elif known is None or known not in self.form.errors:
            self.form.add_error(known, reason)


def new_draft(data: Mapping[str, Any], *, api: str, now: datetime) -> Draft:
    form = TaskForm(data)
    form.is_valid()
    body = to_body(form.cleaned_data)
    return _checked(
        Draft(form, body, check_task(body, now=now), equivalents.of_new(body, api=api))
    )


def changed_draft(
    task: Any, data: Mapping[str, Any], *, api: str, now: datetime
) -> Draft:
    """Return the draft of a change, which says only what differs from the task."""
    form = edit_form(data)
    form.is_valid()
    whole = to_body(form.cleaned_data)
    body = changes(body_of(task, now), whole)
    same = equivalents.of_change(
        body, whole, api=api, task_id=str(task.pk), etag=etag_of(task)
    )
    return _checked(Draft(form, body, check_change(task, body, now=now), same))


def edit_form(
    data: Mapping[str, Any] | None = None, initial: dict[str, Any] | None = None
) -> TaskForm:
    form = TaskForm(data, initial=initial)
    # The page of the task pauses and resumes it.
    del form.fields["paused"]
    return form


def initial_of(task: Any, now: datetime) -> dict[str, Any]:
    return to_initial(render_task(task, now))


def body_of(task: Any, now: datetime) -> Body:
    """Return the body that the form of a task stands for as long as nobody edits it."""
    form = edit_form(initial_of(task, now))
    form.is_valid()
    return to_body(form.cleaned_data)


def _checked(draft: Draft) -> Draft:
    for error in draft.checked.errors:
        draft.refuse(error.field, sentence(error))
    return draft
