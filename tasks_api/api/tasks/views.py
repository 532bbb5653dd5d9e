"""The tasks surface itself: create, list, read, change, remove, run, pause, resume."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields, pagination
from tasks_api.api.idempotency import idempotent
from tasks_api.api.tasks import openapi
from tasks_api.api.tasks.base import InvalidTasks, TasksView, error_at
from tasks_api.api.tasks.filters import (
    MAX_PAGE_SIZE,
    read_cursor,
    read_filters,
    read_scope,
)
from tasks_api.api.tasks.parsing import (
    read_change,
    read_name_in_path,
    read_replacement,
    read_task,
    read_tasks,
)
from tasks_api.api.tasks.rendering import render_task
from tasks_api.domain.exceptions import (
    InvalidTask,
    NameTaken,
    TaskNotFound,
    VersionConflict,
)
from tasks_api.domain.specs import Surface
from tasks_api.models import Task, TaskQuerySet
from tasks_api.services import (
    finding,
    listing,
    named_tasks,
    removal,
    tasks,
)
from tasks_api.storage import task_counts


class TaskList(TasksView):
    error_messages_by_method: ClassVar = {
        ("GET", 500): "APIError: Internal Server error while retrieving records",
        ("POST", 401): "User Not authorized",
    }

    @openapi.list_tasks
    def get(self, request: Request) -> Response:
        now = clock.now()
        query = fields.query_parameters(request)
        whose = read_scope(query, self.user)
        filters = read_filters(request, query)
        if filters or "cursor" in query:
            return self._by_cursor(request, whose, filters, now)
        limit = pagination.page_size(
            query, default=MAX_PAGE_SIZE, maximum=MAX_PAGE_SIZE
        )
        offset = fields.whole_number_parameter(query, "offset", 0, minimum=0)
        count = task_counts.count_alive(
            whose.tenant_id, whose.owner_ids, whose.surface, now=now
        )
        page = listing.page_by_offset(
            whose, offset=offset, limit=limit, total=count, now=now
        )
        body = {"count": count, "tasks": [render_task(task, now) for task in page]}
        if offset + limit >= count:
            return Response(body)
        following = pagination.next_page_link(
            request, limit=limit, offset=offset + limit
        )
        return Response(body, headers=following)

    def _by_cursor(
        self,
        request: Request,
        whose: listing.TaskScope,
        filters: listing.TaskFilters,
        now: datetime,
    ) -> Response:
        query = fields.query_parameters(request)
        if "offset" in query:
            raise InvalidTask("offset", "offset goes neither with cursor nor filters")
        limit = pagination.page_size(
            query, default=MAX_PAGE_SIZE, maximum=MAX_PAGE_SIZE
        )
        after = read_cursor(query.get("cursor", ""))
        page = listing.page_by_cursor(whose, filters, after=after, limit=limit, now=now)
        body: dict[str, Any] = {}
        if not filters:
            body["count"] = task_counts.count_alive(
                whose.tenant_id, whose.owner_ids, whose.surface, now=now
            )
        body["tasks"] = [render_task(task, now) for task in page.tasks]
        body["next_cursor"] = page.after and page.after.hex
        if page.after is None:
            return Response(body)
        return Response(
            body, headers=pagination.next_page_link(request, cursor=page.after.hex)
        )

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
    @property
    def max_body_bytes(self) -> int:
        limit: int = settings.SCHEDULER_MAX_BULK_BYTES
        return limit

    @openapi.create_tasks
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        specs = read_tasks(request.data, now=now)
        try:
            rows = tasks.create_tasks(self.user, specs, now=now)
        except NameTaken as taken:
            raise InvalidTasks(
                [
                    error_at(index, InvalidTask("name", str(taken)))
                    for index, spec in enumerate(specs)
                    if spec.name in taken.names
                ],
                status=409,
            ) from None
        ids = [str(row.id) for row in rows]
        message = "Tasks have been scheduled successfully"
        return Response({"ids": ids, "message": message}, status=201)


# The answers of a task by its id, and by its name.
_TASK_ERROR_MESSAGES: dict[tuple[str | None, int], str] = {
    ("GET", 404): "APIError: task does not exist with given id",
    ("GET", 500): "APIError: Unable to serialize task data",
}


class TaskDetail(TasksView):
    error_messages_by_method: ClassVar = _TASK_ERROR_MESSAGES

    @openapi.get_task
    def get(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        own = Task.objects.reached_by(self.user).of(Surface.TASKS).alive(now)
        found = own.with_schedule().filter(pk=finding.parse_id(task_id))
        return _task_response(_require_task(found), now)

    @openapi.change_task
    @transaction.atomic
    def patch(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        data = fields.require_object(request.data)
        task = finding.lock_task(self.user, task_id, surface=Surface.TASKS, now=now)
        _require_match(request, task)
        spec = read_change(data, task, now=now)
        return _task_response(tasks.change_task(self.user, task, spec, now=now), now)

    @openapi.remove_task
    @transaction.atomic
    def delete(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        task = finding.lock_task(self.user, task_id, surface=Surface.TASKS, now=now)
        _require_match(request, task)
        removal.remove_locked(task)
        return Response({"message": "Task has been removed successfully"})


class NamedTask(TasksView):
    """A task by the name that its owner gave it."""

    error_messages_by_method: ClassVar = _TASK_ERROR_MESSAGES

    @openapi.get_named_task
    def get(self, request: Request, name: str) -> Response:
        now = clock.now()
        named = Task.objects.reached_by(self.user).named(
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
        made = tasks.create_task(self.user, read_task(data, now=now), now=now)
        task = Task.objects.with_schedule().get(pk=made.pk)
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
        named = Task.objects.for_tenant(self.tenant).named(
            Surface.TASKS, read_name_in_path(name)
        )
        found = str(_require_task(named.alive(now)).pk)
        task = finding.lock_task(self.user, found, surface=Surface.TASKS, now=now)
        _require_match(request, task)
        removal.remove_locked(task)
        return Response({"message": "Task has been removed successfully"})


def _require_task(tasks: TaskQuerySet) -> Task:
    task = tasks.first()
    if task is None:
        raise TaskNotFound("Task not found")
    return task


def etag_of(task: Task) -> str:
    """Says which task it is and how often it was changed; firing changes nothing."""
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
    """The body of a task whose name stands in the path, and may be repeated in it."""
    named = {"name": name, **data}
    if named["name"] != name:
        raise InvalidTask("name", "The name is not that of the path")
    return named


def _require_match(request: Request, task: Task) -> None:
    """Refuse to change a task that is not the one its owner has seen (RFC 9110, 13.1.1)."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return
    if etag_of(task) not in {tag.strip() for tag in wanted.split(",")}:
        raise VersionConflict("The task was changed since; its ETag is another one now")
