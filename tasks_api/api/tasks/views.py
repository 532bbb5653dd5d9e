"""The views that create, list, read, change and remove tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.api import fields, pagination
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import openapi
from tasks_api.api.tasks.admission_fields import first_misfit
from tasks_api.api.tasks.base import InvalidTasks, TasksView, error_at
from tasks_api.api.tasks.filters import (
    MAX_PAGE_SIZE,
    read_cursor,
    read_filters,
    read_outcome_count,
    read_scope,
)
from tasks_api.api.tasks.parsing import (
    read_change,
    read_name_in_path,
    read_replacement,
    read_task,
    read_tasks,
)
from tasks_api.api.tasks.rendering import render_last_run, render_task
from tasks_api.domain.exceptions import (
    DoesNotFit,
    InvalidTask,
    NameTaken,
    TaskNotFound,
    VersionConflict,
)
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services import (
    finding,
    listing,
    named_tasks,
    outcomes,
    removal,
    tasks,
)
from tasks_api.storage import task_counts


class TaskList(TasksView):
    bounded_methods: ClassVar = ("GET", "POST")
    stores_tasks: ClassVar = True

    error_messages_by_method: ClassVar = {
        ("GET", 500): "APIError: Internal Server error while retrieving records",
        ("POST", 401): "User Not authorized",
    }

    @openapi.list_tasks
    def get(self, request: Request) -> Response:
        query = fields.query_parameters(request)
        if self.user.bounds is not None:
            return _page_within_bounds(request, self.user, clock.now())
        scope = read_scope(query, self.user)
        filters = read_filters(query, request.query_params.getlist("tag"))
        if filters or "cursor" in query:
            return _page_by_cursor(request, scope, filters, clock.now())
        return _page_by_offset(request, scope, clock.now())

    @openapi.create_task
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        spec = read_task(request.data, now=now)
        task = tasks.create_task(self.user, spec, now=now)
        return Response(
            {"id": str(task.pk), "message": "Task has been scheduled successfully"},
            status=201,
            headers={"Location": f"/tasks/{task.pk}", "ETag": etag_of(task)},
        )


class TaskBulk(TasksView):
    bounded_methods: ClassVar = ("POST",)
    stores_tasks: ClassVar = True

    @property
    def max_body_bytes(self) -> int:
        limit: int = settings.SCHEDULER_MAX_BULK_BYTES
        return limit

    @openapi.create_tasks
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        specs = read_tasks(request.data, now=now)
        ids = _create_tasks(self.user, specs, now)
        message = "Tasks have been scheduled successfully"
        return Response({"ids": ids, "message": message}, status=201)


def _create_tasks(owner: User, specs: Sequence[TaskSpec], now: datetime) -> list[str]:
    try:
        rows = tasks.create_tasks(owner, specs, now=now)
    except NameTaken as taken:
        raise _taken_names(specs, taken) from None
    except DoesNotFit as error:
        raise first_misfit(error) from None
    return [str(row.id) for row in rows]


def _taken_names(specs: Sequence[TaskSpec], taken: NameTaken) -> InvalidTasks:
    error = InvalidTask("name", str(taken))
    indexes = [i for i, spec in enumerate(specs) if spec.name in taken.names]
    return InvalidTasks([error_at(index, error) for index in indexes], status=409)


# A task by its id and by its name has the same messages.
_TASK_ERROR_MESSAGES: dict[tuple[str | None, int], str] = {
    ("GET", 404): "APIError: task does not exist with given id",
    ("GET", 500): "APIError: Unable to serialize task data",
}


class TaskDetail(TasksView):
    bounded_methods: ClassVar = ("GET", "PATCH", "DELETE")

    error_messages_by_method: ClassVar = _TASK_ERROR_MESSAGES

    @openapi.get_task
    def get(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        own = Task.objects.visible_to(self.user).for_surface(Surface.TASKS).alive(now)
        found = own.with_schedule().filter(pk=finding.parse_id(task_id))
        return _task_response(_require_task(found), now)

    @openapi.change_task
    @transaction.atomic
    def patch(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        data = fields.require_object(request.data)
        task = _lock_matching(request, self.user, task_id, now)
        spec = read_change(data, task, now=now)
        return _task_response(tasks.change_task(self.user, task, spec, now=now), now)

    @openapi.remove_task
    @transaction.atomic
    def delete(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        task = _lock_matching(request, self.user, task_id, now)
        removal.remove_locked(task)
        return Response({"message": "Task has been removed successfully"})


class NamedTask(TasksView):
    """A task by the name that its owner gave it."""

    bounded_methods: ClassVar = ("GET", "PUT", "DELETE")
    stores_tasks: ClassVar = True

    error_messages_by_method: ClassVar = _TASK_ERROR_MESSAGES

    @openapi.get_named_task
    def get(self, request: Request, name: str) -> Response:
        now = clock.now()
        named = Task.objects.visible_to(self.user).named(
            Surface.TASKS, read_name_in_path(name)
        )
        return _task_response(_require_task(named.alive(now).with_schedule()), now)

    @openapi.put_task
    @transaction.atomic
    def put(self, request: Request, name: str) -> Response:
        now, name = clock.now(), read_name_in_path(name)
        data = _with_name(fields.require_object(request.data), name)
        task = named_tasks.lock_task_or_name(
            self.user, name, surface=Surface.TASKS, now=now
        )
        if task is None:
            return self._create(request, data, now)
        return self._change(request, task, data, now)

    def _create(
        self, request: Request, data: Mapping[str, Any], now: datetime
    ) -> Response:
        if "If-Match" in request.headers:
            raise VersionConflict("There is no task with this name")
        created = tasks.create_task(self.user, read_task(data, now=now), now=now)
        task = Task.objects.with_schedule().get(pk=created.pk)
        return _task_response(
            task, now, status=201, headers={"Location": f"/tasks/{task.pk}"}
        )

    def _change(
        self, request: Request, task: Task, data: Mapping[str, Any], now: datetime
    ) -> Response:
        if request.headers.get("If-None-Match") == "*":
            raise VersionConflict("A task with this name exists already")
        _require_match(request, task)
        spec = read_replacement(data, task, now=now)
        task = tasks.change_task(self.user, task, spec, now=now)
        return _task_response(task, now, headers={"Location": f"/tasks/{task.pk}"})

    @openapi.remove_named_task
    @transaction.atomic
    def delete(self, request: Request, name: str) -> Response:
        now = clock.now()
        name = read_name_in_path(name)
        named = Task.objects.for_tenant(self.tenant).named(Surface.TASKS, name)
        task_id = str(_require_task(named.alive(now)).pk)
        task = _lock_matching(request, self.user, task_id, now)
        removal.remove_locked(task)
        return Response({"message": "Task has been removed successfully"})


def _page_within_bounds(request: Request, user: User, now: datetime) -> Response:
    """The tasks that a token with bounds made, which are few. It takes no filters."""
    query = fields.query_parameters(request)
    if others := sorted(query.keys() - {"limit", "offset"}):
        why = "A token with bounds lists its tasks without filters"
        raise InvalidTask(others[0], f"Invalid value of {others[0]}. {why}")
    limit = _page_size(query)
    offset = fields.whole_number_parameter(query, "offset", 0, minimum=0)
    own = Task.objects.visible_to(user).for_surface(Surface.TASKS).alive(now)
    count = own.count()
    page = own.with_schedule().order_by("pk")[offset : offset + limit]
    body = {"count": count, "tasks": [render_task(task, now) for task in page]}
    end = offset + limit
    has_more = end < count
    link = pagination.next_page_link(request, limit=limit, offset=end)
    return Response(body, headers=link if has_more else None)


def _page_by_offset(
    request: Request, scope: listing.TaskScope, now: datetime
) -> Response:
    query = fields.query_parameters(request)
    limit = _page_size(query)
    offset = fields.whole_number_parameter(query, "offset", 0, minimum=0)
    count = _count_tasks(scope, now)
    page = listing.page_by_offset(
        scope, offset=offset, limit=limit, total=count, now=now
    )
    body = {"count": count, "tasks": _render_tasks(page, scope, query, now)}
    end = offset + limit
    if end >= count:
        return Response(body)
    link = pagination.next_page_link(request, limit=limit, offset=end)
    return Response(body, headers=link)


def _page_by_cursor(
    request: Request,
    scope: listing.TaskScope,
    filters: listing.TaskFilters,
    now: datetime,
) -> Response:
    query = fields.query_parameters(request)
    if "offset" in query:
        raise InvalidTask(
            "offset",
            "Invalid value of offset. It cannot be combined with cursor or filters",
        )
    limit, after = _page_size(query), read_cursor(query.get("cursor", ""))
    page = listing.page_by_cursor(scope, filters, after=after, limit=limit, now=now)
    cursor = page.after and page.after.hex
    body: dict[str, Any] = {} if filters else {"count": _count_tasks(scope, now)}
    body["tasks"] = _render_tasks(page.tasks, scope, query, now)
    body["next_cursor"] = cursor
    link = pagination.next_page_link(request, cursor=cursor) if cursor else None
    return Response(body, headers=link)


def _render_tasks(
    page: Sequence[Task],
    scope: listing.TaskScope,
    query: Mapping[str, str],
    now: datetime,
) -> list[dict[str, Any]]:
    """The tasks of a page, with their last outcomes if the client asks for them."""
    shown = [render_task(task, now) for task in page]
    if count := read_outcome_count(query):
        ids = [task.pk for task in page]
        found = outcomes.last_runs(scope.tenant_id, ids, each=count)
        for task, of_task in zip(shown, ids, strict=True):
            task["outcomes"] = [render_last_run(run) for run in found[of_task]]
    return shown


def _page_size(query: Mapping[str, str]) -> int:
    return pagination.page_size(query, default=MAX_PAGE_SIZE, maximum=MAX_PAGE_SIZE)


def _count_tasks(scope: listing.TaskScope, now: datetime) -> int:
    return task_counts.count_alive(
        scope.tenant_id, scope.owner_ids, scope.surface, now=now
    )


def _require_task(tasks: TaskQuerySet) -> Task:
    task = tasks.first()
    if task is None:
        raise TaskNotFound("Task not found")
    return task


def etag_of(task: Task) -> str:
    """An ETag of a task's id and version. Firing does not change the version."""
    return f'"{task.pk.hex}-{task.version}"'


def _task_response(
    task: Task,
    now: datetime,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = render_task(task, now)
    return Response(body, status, headers={"ETag": etag_of(task), **(headers or {})})


def _with_name(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The body of a task, which may repeat the name of the path."""
    named = {"name": name, **data}
    if named["name"] != name:
        raise InvalidTask("name", "The name differs from the name in the path")
    return named


def _lock_matching(request: Request, user: User, task_id: str, now: datetime) -> Task:
    task = finding.lock_task(user, task_id, surface=Surface.TASKS, now=now)
    _require_match(request, task)
    return task


def _require_match(request: Request, task: Task) -> None:
    """Raise VersionConflict if the task is not the version that `If-Match` names (RFC 9110)."""
    if_match = request.headers.get("If-Match")
    if if_match is None or if_match.strip() == "*":
        return
    if etag_of(task) not in {tag.strip() for tag in if_match.split(",")}:
        raise VersionConflict("The task has changed since; it has another ETag now")
