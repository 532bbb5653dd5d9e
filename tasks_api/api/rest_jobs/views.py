"""The views of REST jobs: one request at one time, and its status."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import simplejson
from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import url_credentials
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.errors import STORAGE_OUTAGE, AnonymousAllowedView, ErrorResponse
from tasks_api.api.idempotency import idempotent
from tasks_api.api.json_codec import dumps
from tasks_api.api.rest_jobs import openapi as schema
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.services import finding, tasks

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS")
STATUS_RANGE = re.compile(r"\s*([1-9][0-9]{2})\s*-\s*([1-9][0-9]{2})\s*", re.ASCII)

STATUS_BY_STATE = {
    RunState.PENDING: "PENDING",
    RunState.RUNNING: "RUNNING",
    RunState.RETRYING: "RUNNING",
    RunState.SUCCEEDED: "SUCCESS",
}


class InvalidJob(InvalidTask):
    """One or several fields of a request are invalid."""

    def __init__(self, errors: list[InvalidTask]) -> None:
        super().__init__(errors[0].field, str(errors[0]))
        self.errors = errors


class RestJobsView(AnonymousAllowedView):
    def render_error(self, error: ErrorResponse) -> HttpResponse:
        status, message, cause = error
        if isinstance(cause, InvalidJob):
            errors = [{"field": e.field, "message": str(e)} for e in cause.errors]
            return Response({"errors": errors}, status=status)
        if error.is_outage:
            status, message = 503, STORAGE_OUTAGE
        return Response({"message": message}, status=status)


class JobList(RestJobsView):
    bounded_methods: ClassVar = ("POST",)
    stores_tasks: ClassVar = True

    @schema.create_job
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        spec = read_job(request.data, now=now)
        task = tasks.create_task(self.user, spec, now=now)
        link = f"/api/v1/jobs/{task.pk}"
        return Response(
            {"id": str(task.pk), "link": link}, status=201, headers={"Location": link}
        )


class JobDetail(RestJobsView):
    bounded_methods: ClassVar = ("GET",)

    @schema.get_job
    def get(self, request: Request, job_id: str) -> Response:
        try:
            task = self._find(job_id)
        except TaskNotFound:
            raise TaskNotFound(f"No job was found for id: {job_id}.") from None
        return Response(render_job(task))

    def _find(self, job_id: str) -> Task:
        own = Task.objects.visible_to(self.user).for_surface(Surface.REST_JOBS)
        task = own.filter(pk=finding.parse_id(job_id)).first()
        if task is None:
            raise TaskNotFound("No such job")
        since = min(task.created_at, task.last_fire_at or task.created_at)
        runs = Run.objects.planned_between(since).order_by("-scheduled_for")
        prefetch_related_objects([task], Prefetch("runs", runs))
        return task


# Requests.


def read_job(data: object, *, now: datetime) -> TaskSpec:
    """The task that a request body describes. Raises InvalidJob with every invalid field."""
    data = data if isinstance(data, Mapping) else {}
    reader = _JobReader()
    request = reader.read_request(data)
    at = reader.read("schedule", data, lambda name, value: _moment(name, value, now))
    if reader.errors:
        raise InvalidJob(reader.errors)
    return TaskSpec(
        surface=Surface.REST_JOBS,
        # A moment that has passed runs at once.
        schedule=Once(max(at, now)),
        schedule_text=data["schedule"],
        **request,
    )


class _JobReader:
    """Reads all fields of a job, and collects the errors of those that are wrong."""

    def __init__(self) -> None:
        self.errors: list[InvalidTask] = []

    def read_request(self, data: Mapping[str, Any]) -> dict[str, Any]:
        task = data.get("task")
        if not isinstance(data.get("task", {}), Mapping):
            self.errors.append(InvalidTask("task", "Value should be an object"))
            return {}
        return {
            "method": self.read("task.method", task, _method),
            "url": self.read("task.uri", task, fields.target_url),
            "body": self.read("task.body", task, _body),
            "expected_status": self.read("task.expected_range", task, _range),
        }

    def read(self, name: str, of: object, reader: Callable[[str, Any], Any]) -> Any:
        key = name.rpartition(".")[2]
        try:
            if not isinstance(of, Mapping) or key not in of:
                raise InvalidTask(name, "This field is required.")
            return reader(name, of[key])
        except InvalidTask as error:
            self.errors.append(error)
            return None


def _method(name: str, value: object) -> str:
    method = value.strip().upper() if isinstance(value, str) else ""
    if method in METHODS:
        return method
    raise InvalidTask(
        name, f"Invalid value of {name}. Value should be one of {', '.join(METHODS)}"
    )


def _body(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        return dumps(value)
    raise InvalidTask(name, f"Invalid value of {name}. Value should be an object")


def _range(name: str, value: object) -> str:
    found = STATUS_RANGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidTask(
            name,
            f"Invalid value of {name}. Value should be two statuses such as 200-299",
        )
    first, last = sorted(found.groups())
    return f"{first}-{last}"


def _moment(name: str, value: object, now: datetime) -> datetime:
    if not isinstance(value, str):
        return fields.moment(name, value)
    if value.strip().lower() == "now":
        return now
    try:
        # A date without a time means its first instant.
        day = date.fromisoformat(value.strip())
    except ValueError:
        return fields.moment(name, value)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# Responses.


def render_job(task: Task) -> dict[str, Any]:
    return {
        "id": str(task.pk),
        "task": {
            "method": task.method,
            "uri": url_credentials.mask(task.url),
            "body": simplejson.RawJSON(task.body),
            "expected_range": task.expected_status,
        },
        "schedule": task.schedule_text,
        "status": _status(task),
    }


def _status(task: Task) -> str:
    """The state of its run, or `ERROR` for a job that was removed before it had one."""
    for run in task.runs.all():
        return STATUS_BY_STATE.get(RunState(run.state), "ERROR")
    return "PENDING" if task.ended_at is None else "ERROR"
