"""The view that changes the tasks of a filter, after a plan that shows each change."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import bulk_change_openapi as schema
from tasks_api.api.tasks.base import TasksView, UnchangeableTasks
from tasks_api.api.tasks.common_changes import changes_of_task, check_changes
from tasks_api.api.tasks.parsing import read_change
from tasks_api.api.tasks.selection import SHOWN_TASKS, name_task, read_selection
from tasks_api.api.tasks.shown_changes import ShownTask, find_changes, show_task
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.specs import TaskSpec
from tasks_api.models import Task
from tasks_api.services import bulk_editing
from tasks_api.services.task_selection import TaskSelection


class ChangedTask(NamedTuple):
    """A task of a filter as it was before a change, and after it."""

    task: Task
    before: ShownTask
    after: ShownTask


class ChangeResult(NamedTuple):
    """How many tasks a filter found and a change changed, and the first of the latter."""

    fingerprint: str
    found: int
    changed: int
    shown: list[ChangedTask]


class ChangeTasks(TasksView):
    @schema.change_tasks
    @idempotent
    def post(self, request: Request) -> Response:
        data = fields.require_object(request.data)
        wanted = check_changes(fields.require_field(data, "set"))
        selection = read_selection(data, self.user, "change")
        if not selection.is_dry_run:
            fields.require_field(data, "hash")
        result = change_selected(self.user, selection, wanted, now=clock.now())
        return Response(_render(selection, result))


@transaction.atomic
def change_selected(
    user: User, selection: TaskSelection, wanted: Mapping[str, Any], *, now: datetime
) -> ChangeResult:
    """Change the tasks of a selection, or with a dry run show what would change.

    Raises PlanChanged, UnchangeableTasks, or InvalidTask if they are too many.
    """
    selected = bulk_editing.lock_selected(selection, now=now)
    # The change is written into these objects.
    before = {task.pk: copy.copy(task) for task in selected.tasks}
    specs = _read_specs(selected.tasks, wanted, now)
    changed = bulk_editing.rewrite_selected(user, selection, specs, now=now)
    shown = _show(changed[:SHOWN_TASKS], before, now)
    transaction.set_rollback(selection.is_dry_run)
    return ChangeResult(selected.fingerprint, len(selected.tasks), len(changed), shown)


def _read_specs(
    tasks: Sequence[Task], wanted: Mapping[str, Any], now: datetime
) -> list[tuple[Task, TaskSpec]]:
    """What each task is to be. Raises UnchangeableTasks if one cannot be so."""
    specs: list[tuple[Task, TaskSpec]] = []
    errors: list[dict[str, Any]] = []
    for task in tasks:
        try:
            data = changes_of_task(task, wanted)
            specs.append((task, read_change(data, task, now=now)))
        except InvalidTask as error:
            errors.append(
                {**name_task(task), "field": error.field, "message": str(error)}
            )
    if errors:
        raise UnchangeableTasks(errors[:SHOWN_TASKS], len(errors))
    return specs


def _show(
    changed: Sequence[Task], before: Mapping[UUID, Task], now: datetime
) -> list[ChangedTask]:
    ids = [task.pk for task in changed]
    after = Task.objects.with_schedule().in_bulk(ids)
    return [
        ChangedTask(
            after[task_id],
            show_task(before[task_id], now),
            show_task(after[task_id], now),
        )
        for task_id in ids
    ]


def _render(selection: TaskSelection, result: ChangeResult) -> dict[str, Any]:
    return {
        "message": "Nothing was changed"
        if selection.is_dry_run
        else "Tasks have been changed successfully",
        "dry_run": selection.is_dry_run,
        "hash": result.fingerprint,
        "count": result.found,
        "changed": result.changed,
        "tasks": [_render_change(each) for each in result.shown],
    }


def _render_change(each: ChangedTask) -> dict[str, Any]:
    return {
        **name_task(each.task),
        "changes": find_changes(each.before, each.after),
        "fire_times_before": each.before.fire_times,
        "fire_times_after": each.after.fire_times,
    }
