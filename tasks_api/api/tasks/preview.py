"""The views of the next fire times of a task, stored or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope, User
from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.tasks import preview_openapi as schema
from tasks_api.api.tasks.admission_fields import render_verdicts
from tasks_api.api.tasks.base import TasksView
from tasks_api.api.tasks.parsing import read_task
from tasks_api.domain import fire_times
from tasks_api.domain.exceptions import InvalidTask, TaskNotFound
from tasks_api.domain.fire_times import ComingFireTime
from tasks_api.domain.schedule_parts import zone_of
from tasks_api.domain.schedules import (
    MICROSECOND,
    Schedule,
)
from tasks_api.domain.specs import TaskSpec
from tasks_api.domain.timestamps import format_optional_timestamp, format_timestamp
from tasks_api.models import Task
from tasks_api.services import admission, finding
from tasks_api.services.admission import Judged
from tasks_api.services.calendars import resolve_calendars
from tasks_api.services.coming import fire_times_of_task, schedule_of
from tasks_api.services.wanted_tasks import Wanted

DEFAULT_FIRE_TIMES = 20
MAX_FIRE_TIMES = 1000
MAX_COPIES = 10_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NextFireTimes(TasksView):
    bounded_methods: ClassVar = ("GET",)

    @schema.next_fire_times
    def get(self, request: Request, task_id: str) -> Response:
        now = clock.now()
        count = _count_parameter(fields.query_parameters(request))
        own = Task.objects.visible_to(self.user).alive(now).with_schedule()
        task = own.filter(pk=finding.parse_id(task_id)).first()
        if task is None:
            raise TaskNotFound("Task not found")
        return Response(_describe_task(task, now, count))


class PreviewTask(TasksView):
    bounded_methods: ClassVar = ("POST",)

    # It stores nothing.
    scopes: ClassVar = {"POST": Scope.READ}

    @schema.preview_task
    def post(self, request: Request) -> Response:
        now = clock.now()
        data = fields.require_object(request.data)
        count = _fire_time_count(data.get("n", DEFAULT_FIRE_TIMES))
        since = _preview_start(data, now)
        spec = read_task(_without(data, "n", "from", "copies"), now=now)
        [spec] = resolve_calendars(self.user, [spec], now=now)
        count = min(count, spec.max_runs or count)
        found = _next_fire_times(spec.schedule, since, count)
        judged = _judge_copies(self.user, spec, data, now)
        shown = _render_fire_times(True, spec.schedule, found)
        return Response({**shown, **render_verdicts(judged.verdicts)})


def _without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: data[name] for name in data.keys() - set(names)}


def _judge_copies(
    user: User, spec: TaskSpec, data: Mapping[str, Any], now: datetime
) -> Judged:
    """Judge so many tasks of this kind, without the locks of those that enter a lane."""
    copies = fields.number(data, "copies", 1, MAX_COPIES) or 1
    wanted = [Wanted(spec)] * copies
    return admission.judge_tasks(user, wanted, now=now, locks_lanes=False)


def _preview_start(data: Mapping[str, Any], now: datetime) -> datetime:
    """The moment before the first one that a preview includes."""
    if data.get("from") is None:
        return now
    moment = fields.moment("from", data["from"])
    if moment < EPOCH:
        raise InvalidTask("from", "from should not be before 1970")
    return moment - MICROSECOND


def _count_parameter(query: Mapping[str, str]) -> int:
    text = query.get("n", str(DEFAULT_FIRE_TIMES))
    is_number = text.isascii() and text.isdigit() and len(text) <= 9
    return _fire_time_count(int(text) if is_number else text)


def _fire_time_count(value: object) -> int:
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 1 <= value <= MAX_FIRE_TIMES
    ):
        return value
    raise InvalidTask(
        "n",
        f"Invalid value of n. Value should be a whole number from 1 to {MAX_FIRE_TIMES}",
    )


def _describe_task(task: Task, now: datetime, count: int) -> dict[str, Any]:
    schedule = schedule_of(task)
    found = fire_times_of_task(task, schedule, now, count) if schedule else []
    return _render_fire_times(task.periodic_task.enabled, schedule, found)


def _next_fire_times(
    schedule: Schedule, since: datetime, count: int
) -> list[ComingFireTime]:
    return list(fire_times.coming_fire_times(schedule, since=since, count=count))


def _render_fire_times(
    is_enabled: bool, schedule: Schedule | None, found: list[ComingFireTime]
) -> dict[str, Any]:
    return {
        "timezone": zone_of(schedule) if schedule else "UTC",
        "paused": not is_enabled,
        "fire_times": [render_fire_time(each) for each in found],
    }


def render_fire_time(each: ComingFireTime) -> dict[str, Any]:
    at = format_optional_timestamp(each.at)
    shown: dict[str, Any] = {"at": at, "local": each.local.isoformat(), "dst": each.dst}
    if each.grid is not None:
        shown["grid"] = format_timestamp(each.grid)
    if each.wall is not None:
        shown["wall"] = each.wall.isoformat()
    if each.which_pass is not None:
        shown["pass"] = each.which_pass
    if each.moved_from is not None:
        shown["moved_from"] = format_timestamp(each.moved_from)
    if each.calendar is not None:
        found = {"calendar": each.calendar.name, "version": each.calendar.number}
        shown["moved_by" if each.at else "excluded_by"] = found
    return shown
