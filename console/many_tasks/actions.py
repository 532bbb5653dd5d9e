"""What can be done with all tasks of a filter: plan it, and do what the plan says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from accounts.models import User
from console.many_tasks.forms import ActionForm, ChangeForm, PauseForm, ResumeForm
from tasks_api.api.tasks.bulk_change import ChangedTask, change_selected
from tasks_api.api.tasks.common_changes import check_changes
from tasks_api.api.tasks.pause_fields import read_catch_up, read_hold
from tasks_api.api.tasks.selection import read_selection
from tasks_api.api.tasks.shown_changes import find_changes
from tasks_api.services import bulk_pausing
from tasks_api.services.task_details import title_of
from tasks_api.services.task_selection import SelectedTasks

# The tasks that a plan names.
MAX_NAMED = 10
Body = Mapping[str, Any]


class FieldChange(NamedTuple):
    """A field of a task before and after, as the API shows it: without secrets."""

    field: str
    before: str
    after: str


class PlannedTask(NamedTuple):
    id: Any
    title: str
    changes: list[FieldChange]


class Plan(NamedTuple):
    """What a request would do, or has done, with the tasks of its filter."""

    total: int
    # The filter finds more than one request changes.
    has_more: bool
    fingerprint: str
    tasks: list[PlannedTask]

    @property
    def unnamed(self) -> int:
        return self.total - len(self.tasks)


class Action(NamedTuple):
    """A verb with its form; `run` makes the plan, or with a hash in the body does it."""

    title: str
    # What has become of the tasks.
    done: str
    consequence: str
    form: type[ActionForm]
    run: Callable[[User, Body, datetime], Plan]


def _pause(user: User, body: Body, now: datetime) -> Plan:
    selection = read_selection(body, user, "pause")
    hold = read_hold(body, now)
    selected = bulk_pausing.pause_selected(user, selection, hold=hold, now=now)
    return _plan_of(selected)


def _resume(user: User, body: Body, now: datetime) -> Plan:
    selection = read_selection(body, user, "resume")
    catch_up = read_catch_up(body)
    selected = bulk_pausing.resume_selected(user, selection, catch_up=catch_up, now=now)
    return _plan_of(selected)


def _plan_of(selected: SelectedTasks) -> Plan:
    named = [_named(task, []) for task in selected.tasks[:MAX_NAMED]]
    return Plan(len(selected.tasks), selected.has_more, selected.fingerprint, named)


def _change(user: User, body: Body, now: datetime) -> Plan:
    wanted = check_changes(body["set"])
    selection = read_selection(body, user, "change")
    result = change_selected(user, selection, wanted, now=now)
    named = [_changed(each) for each in result.shown[:MAX_NAMED]]
    return Plan(result.changed, False, result.fingerprint, named)


def _changed(each: ChangedTask) -> PlannedTask:
    found = find_changes(each.before, each.after)
    pairs = [
        FieldChange(name, _say(pair["from"]), _say(pair["to"]))
        for name, pair in found.items()
    ]
    return _named(each.task, pairs)


def _say(value: Any) -> str:
    if value in (None, "", [], {}):
        return "nothing"
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(_say, value))
        case dict():
            return ", ".join(f"{name}: {_say(each)}" for name, each in value.items())
    return str(value)


def _named(task: Any, changes: list[FieldChange]) -> PlannedTask:
    return PlannedTask(task.pk, title_of(task), changes)


ACTIONS: Mapping[str, Action] = {
    "pause": Action(
        "Pause",
        "paused",
        "Paused tasks do not fire. What is under way finishes.",
        PauseForm,
        _pause,
    ),
    "resume": Action(
        "Resume",
        "resumed",
        "The tasks fire again at their next fire times.",
        ResumeForm,
        _resume,
    ),
    "change": Action(
        "Change",
        "changed",
        "All of the tasks change, or none does. Fields that you leave empty stay as they "
        "are.",
        ChangeForm,
        _change,
    ),
}
