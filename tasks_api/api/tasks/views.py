"""The tasks surface: one-time and periodic tasks of a bearer-token user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.models import User
from tasks_api import broker, listing, periodic, services, store, tallies
from tasks_api.api import fields
from tasks_api.api.errors import Refusal, SurfaceView
from tasks_api.api.idempotency import idempotent
from tasks_api.api.json import dumps
from tasks_api.api.tasks import policies, schema
from tasks_api.exceptions import (
    InvalidTask,
    NameTaken,
    ScheduleError,
    StaleTask,
    TaskNotFound,
)
from tasks_api.models import Task
from tasks_api.schedules import Cron, Interval, Once, Schedule
from tasks_api.specs import Surface, TaskSpec

PAGE = 1000
# Tasks in one request to create many.
MOST = 10_000
MOST_TAGS, LONGEST_TAG = 50, 100
TASK_TYPES = {"one_time": "one_time", "periodic": "periodic", "interval": "periodic"}


class InvalidTasks(InvalidTask):
    """Some of many tasks cannot be stored: the index of each, its field, a sentence."""

    def __init__(self, errors: list[dict[str, Any]], *, status: int = 400) -> None:
        first = errors[0]
        super().__init__(
            f"tasks[{first['index']}].{first['field']}",
            f"{len(errors)} of the tasks cannot be stored. The first is "
            f"tasks[{first['index']}]: {first['message']}",
        )
        self.errors = errors
        self.status = status


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
        if isinstance(refusal.cause, InvalidTasks):
            tasks = refusal.cause.errors
            body = {"error": {"message": message, "tasks": tasks}}
            return Response(body, status=refusal.cause.status)
        return super().refuse(refusal._replace(message=message))


class TaskList(TasksView):
    words_of: ClassVar = {
        ("GET", 500): "APIError: Internal Server error while retrieving records",
        ("POST", 401): "User Not authorized",
    }

    @schema.list_tasks
    def get(self, request: Request) -> Response:
        now = timezone.now()
        query = fields.query_of(request)
        whose = _whose(query, self.user)
        filters = read_filters(request, query)
        if filters or "cursor" in query:
            return self._by_cursor(request, whose, filters, now)
        limit, offset = _page(query)
        count = tallies.total(whose.tenant_id, whose.owner_ids, whose.surface, now=now)
        page = listing.by_offset(
            whose, offset=offset, limit=limit, total=count, now=now
        )
        body = {"count": count, "tasks": [render_task(task, now) for task in page]}
        return Response(body, headers=_link(request, limit, offset, count))

    def _by_cursor(
        self,
        request: Request,
        whose: listing.Whose,
        filters: listing.Filters,
        now: datetime,
    ) -> Response:
        query = fields.query_of(request)
        if "offset" in query:
            raise InvalidTask("offset", "offset goes neither with cursor nor filters")
        limit, _ = _page(query)
        after = _cursor(query.get("cursor", ""))
        page = listing.by_cursor(whose, filters, after=after, limit=limit, now=now)
        body: dict[str, Any] = {}
        if not filters:
            body["count"] = tallies.total(
                whose.tenant_id, whose.owner_ids, whose.surface, now=now
            )
        body["tasks"] = [render_task(task, now) for task in page.tasks]
        body["next_cursor"] = page.after and page.after.hex
        return Response(body, headers=_link_to(request, page.after))

    @schema.create_task
    @idempotent
    def post(self, request: Request) -> Response:
        now = timezone.now()
        spec = read_task(request.data, now=now)
        task = services.create_task(self.user, spec, now=now)
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

    @schema.create_tasks
    @idempotent
    def post(self, request: Request) -> Response:
        now = timezone.now()
        specs = read_tasks(request.data, now=now)
        try:
            rows = services.create_tasks(self.user, specs, now=now)
        except NameTaken as taken:
            raise InvalidTasks(
                [
                    _error(index, "name", str(taken))
                    for index, spec in enumerate(specs)
                    if spec.name in taken.names
                ],
                status=409,
            ) from None
        ids = [str(row.id) for row in rows]
        message = "Tasks have been scheduled successfully"
        return Response({"ids": ids, "message": message}, status=201)


# The answers of a task by its id, and by its name.
_WORDS_OF_ONE: dict[tuple[str | None, int], str] = {
    ("GET", 404): "APIError: task does not exist with given id",
    ("GET", 500): "APIError: Unable to serialize task data",
}


class TaskDetail(TasksView):
    words_of: ClassVar = _WORDS_OF_ONE

    @schema.get_task
    def get(self, request: Request, task_id: str) -> Response:
        now = timezone.now()
        own = Task.objects.reached_by(self.user).of(Surface.TASKS).alive(now)
        task = own.with_schedule().filter(pk=services.parse_id(task_id)).first()
        if task is None:
            raise TaskNotFound("Task not found")
        return _shown(task, now)

    @schema.change_task
    def patch(self, request: Request, task_id: str) -> Response:
        now = timezone.now()
        data = fields.body_of(request.data)

        def read(task: Task) -> TaskSpec:
            _require_match(request, task)
            return read_change(data, task, now=now)

        task = services.change_task(
            self.user, task_id, read, surface=Surface.TASKS, now=now
        )
        return _shown(task, now)

    @schema.remove_task
    def delete(self, request: Request, task_id: str) -> Response:
        services.remove_task(
            self.user,
            task_id,
            now=timezone.now(),
            surface=Surface.TASKS,
            allow=lambda task: _require_match(request, task),
        )
        return Response({"message": "Task has been removed successfully"})


class NamedTask(TasksView):
    """A task by the name that its owner gave it."""

    words_of: ClassVar = _WORDS_OF_ONE

    @schema.get_named_task
    def get(self, request: Request, name: str) -> Response:
        now = timezone.now()
        named = Task.objects.reached_by(self.user).named(Surface.TASKS, _name(name))
        task = named.alive(now).with_schedule().first()
        if task is None:
            raise TaskNotFound("Task not found")
        return _shown(task, now)

    @schema.put_task
    def put(self, request: Request, name: str) -> Response:
        now = timezone.now()
        name = _name(name)
        data = {**fields.body_of(request.data)}
        if data.setdefault("name", name) != name:
            raise InvalidTask("name", "The name is not that of the path")

        def read(task: Task | None) -> TaskSpec:
            if task is None:
                _require_absence_allowed(request)
                return read_task(data, now=now)
            if request.headers.get("If-None-Match") == "*":
                raise StaleTask("A task with this name exists already")
            _require_match(request, task)
            return read_task(data, now=now, kept=_schedule_of(task))

        task, is_new = services.put_named(
            self.user, name, read, surface=Surface.TASKS, now=now
        )
        if is_new:
            task = Task.objects.with_schedule().get(pk=task.pk)
        shown = _shown(task, now)
        shown.status_code = 201 if is_new else 200
        shown["Location"] = f"/tasks/{task.pk}"
        return shown

    @schema.remove_named_task
    def delete(self, request: Request, name: str) -> Response:
        now = timezone.now()
        named = Task.objects.for_tenant(self.tenant).named(Surface.TASKS, _name(name))
        task = named.alive(now).first()
        if task is None:
            raise TaskNotFound("Task not found")
        services.remove_task(
            self.user,
            str(task.pk),
            now=now,
            surface=Surface.TASKS,
            allow=lambda task: _require_match(request, task),
        )
        return Response({"message": "Task has been removed successfully"})


class RunTask(TasksView):
    @schema.run_task
    @idempotent
    def post(self, request: Request, task_id: str) -> Response:
        run_id = services.run_now(
            self.user, task_id, surface=Surface.TASKS, now=timezone.now()
        )
        transaction.on_commit(lambda: broker.ring([run_id]))
        return Response(
            {"run_id": str(run_id), "message": "Task will run now"}, status=202
        )


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


def read_task(data: object, *, now: datetime, kept: Schedule | None = None) -> TaskSpec:
    """The task that a request body describes. Raises InvalidTask naming the field.

    Of a task that is there, the `kept` schedule may have begun in the past.
    """
    data = fields.body_of(data)
    schedule = _schedule(data, now, kept)
    url, queue = _target(data)
    spec = TaskSpec(
        surface=Surface.TASKS,
        schedule=schedule,
        url=url,
        queue=queue,
        body=dumps(_post_data(data)),
        name=_optional_name(data),
        tags=_tags(data),
    )
    return policies.read_policies(data, spec, now=now)


def read_change(data: Mapping[str, Any], task: Task, *, now: datetime) -> TaskSpec:
    """A stored task with the fields of a request body in the place of its own.

    Each is replaced as a whole, and null takes an optional one away.
    """
    try:
        spec = store.spec_of(task)
    except ScheduleError as error:
        raise InvalidTask("task_type", f"The task cannot be changed. {error}") from None
    changes: dict[str, Any] = {}
    # A task with a url has no queue to take away.
    if "url" in data or _given(data, "queue") or ("queue" in data and task.queue):
        changes["url"], changes["queue"] = _target(data)
    if "post_data" in data:
        changes["body"] = dumps(_post_data(_without_nulls(data)))
    if "name" in data:
        changes["name"] = _optional_name(data)
    if "tags" in data:
        changes["tags"] = _tags(data)
    if data.keys() & SCHEDULE_FIELDS:
        merged = _merged(spec.schedule, data)
        changes["schedule"] = _schedule(merged, now, spec.schedule)
    return policies.read_policies(
        policies.merged(task, data), replace(spec, **changes), now=now
    )


def _without_nulls(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


SCHEDULE_FIELDS = {
    "task_type",
    "frequency",
    "cron",
    "timezone",
    "start_datetime",
    "end_datetime",
    "stop_datetime",
    "run_datetime",
}


def _merged(schedule: Schedule, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a schedule, with those of a request in their place."""
    own = _as_posted(schedule)
    if _given(data, "frequency"):
        own = {name: own[name] for name in own.keys() - {"cron", "timezone"}}
    if _given(data, "cron"):
        # An expression may say its zone itself.
        gone = (
            {"frequency", "timezone"} if "TZ=" in str(data["cron"]) else {"frequency"}
        )
        own = {name: own[name] for name in own.keys() - gone}
    if "stop_datetime" in data:
        own.pop("end_datetime", None)
    given = {name: data[name] for name in data.keys() & SCHEDULE_FIELDS}
    return _without_nulls({**own, **given})


def _as_posted(schedule: Schedule) -> dict[str, Any]:
    """A schedule in the words of a request, exact to the microsecond."""
    match schedule:
        case Once(at=at):
            return {"task_type": "one_time", "run_datetime": at.isoformat()}
        case Interval(every=every):
            own: dict[str, Any] = {"frequency": every // timedelta(seconds=1)}
        case Cron(zone=zone):
            own = {"cron": _expression(schedule), "timezone": zone}
    for name, moment in (
        ("start_datetime", schedule.start),
        ("end_datetime", schedule.end),
    ):
        own[name] = moment and moment.isoformat()
    return {"task_type": "periodic", **own}


def read_tasks(data: object, *, now: datetime) -> list[TaskSpec]:
    """Many tasks, as a list or under `tasks`. Raises InvalidTasks with every bad one."""
    tasks = data if isinstance(data, list) else fields.body_of(data).get("tasks")
    if not isinstance(tasks, list) or not 0 < len(tasks) <= MOST:
        raise InvalidTask(
            "tasks",
            f"Invalid value of tasks. Value should be a list of 1 to {MOST} tasks",
        )
    specs: list[TaskSpec] = []
    errors = []
    names: dict[str, int] = {}
    for index, task in enumerate(tasks):
        try:
            spec = read_task(task, now=now)
            if spec.name and names.setdefault(spec.name, index) != index:
                raise InvalidTask("name", f"tasks[{names[spec.name]}] has this name")
            specs.append(spec)
        except InvalidTask as error:
            errors.append(_error(index, error.field, str(error)))
    if errors:
        raise InvalidTasks(errors)
    return specs


def _error(index: int, field: str, message: str) -> dict[str, Any]:
    return {"index": index, "field": field, "message": message}


def _schedule(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None = None
) -> Schedule:
    if _task_type(data) == "periodic":
        return _recurring(data, now, kept)
    return _once(data, now, kept)


def _target(data: Mapping[str, Any]) -> tuple[str, str]:
    """A url or a queue; the other one is empty."""
    if not _given(data, "queue"):
        return _url(data), ""
    return _no_url(data), fields.client_name("queue", data["queue"])


def _optional_name(data: Mapping[str, Any]) -> str:
    return fields.client_name("name", data["name"]) if _given(data, "name") else ""


def _name(of_path: str) -> str:
    """The name in a path, which is decoded already."""
    if "\0" in of_path:
        raise InvalidTask("name", "Invalid value of name. It contains a NUL character")
    return fields.client_name("name", of_path)


def _tags(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Each once, in the order in which they came."""
    value = data.get("tags")
    if value is None:
        return ()
    if (
        isinstance(value, list)
        and len(value) <= MOST_TAGS
        and all(isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG for tag in value)
    ):
        return tuple(dict.fromkeys(value))
    raise InvalidTask(
        "tags",
        f"Invalid value of tags. Value should be a list of at most {MOST_TAGS} strings "
        f"of 1 to {LONGEST_TAG} characters",
    )


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


def _recurring(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> Interval | Cron:
    if not _given(data, "cron"):
        if _given(data, "timezone"):
            raise InvalidTask("timezone", "A timezone goes with cron")
        return _interval(data, now, kept)
    if _given(data, "frequency"):
        raise InvalidTask("cron", "A task has either a frequency or a cron expression")
    return _cron(data, now, kept)


def _cron(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> Interval | Cron:
    zone = data.get("timezone")
    if not isinstance(zone, str | None):
        raise InvalidTask(
            "timezone", "Invalid value of timezone. Value should be a string"
        )
    start, end, end_name = None, None, _end_name(data)
    if _given(data, "start_datetime"):
        start = _from_now_on("start_datetime", data, now, _start_of(kept))
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
    if start is None and isinstance(kept, Interval) and isinstance(schedule, Interval):
        # `@every` counts from now on, but not anew each time that it is said.
        return (
            replace(schedule, start=kept.start)
            if _as_often(schedule, kept)
            else schedule
        )
    return schedule


def _as_often(schedule: Interval, kept: Interval) -> bool:
    return (schedule.every, schedule.end) == (kept.every, kept.end)


def _start_of(schedule: Schedule | None) -> datetime | None:
    return None if isinstance(schedule, Once) or not schedule else schedule.start


def _from_now_on(
    name: str, data: Mapping[str, Any], now: datetime, kept: datetime | None
) -> datetime:
    """A moment in the future, or the one that a task has had all along."""
    value = fields.required(data, name)
    if kept is not None and fields.moment(name, value) == kept:
        return kept
    return fields.future(name, value, now=now)


def _end_name(data: Mapping[str, Any]) -> str:
    """The name under which the client gives the end: of two, the documented one."""
    is_alias = "end_datetime" not in data and "stop_datetime" in data
    return "stop_datetime" if is_alias else "end_datetime"


def _interval(
    data: Mapping[str, Any], now: datetime, kept: Schedule | None
) -> Interval:
    every = fields.frequency(
        fields.required(data, "frequency"), least=settings.SCHEDULER_MIN_FREQUENCY
    )
    start = _from_now_on("start_datetime", data, now, _start_of(kept))
    end_name = _end_name(data)
    if isinstance(kept, Interval) and kept.end is None and end_name not in data:
        return Interval(start, every)
    end = fields.moment(end_name, fields.required(data, end_name))
    if end <= start:
        raise InvalidTask(end_name, f"{end_name} should be after start_datetime")
    if end <= now:
        raise InvalidTask(end_name, f"{end_name} should be in future")
    if end - start < every:
        raise InvalidTask(
            end_name,
            f"{end_name} should be at least one frequency after start_datetime",
        )
    return Interval(start, every, end)


def _once(data: Mapping[str, Any], now: datetime, kept: Schedule | None) -> Once:
    was = kept.at if isinstance(kept, Once) else None
    return Once(_from_now_on("run_datetime", data, now, was))


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


def _whose(query: Mapping[str, str], user: User) -> listing.Whose:
    """The caller's own tasks, or those of `owner`, for administrators of the tenant."""
    assert user.tenant_id is not None
    if "owner" not in query:
        return listing.Whose(user.tenant_id, (user.pk,), Surface.TASKS)
    if not user.reaches_tenant:
        raise PermissionDenied(
            "The tasks of others take an administrator's token of scope admin"
        )
    users = User.objects.filter(tenant=user.tenant_id)
    if (name := fields.parameter(query, "owner")) != "all":
        users = users.filter(Q(name=name) | Q(username=name))
    ids = tuple(users.order_by("pk").values_list("pk", flat=True))
    return listing.Whose(user.tenant_id, ids, Surface.TASKS)


STATES = {"active": False, "paused": True}


def read_filters(request: Request, query: Mapping[str, str]) -> listing.Filters:
    """Which tasks a query string asks for. Raises InvalidTask naming the parameter."""
    return listing.Filters(
        name=fields.parameter(query, "name") if "name" in query else None,
        tags=_wanted_tags(request),
        is_paused=_choice(query, "state", STATES),
        is_one_time=_choice(
            query, "task_type", {"one_time": True, "periodic": False, "interval": False}
        ),
        created_from=fields.optional_moment(query, "created_after"),
        created_to=fields.optional_moment(query, "created_before"),
        next_run_from=fields.optional_moment(query, "next_run_after"),
        next_run_to=fields.optional_moment(query, "next_run_before"),
    )


def _wanted_tags(request: Request) -> tuple[str, ...]:
    tags = request.query_params.getlist("tag")
    if len(tags) > MOST_TAGS:
        raise InvalidTask("tag", f"No task has more than {MOST_TAGS} tags")
    return tuple(dict.fromkeys(fields.parameter({"tag": tag}, "tag") for tag in tags))


def _choice(
    query: Mapping[str, str], name: str, choices: Mapping[str, bool]
) -> bool | None:
    if name not in query:
        return None
    if (text := query[name].strip().lower()) in choices:
        return choices[text]
    raise InvalidTask(
        name, f"Invalid value of {name}. Value should be {' or '.join(choices)}"
    )


def _cursor(text: str) -> UUID | None:
    """The task after which a page begins; empty is the first page."""
    try:
        return UUID(hex=text) if text else None
    except ValueError:
        raise InvalidTask(
            "cursor", "Invalid value of cursor. Value should be a next_cursor"
        ) from None


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    limit = fields.number_in(query, "limit", PAGE, least=1)
    return min(limit, PAGE), fields.number_in(query, "offset", 0, least=0)


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
        **({"pause_reason": task.pause_reason} if task.pause_reason else {}),
        **policies.render_policies(task),
        **({"name": task.name} if task.name else {}),
        **({"tags": task.tags} if task.tags else {}),
    }


def etag_of(task: Task) -> str:
    """Says which task it is and how often it was changed; firing changes nothing."""
    return f'"{task.pk.hex}-{task.version}"'


def _shown(task: Task, now: datetime) -> Response:
    return Response(render_task(task, now), headers={"ETag": etag_of(task)})


def _require_match(request: Request, task: Task) -> None:
    """Refuse to change a task that is not the one its owner has seen (RFC 9110, 13.1.1)."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return
    if etag_of(task) not in {tag.strip() for tag in wanted.split(",")}:
        raise StaleTask("The task was changed since; its ETag is another one now")


def _require_absence_allowed(request: Request) -> None:
    if "If-Match" in request.headers:
        raise StaleTask("There is no task with this name")


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


def _link_to(request: Request, after: UUID | None) -> dict[str, str]:
    if after is None:
        return {}
    url = replace_query_param(request.build_absolute_uri(), "cursor", after.hex)
    return {"Link": f'<{url}>; rel="next"'}
