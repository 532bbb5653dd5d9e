"""The tasks surface: one-time and periodic tasks of a bearer-token user."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.models import User
from tasks_api import periodic, services
from tasks_api.api import fields, policies
from tasks_api.api import tasks_schema as schema
from tasks_api.api.errors import Refusal, SurfaceView
from tasks_api.api.json import dumps
from tasks_api.exceptions import InvalidTask, ScheduleError, TaskNotFound
from tasks_api.models import Task, TaskQuerySet
from tasks_api.schedules import Cron, Interval, Once, Schedule
from tasks_api.specs import Surface, TaskSpec

PAGE = 1000
TASK_TYPES = {"one_time": "one_time", "periodic": "periodic", "interval": "periodic"}


class TasksView(SurfaceView):
    """The surface's words for what went wrong, where its document gives them."""

    words: ClassVar[dict[int, str]] = {
        401: "User not authorized",
        403: "Forbidden: Task does not belong to this user",
        404: "Task not found",
        405: "Given HTTP method is not allowed on this endpoint",
        500: "APIError: Internal Server error occurred!",
    }
    # Where a method has its own.
    words_of: ClassVar[dict[tuple[str | None, int], str]] = {}

    def refuse(self, refusal: Refusal) -> HttpResponse:
        status, message, cause = refusal
        if isinstance(cause, PermissionDenied):
            # It says which scope or role is missing.
            return super().refuse(refusal)
        common = self.words.get(status, message)
        message = self.words_of.get((self.request.method, status), common)
        return super().refuse(refusal._replace(message=message))


class TaskList(TasksView):
    words_of: ClassVar = {
        ("GET", 500): "APIError: Internal Server error while retrieving records",
        ("POST", 401): "User Not authorized",
    }

    @schema.list_tasks
    def get(self, request: Request) -> Response:
        now = timezone.now()
        limit, offset = _page(request)
        tasks = _listed(request, self.user).of(Surface.TASKS).alive(now)
        page = tasks.with_schedule().order_by("id")[offset : offset + limit]
        count = tasks.count()
        body = {"count": count, "tasks": [render_task(task, now) for task in page]}
        return Response(body, headers=_link(request, limit, offset, count))

    @schema.create_task
    def post(self, request: Request) -> Response:
        now = timezone.now()
        spec = read_task(request.data, now=now)
        task = services.create_task(self.user, spec, now=now)
        return Response(
            {"id": str(task.pk), "message": "Task has been scheduled successfully"},
            status=201,
            headers={"Location": f"/tasks/{task.pk}"},
        )


class TaskDetail(TasksView):
    words_of: ClassVar = {
        ("GET", 404): "APIError: task does not exist with given id",
        ("GET", 500): "APIError: Unable to serialize task data",
    }

    @schema.get_task
    def get(self, request: Request, task_id: str) -> Response:
        now = timezone.now()
        own = Task.objects.reached_by(self.user).of(Surface.TASKS).alive(now)
        task = own.with_schedule().filter(pk=services.parse_id(task_id)).first()
        if task is None:
            raise TaskNotFound("Task not found")
        return Response(render_task(task, now))

    @schema.remove_task
    def delete(self, request: Request, task_id: str) -> Response:
        services.remove_task(
            self.user, task_id, now=timezone.now(), surface=Surface.TASKS
        )
        return Response({"message": "Task has been removed successfully"})


class PauseTask(TasksView):
    @schema.pause_task
    def post(self, request: Request, task_id: str) -> Response:
        services.pause_tasks(
            self.user, [task_id], now=timezone.now(), surface=Surface.TASKS
        )
        return Response({"message": "Task paused successfully"})


class ResumeTask(TasksView):
    @schema.resume_task
    def post(self, request: Request, task_id: str) -> Response:
        services.resume_tasks(
            self.user, [task_id], now=timezone.now(), surface=Surface.TASKS
        )
        return Response({"message": "Task resumed successfully"})


class PauseTasks(TasksView):
    @schema.pause_tasks
    def post(self, request: Request) -> Response:
        ids = read_ids(request.data)
        services.pause_tasks(self.user, ids, now=timezone.now(), surface=Surface.TASKS)
        return Response({"message": "Tasks have been successfully paused"})


class ResumeTasks(TasksView):
    @schema.resume_tasks
    def post(self, request: Request) -> Response:
        ids = read_ids(request.data)
        services.resume_tasks(self.user, ids, now=timezone.now(), surface=Surface.TASKS)
        return Response({"message": "Tasks have been resumed successfully"})


# What comes in.


def read_task(data: object, *, now: datetime) -> TaskSpec:
    """The task that a request body describes. Raises InvalidTask naming the field."""
    data = fields.body_of(data)
    is_periodic = _task_type(data) == "periodic"
    queue = _given(data, "queue")
    spec = TaskSpec(
        surface=Surface.TASKS,
        schedule=_recurring(data, now) if is_periodic else _once(data, now),
        url=_no_url(data) if queue else _url(data),
        queue=fields.client_name("queue", data["queue"]) if queue else "",
        body=dumps(_post_data(data)),
    )
    return policies.read_policies(data, spec, now=now)


def _given(data: Mapping[str, Any], name: str) -> bool:
    return data.get(name) is not None


def _url(data: Mapping[str, Any]) -> str:
    return fields.target("url", fields.required(data, "url"))


def _no_url(data: Mapping[str, Any]) -> str:
    if _given(data, "url"):
        raise InvalidTask("queue", "A task has either a url or a queue")
    return ""


def _task_type(data: Mapping[str, Any]) -> str:
    value = fields.required(data, "task_type")
    known = TASK_TYPES.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise InvalidTask(
            "task_type",
            "Invalid value of task_type. Value should be periodic or one_time",
        )
    return known


def _recurring(data: Mapping[str, Any], now: datetime) -> Interval | Cron:
    if not _given(data, "cron"):
        if _given(data, "timezone"):
            raise InvalidTask("timezone", "A timezone goes with cron")
        return _interval(data, now)
    if _given(data, "frequency"):
        raise InvalidTask("cron", "A task has either a frequency or a cron expression")
    return _cron(data, now)


def _cron(data: Mapping[str, Any], now: datetime) -> Interval | Cron:
    zone = data.get("timezone")
    if not isinstance(zone, str | None):
        raise InvalidTask(
            "timezone", "Invalid value of timezone. Value should be a string"
        )
    start, end, end_name = None, None, _end_name(data)
    if _given(data, "start_datetime"):
        start = fields.future("start_datetime", data["start_datetime"], now=now)
    if _given(data, end_name):
        end = fields.moment(end_name, data[end_name])
        if end <= (start or now):
            raise InvalidTask(end_name, f"{end_name} should be after start_datetime")
    schedule = fields.cron(
        "cron", data["cron"], now=now, zone=zone, start=start, end=end
    )
    least = settings.SCHEDULER_MIN_FREQUENCY
    if isinstance(schedule, Interval) and schedule.every < timedelta(seconds=least):
        raise InvalidTask(
            "cron", f"Invalid value of cron. It fires more often than every {least} s"
        )
    return schedule


def _end_name(data: Mapping[str, Any]) -> str:
    """The name under which the client gives the end: of two, the documented one."""
    is_alias = "end_datetime" not in data and "stop_datetime" in data
    return "stop_datetime" if is_alias else "end_datetime"


def _interval(data: Mapping[str, Any], now: datetime) -> Interval:
    every = fields.frequency(
        fields.required(data, "frequency"), least=settings.SCHEDULER_MIN_FREQUENCY
    )
    start = fields.future(
        "start_datetime", fields.required(data, "start_datetime"), now=now
    )
    end_name = _end_name(data)
    end = fields.moment(end_name, fields.required(data, end_name))
    if end <= start:
        raise InvalidTask(end_name, f"{end_name} should be after start_datetime")
    if end - start < every:
        raise InvalidTask(
            end_name,
            f"{end_name} should be at least one frequency after start_datetime",
        )
    return Interval(start, every, end)


def _once(data: Mapping[str, Any], now: datetime) -> Once:
    value = fields.required(data, "run_datetime")
    return Once(fields.future("run_datetime", value, now=now))


def _post_data(data: Mapping[str, Any]) -> Mapping[str, Any]:
    value = data.get("post_data", {})
    if not isinstance(value, Mapping):
        raise InvalidTask(
            "post_data", "Invalid value of post_data. Value should be an object"
        )
    return value


def read_ids(data: object) -> list[str]:
    ids = data.get("ids") if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(i, str) for i in ids):
        raise InvalidTask("ids", "Bad request, No data in ids")
    return ids


def _listed(request: Request, user: User) -> TaskQuerySet:
    """The caller's own tasks, or those of `owner`, for administrators of the tenant."""
    query = fields.query_of(request)
    if "owner" not in query:
        return Task.objects.for_owner(user)
    if not user.reaches_tenant:
        raise PermissionDenied(
            "The tasks of others take an administrator's token of scope admin"
        )
    users = User.objects.filter(tenant=user.tenant_id)
    if (name := fields.parameter(query, "owner")) != "all":
        users = users.filter(Q(name=name) | Q(username=name))
    # By owners too, whose index has their tasks in order.
    return Task.objects.reached_by(user).filter(owner__in=users)


def _page(request: Request) -> tuple[int, int]:
    limit = _number(request, "limit", PAGE, least=1)
    return min(limit, PAGE), _number(request, "offset", 0, least=0)


def _number(request: Request, name: str, default: int, *, least: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least:
        return int(text)
    raise InvalidTask(
        name, f"Invalid value of {name}. Value should be a whole number from {least}"
    )


# What goes out.


def render_task(task: Task, now: datetime) -> dict[str, Any]:
    schedule = _schedule_of(task)
    to_queue = {"url": None, "queue": task.queue}
    target = to_queue if task.queue else {"url": task.url}
    return {
        "id": str(task.pk),
        **target,
        "task_type": _type_of(schedule),
        "post_data": policies.post_data_of(task),
        **_times(schedule),
        "next_run_datetime": _written(task.upcoming(now)),
        **policies.render_policies(task),
    }


def _schedule_of(task: Task) -> Schedule | None:
    """None where the admin stored a schedule that cannot be computed."""
    try:
        return periodic.schedule_of(task)
    except ScheduleError:
        return None


def _type_of(schedule: Schedule | None) -> str:
    return "one_time" if isinstance(schedule, Once) else "periodic"


def _times(schedule: Schedule | None) -> dict[str, Any]:
    match schedule:
        case Once(at=at):
            return {"run_datetime": _written(at)}
        case Interval(start=start, every=every, end=end):
            return {
                "frequency": int(every.total_seconds()),
                "start_datetime": _written(start),
                "end_datetime": _written(end),
            }
        case Cron(start=start, end=end):
            return {
                "frequency": None,
                "cron": _expression(schedule),
                "timezone": schedule.zone,
                "start_datetime": _written(start),
                "end_datetime": _written(end),
            }
    return {"frequency": None, "start_datetime": None, "end_datetime": None}


def _expression(cron: Cron) -> str:
    """With five fields where they say it all, else with seconds, else with years too."""
    if cron.years != "*":
        return f"{cron.seconds} {cron.expression} {cron.years}"
    if cron.seconds != "0":
        return f"{cron.seconds} {cron.expression}"
    return cron.expression


def _written(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds")


def _link(request: Request, limit: int, offset: int, count: int) -> dict[str, str]:
    if offset + limit >= count:
        return {}
    url = replace_query_param(request.build_absolute_uri(), "limit", limit)
    url = replace_query_param(url, "offset", offset + limit)
    return {"Link": f'<{url}>; rel="next"'}
