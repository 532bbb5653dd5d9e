"""The views of timers: one-time messages and crons to the tenant's callback URL."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access.authentication import SharedSecretAuthentication
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.errors import PlainTextErrorView
from tasks_api.api.idempotency import idempotent
from tasks_api.api.json_codec import dumps
from tasks_api.api.timers import openapi as schema
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Misfire, Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import named_tasks, removal, tasks


class TimersView(PlainTextErrorView):
    """A view whose caller is a tenant, by the secret in the `Scheduler-Secret` header."""

    authentication_classes = [SharedSecretAuthentication]
    outage_status: ClassVar[int] = 503

    def require_endpoint(self) -> None:
        if not self.tenant.callback_url:
            raise InvalidTask("endpoint", "The tenant has no endpoint to deliver to")


class InsertTimer(TimersView):
    stores_tasks: ClassVar = True

    @schema.insert_timer
    @idempotent
    def post(self, request: Request) -> Response:
        now = clock.now()
        spec = read_timer(request.data, now=now)
        self.require_endpoint()
        task = tasks.create_task(self.user, spec, now=now)
        return Response({"id": timer_id(task.pk)})


class DeleteTimer(TimersView):
    @schema.delete_timer
    def post(self, request: Request) -> Response:
        value = fields.require_field(fields.require_object(request.data), "id")
        if not isinstance(value, str):
            raise InvalidTask("id", "Invalid value of id. Value should be a string")
        if (timer := task_id(value)) is not None:
            own = Task.objects.for_tenant(self.tenant).for_surface(Surface.TIMERS)
            removal.remove_tasks(own.filter(pk=timer, name=""), now=clock.now())
        return Response()


class ReplaceCrons(TimersView):
    stores_tasks: ClassVar = True

    @schema.replace_crons
    def post(self, request: Request) -> Response:
        now = clock.now()
        specs = read_crons(request.data, now=now)
        if specs:
            self.require_endpoint()
        named_tasks.replace_all(self.user, specs, surface=Surface.TIMERS, now=now)
        return Response()


# Requests.


def read_timer(data: object, *, now: datetime) -> TaskSpec:
    data = fields.require_object(data)
    at = fields.moment("timestamp", fields.require_field(data, "timestamp"))
    new = clock.new_id()
    message = {"id": timer_id(new), "cron_id": "", "body": data.get("body")}
    return TaskSpec(
        surface=Surface.TIMERS,
        url="",
        # A moment that has passed runs at once.
        schedule=Once(max(at, now)),
        body=dumps(message),
        task_id=new,
    )


def read_crons(data: object, *, now: datetime) -> list[TaskSpec]:
    """The whole set of crons. Raises InvalidTask naming the first invalid entry."""
    jobs = fields.require_field(fields.require_object(data), "jobs")
    if not isinstance(jobs, list):
        raise InvalidTask("jobs", "Invalid value of jobs. Value should be a list")
    specs: dict[str, TaskSpec] = {}
    for index, job in enumerate(jobs):
        spec = _cron(f"jobs[{index}]", job, now)
        if spec.name in specs:
            raise InvalidTask(f"jobs[{index}].id", f"Duplicate id: jobs[{index}].id")
        specs[spec.name] = spec
    return list(specs.values())


def _cron(place: str, job: object, now: datetime) -> TaskSpec:
    if not isinstance(job, Mapping):
        raise InvalidTask(place, f"Invalid value of {place}. Value should be an object")
    entry: dict[str, Any] = {
        f"{place}.{key}": job[key] for key in ("id", "spec") if key in job
    }
    name = fields.client_name(f"{place}.id", fields.require_field(entry, f"{place}.id"))
    spec = fields.require_field(entry, f"{place}.spec")
    return TaskSpec(
        surface=Surface.TIMERS,
        url="",
        name=name,
        schedule=fields.cron(f"{place}.spec", spec, now=now),
        body=dumps({"id": "", "cron_id": name}),
        misfire=Misfire.SKIP,
    )


# Clients of this format expect ids of a "c" and 24 letters and digits. These encode the
# 122 bits in which UUIDv7s differ.

ID_DIGITS = string.digits + string.ascii_lowercase
ID_LENGTH = 24


def timer_id(task: UUID) -> str:
    """The timer id of a task, as clients of this format know it."""
    upper, middle, lower = (
        task.int >> 80,
        task.int >> 64 & 0xFFF,
        task.int & (1 << 62) - 1,
    )
    number = (upper << 12 | middle) << 62 | lower
    digits = []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(ID_DIGITS))
        digits.append(ID_DIGITS[digit])
    return "c" + "".join(reversed(digits))


def task_id(timer: str) -> UUID | None:
    """The task id of a timer id; None if it cannot be one."""
    if len(timer) != ID_LENGTH + 1 or timer[0] != "c" or set(timer) - set(ID_DIGITS):
        return None
    number = int(timer[1:], len(ID_DIGITS))
    upper, middle, lower = number >> 74, number >> 62 & 0xFFF, number & (1 << 62) - 1
    if upper >> 48:
        return None
    return UUID(int=upper << 80 | 7 << 76 | middle << 64 | 2 << 62 | lower)
