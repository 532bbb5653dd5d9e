"""Request bodies that describe tasks, read strictly into TaskSpecs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from accounts import encryption, url_credentials
from tasks_api.api import fields, known_fields
from tasks_api.api.json_codec import dumps
from tasks_api.api.tasks import openapi_fields, optional_fields, schedule_fields
from tasks_api.api.tasks.base import InvalidTasks, error_at
from tasks_api.domain.exceptions import InvalidTask, ScheduleError
from tasks_api.domain.schedules import Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services.coming import written_schedule_of
from tasks_api.storage import task_rows

# Tasks in one request that creates many.
MAX_TASKS = 10_000
MAX_TAGS, MAX_TAG_LENGTH = 50, 100
_TASK = known_fields.fields_of_schema(openapi_fields.TASK_IN)


def read_task(data: object, *, now: datetime, kept: Schedule | None = None) -> TaskSpec:
    """The task that a request body describes. Raises InvalidTask naming the field.

    The `kept` schedule of an existing task may have begun in the past.
    """
    data = fields.require_object(data)
    uses_extensions = _uses_extensions(data)
    schedule = schedule_fields.read_schedule(
        data, now=now, kept=kept, bounds_optional=uses_extensions
    )
    url, queue = _target(data)
    spec = TaskSpec(
        surface=Surface.TASKS,
        schedule=schedule,
        url=url,
        queue=queue,
        body=dumps(_post_data(fields.without_nulls(data) if uses_extensions else data)),
        name=_optional_name(data),
        tags=_tags(data),
        is_paused=fields.boolean(data, "paused"),
    )
    return optional_fields.read_optional_fields(data, spec, now=now)


def read_replacement(data: Mapping[str, Any], task: Task, *, now: datetime) -> TaskSpec:
    """The task that a request body replaces an existing one with."""
    restored = _restore_secrets(data, task)
    return read_task(restored, now=now, kept=written_schedule_of(task))


def _restore_secrets(data: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """A request body in which redacted values are replaced by the secrets of the task."""
    return optional_fields.restore_headers(task, _restore_url(data, task))


def _restore_url(data: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    shown = url_credentials.mask(task.url)
    if shown == task.url or data.get("url") != shown:
        return data
    try:
        return {**data, "url": encryption.open_url(task.url)}
    except encryption.Undecryptable:
        raise InvalidTask(
            "url", "The credentials in the url cannot be read any more; give it anew"
        ) from None


def _uses_extensions(data: Mapping[str, Any]) -> bool:
    """Whether a client uses fields that the original document of this API lacks.

    Such a client may omit a start or an end.
    """
    ends = ("end_datetime", "stop_datetime")
    has_no_end = any(data.get(name, "") is None for name in ends)
    more = data.keys() & openapi_fields.EXTENSIONS
    return has_no_end or any(data[name] is not None for name in more)


def read_change(data: Mapping[str, Any], task: Task, *, now: datetime) -> TaskSpec:
    """A stored task with the fields of a request body instead of its own.

    Each field is replaced as a whole, and null removes an optional one.
    """
    data = _restore_secrets(data, task)
    try:
        spec = task_rows.load_spec(task)
    except ScheduleError as error:
        raise InvalidTask("task_type", f"The task cannot be changed. {error}") from None
    changes = _read_changes(data, spec)
    if data.keys() & schedule_fields.FIELDS:
        changes["schedule"] = schedule_fields.read_schedule(
            schedule_fields.merge_schedule(spec.schedule, data),
            now=now,
            kept=spec.schedule,
            bounds_optional=True,
        )
    merged = optional_fields.merge_optional_fields(task, data)
    return optional_fields.read_optional_fields(
        merged, replace(spec, **changes), now=now
    )


def _read_changes(data: Mapping[str, Any], spec: TaskSpec) -> dict[str, Any]:
    changes: dict[str, Any] = {"is_paused": fields.boolean(data, "paused")}
    # A task with a url has no queue to remove.
    removes_queue = "queue" in data and spec.queue
    if "url" in data or fields.is_given(data, "queue") or removes_queue:
        changes["url"], changes["queue"] = _target(data)
    if "post_data" in data:
        changes["body"] = dumps(_post_data(fields.without_nulls(data)))
    if "name" in data:
        changes["name"] = _optional_name(data)
    if "tags" in data:
        changes["tags"] = _tags(data)
    return changes


def read_tasks(data: object, *, now: datetime) -> list[TaskSpec]:
    """Many tasks, as a list or under `tasks`. Raises InvalidTasks with every invalid one."""
    tasks = data if isinstance(data, list) else fields.require_object(data).get("tasks")
    if not isinstance(tasks, list) or not 0 < len(tasks) <= MAX_TASKS:
        raise InvalidTask(
            "tasks",
            f"Invalid value of tasks. Value should be a list of 1 to {MAX_TASKS} tasks",
        )
    specs: list[TaskSpec] = []
    errors = []
    names: dict[str, int] = {}
    for index, task in enumerate(tasks):
        try:
            known_fields.require_known_fields(task, _TASK)
            spec = read_task(task, now=now)
            if spec.name and names.setdefault(spec.name, index) != index:
                raise InvalidTask("name", f"tasks[{names[spec.name]}] has this name")
            specs.append(spec)
        except InvalidTask as error:
            errors.append(error_at(index, error))
    if errors:
        raise InvalidTasks(errors)
    return specs


def read_ids(data: object, known: known_fields.KnownFields) -> list[str]:
    """The ids of several tasks, which may not exist. Raises InvalidTask."""
    ids = data.get("ids") if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or not ids or not all(isinstance(i, str) for i in ids):
        raise InvalidTask("ids", "Bad request, No data in ids")
    known_fields.require_known_fields(data, known)
    return ids


def read_body(request: Request, known: known_fields.KnownFields) -> Mapping[str, Any]:
    """The fields of a request body that may be absent.

    Before there were such fields, any body was allowed here, so one that is no JSON
    object is ignored.
    """
    try:
        data = request.data
    except ParseError:
        return {}
    if not isinstance(data, Mapping):
        return {}
    known_fields.require_known_fields(data, known)
    return data


def _target(data: Mapping[str, Any]) -> tuple[str, str]:
    """The url and the queue, one of which is empty."""
    if not fields.is_given(data, "queue"):
        return fields.target_url("url", fields.require_field(data, "url")), ""
    if fields.is_given(data, "url"):
        raise InvalidTask("queue", "A task has either a url or a queue")
    return "", fields.client_name("queue", data["queue"])


def _optional_name(data: Mapping[str, Any]) -> str:
    return (
        fields.client_name("name", data["name"])
        if fields.is_given(data, "name")
        else ""
    )


def read_name_in_path(path: str) -> str:
    """The name in a path, which Django has decoded."""
    if "\0" in path:
        raise InvalidTask("name", "Invalid value of name. It contains a NUL character")
    return fields.client_name("name", path)


def _tags(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The unique tags in their given order."""
    value = data.get("tags")
    if value is None:
        return ()
    if (
        isinstance(value, list)
        and len(value) <= MAX_TAGS
        and all(
            isinstance(tag, str) and 0 < len(tag) <= MAX_TAG_LENGTH for tag in value
        )
    ):
        return tuple(dict.fromkeys(value))
    raise InvalidTask(
        "tags",
        f"Invalid value of tags. Value should be a list of at most {MAX_TAGS} strings "
        f"of 1 to {MAX_TAG_LENGTH} characters",
    )


def _post_data(data: Mapping[str, Any]) -> Mapping[str, Any]:
    value = data.get("post_data", {})
    if not isinstance(value, Mapping):
        raise InvalidTask(
            "post_data", "Invalid value of post_data. Value should be an object"
        )
    return value
