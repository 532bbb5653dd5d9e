"""The view that applies a list of tasks to those with a tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields, known_fields
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import apply_openapi as schema
from tasks_api.api.tasks import schedule_fields
from tasks_api.api.tasks.admission_fields import first_misfit, render_verdicts
from tasks_api.api.tasks.base import InvalidTasks, TasksView, error_at
from tasks_api.api.tasks.parsing import MAX_TAG_LENGTH, read_replacement, read_task
from tasks_api.api.tasks.shown_changes import ShownTask, find_changes, show_task
from tasks_api.domain.exceptions import DoesNotFit, InvalidTask
from tasks_api.domain.specs import Surface
from tasks_api.models import Task
from tasks_api.services import apply
from tasks_api.services.apply import Action, DesiredTask, LockedTasks, Plan, Step
from tasks_api.services.fingerprints import digest_of

# Tasks in one list.
MAX_TASKS = 1000
_TASK = known_fields.fields_of_schema(schema.DECLARED_IN)


class DeclaredTasks(NamedTuple):
    """The desired tasks of a tag, as a request lists them."""

    tag: str
    tasks: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> list[str]:
        return [task["name"] for task in self.tasks]

    @property
    def digest(self) -> str:
        """Equal for lists that say the same."""
        return digest_of(list(self))


class ShownPlan(NamedTuple):
    """A plan with the tasks as they are shown before it and after it."""

    plan: Plan
    before: Mapping[UUID, ShownTask]
    after: Mapping[UUID, ShownTask]


class ApplyTasks(TasksView):
    bounded_methods: ClassVar = ("POST",)
    stores_tasks: ClassVar = True

    @property
    def max_body_bytes(self) -> int:
        limit: int = settings.SCHEDULER_MAX_BULK_BYTES
        return limit

    @schema.apply_tasks
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        data = fields.require_object(request.data)
        task_list = DeclaredTasks(_tag(data), _tasks(data))
        dry_run = bool(fields.boolean(data, "dry_run"))
        shown = self._apply(task_list, _expected_plan(data), dry_run, now)
        return Response(_render_plan(shown, task_list.tag, dry_run=dry_run))

    @transaction.atomic
    def _apply(
        self,
        task_list: DeclaredTasks,
        expected: str | None,
        dry_run: bool,
        now: datetime,
    ) -> ShownPlan:
        locked = apply.lock_tasks_of_list(
            self.user, task_list.tag, task_list.names, surface=Surface.TASKS, now=now
        )
        # Before applying the list, which changes these objects.
        before = {task.pk: show_task(task, now) for task in locked.tasks}
        desired = _read_desired_tasks(task_list, locked, now=now)
        try:
            plan = apply.apply_list(
                locked,
                desired,
                digest=task_list.digest,
                expected=expected,
                dry_run=dry_run,
                now=now,
            )
        except DoesNotFit as error:
            raise first_misfit(error) from None
        after = {task_id: show_task(task, now) for task_id, task in plan.tasks.items()}
        return ShownPlan(plan, before, after)


# Requests.


def _tag(data: Mapping[str, Any]) -> str:
    value = fields.require_field(data, "tag")
    if isinstance(value, str) and 0 < len(value) <= MAX_TAG_LENGTH:
        return value
    raise InvalidTask(
        "tag",
        f"Invalid value of tag. Value should be a string of 1 to {MAX_TAG_LENGTH} "
        "characters",
    )


def _tasks(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Tasks with unique names. Raises InvalidTasks with all others."""
    tasks = fields.require_field(data, "tasks")
    if not isinstance(tasks, list) or len(tasks) > MAX_TASKS:
        raise InvalidTask(
            "tasks",
            f"Invalid value of tasks. Value should be a list of at most {MAX_TASKS} tasks",
        )
    errors = []
    names: dict[str, int] = {}
    for index, task in enumerate(tasks):
        try:
            known_fields.require_known_fields(task, _TASK)
            name = fields.client_name(
                "name", fields.require_field(fields.require_object(task), "name")
            )
            if names.setdefault(name, index) != index:
                raise InvalidTask("name", f"tasks[{names[name]}] has this name")
        except InvalidTask as error:
            errors.append(error_at(index, error))
    if errors:
        raise InvalidTasks(errors)
    return tasks


def _expected_plan(data: Mapping[str, Any]) -> str | None:
    value = data.get("plan")
    if isinstance(value, str | None):
        return value
    raise InvalidTask(
        "plan", "Invalid value of plan. Value should be the plan of a dry run"
    )


def _read_desired_tasks(
    task_list: DeclaredTasks, locked: LockedTasks, *, now: datetime
) -> list[DesiredTask]:
    """The desired tasks, read with the existing ones. Raises InvalidTasks."""
    others = locked.names_of_others
    if indexes := [i for i, name in enumerate(task_list.names) if name in others]:
        taken = InvalidTask("name", "A task of another user has this name")
        raise InvalidTasks([error_at(index, taken) for index in indexes], status=403)
    desired, errors = [], []
    for index, task in enumerate(task_list.tasks):
        found = locked.by_name.get(task["name"])
        try:
            desired.append(_read_desired_task(task_list.tag, task, found, now=now))
        except InvalidTask as error:
            errors.append(error_at(index, error))
    if errors:
        raise InvalidTasks(errors)
    return desired


def _read_desired_task(
    tag: str, data: Mapping[str, Any], task: Task | None, *, now: datetime
) -> DesiredTask:
    if task is None and _is_over(data, now):
        fields.boolean(data, "paused")
        return DesiredTask(data["name"], None)
    tags = data.get("tags") or []
    # A value that is not a list is reported with the task.
    tagged = [tag, *tags] if isinstance(tags, list) else tags
    body = {**data, "tags": tagged}
    spec = read_replacement(body, task, now=now) if task else read_task(body, now=now)
    return DesiredTask(data["name"], spec)


def _is_over(data: Mapping[str, Any], now: datetime) -> bool:
    """Whether a task has ended; a value that is invalid is reported later."""
    is_one_time = str(data.get("task_type")).strip().lower() == "one_time"
    names = ("end_datetime", "stop_datetime")
    given = [name for name in names if data.get(name) is not None]
    try:
        if is_one_time:
            return schedule_fields.run_moment(data) <= now
        if given and fields.moment(given[0], data[given[0]]) <= now:
            return True
        return schedule_fields.is_over(data, now)
    except InvalidTask:
        return False


# Responses.


def _render_plan(shown: ShownPlan, tag: str, *, dry_run: bool) -> dict[str, Any]:
    counts = dict.fromkeys(Action, 0)
    for step in shown.plan.steps:
        counts[step.action] += 1
    return {
        "plan": shown.plan.fingerprint,
        "tag": tag,
        "dry_run": dry_run,
        **render_verdicts(shown.plan.admission),
        "counts": {action.value: count for action, count in counts.items()},
        "tasks": [
            _render_step(step, shown, dry_run=dry_run) for step in shown.plan.steps
        ],
    }


def _render_step(step: Step, shown: ShownPlan, *, dry_run: bool) -> dict[str, Any]:
    before = after = None
    if step.task_id is not None:
        before, after = shown.before.get(step.task_id), shown.after.get(step.task_id)
    is_made = step.action == Action.CREATE
    known = before or (None if is_made and dry_run else after)
    return {
        "name": step.name,
        "id": known and known.task_id,
        "action": step.action.value,
        "changes": find_changes(before, after),
        "fire_times_before": before.fire_times if before else [],
        "fire_times_after": after.fire_times if after else [],
    }
