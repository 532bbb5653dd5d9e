"""The tasks surface as OpenAPI tells it, with the examples of its document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
)

from tasks_api.api import schema
from tasks_api.api.tasks import policies_schema

View = TypeVar("View", bound=Callable[..., Any])
Describe = Callable[[View], View]

ID = "5das76nbv950nghg8j8-33ddd3kfdw2"
POST_DATA = {
    "campaign_name": "SMS Campaign",
    "phone_number": "09230862348",
    "smart_list_id": 123456,
    "content": "text to be sent as sms",
}
INTERVAL = {
    "frequency": 3601,
    "task_type": "interval",
    "start_datetime": "2035-12-05T08:00:00-05:00",
    "end_datetime": "2036-01-05T08:00:00-05:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
PERIODIC = {
    "frequency": 3601,
    "task_type": "periodic",
    "start_datetime": "2035-12-05 08:00:00",
    "end_datetime": "2036-01-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2035-12-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
STORED = {
    "id": ID,
    "url": "http://getTalent.com/sms/send/",
    "task_type": "periodic",
    "post_data": {**POST_DATA, "other_param1": "abc", "other_param2": 123},
    "frequency": 3601,
    "start_datetime": "2035-11-05 08:00:00",
    "end_datetime": "2035-12-05 08:00:00",
    "next_run_datetime": "2035-11-06 08:00:00",
}
IDS = {
    "ids": [
        "fasdff12n22m2jnr5n6skf",
        "ascv3h5k1j43k6k8k32k345jmn",
        "123n23n4n43m2kkcj53vdsxc",
    ]
}

_MOMENT = {
    "type": "string",
    "description": "YYYY-MM-DD HH:MM:SS in UTC.",
    "nullable": True,
}
_FREQUENCY = {
    "description": "Seconds between two runs: a number, its digits, or a sum of parts.",
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        {"type": "string", "pattern": "^[0-9]+$"},
        {
            "type": "object",
            "properties": {
                part: {"type": "integer", "minimum": 0}
                for part in ("weeks", "days", "hours", "minutes", "seconds")
            },
            "additionalProperties": False,
        },
    ],
}
_TAGS = {
    "type": "array",
    "maxItems": 50,
    "items": {"type": "string", "minLength": 1, "maxLength": 100},
}
_OF_BOTH: dict[str, dict[str, Any]] = {
    "url": {
        "type": "string",
        "description": "Where the request is sent, with credentials that are sent as "
        "HTTP Basic. Required without a queue.",
        "nullable": True,
    },
    "queue": schema.NAME
    | {
        "description": "The pull queue that gets post_data instead of a URL.",
        "nullable": True,
    },
    "post_data": {
        "type": "object",
        "additionalProperties": True,
        "description": "The body of the request.",
    },
    **policies_schema.FIELDS_IN,
    "name": schema.NAME
    | {
        "description": "One task of your tenant has it at a time.",
        "nullable": True,
    },
    "tags": _TAGS | {"nullable": True},
    "paused": {
        "type": "boolean",
        "nullable": True,
        "description": "Without it a task stays as it is, and a new one is active.",
    },
}
_OF_PERIODIC: dict[str, dict[str, Any]] = {
    "task_type": {
        "type": "string",
        "description": "In any case; interval is another word for periodic.",
        "enum": ["periodic", "interval"],
    },
    "frequency": _FREQUENCY | {"title": "this, or cron"},
    "cron": schema.CRON | {"title": "this, or frequency", "nullable": True},
    "timezone": {
        "type": "string",
        "nullable": True,
        "title": "for cron",
        "description": "An IANA time zone. Without it the expression is in UTC.",
    },
    "start_datetime": schema.MOMENT_IN | {"title": "the first run", "nullable": True},
    "end_datetime": schema.MOMENT_IN
    | {"title": "the last moment for a run", "nullable": True},
    "stop_datetime": schema.MOMENT_IN
    | {"title": "end_datetime by another name", "nullable": True},
}
_OF_ONE_TIME: dict[str, dict[str, Any]] = {
    "task_type": {"type": "string", "enum": ["one_time"]},
    "run_datetime": schema.MOMENT_IN,
    "timezone": {
        "type": "string",
        "nullable": True,
        "title": "for run_datetime",
        "description": "The IANA time zone of a run_datetime without an offset.",
    },
}
TASK_OUT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "url", "task_type", "post_data", "next_run_datetime"],
    "properties": {
        "id": schema.TEXT,
        "url": {
            "type": "string",
            "nullable": True,
            "description": "As it was given, but with *** for its credentials.",
        },
        "queue": schema.TEXT,
        "task_type": {"type": "string", "enum": ["periodic", "one_time"]},
        "post_data": {
            "type": "object",
            "additionalProperties": True,
            "nullable": True,
        },
        "frequency": {"type": "integer", "nullable": True},
        "cron": schema.TEXT,
        "timezone": schema.TEXT,
        "start_datetime": _MOMENT,
        "end_datetime": _MOMENT,
        "run_datetime": _MOMENT,
        "next_run_datetime": _MOMENT,
        "paused": {
            "type": "boolean",
            "enum": [True],
            "description": "There while it is paused.",
        },
        "pause_reason": {
            "type": "string",
            "description": "Why the service paused it, where it did.",
        },
        **policies_schema.FIELDS_OUT,
        "name": schema.TEXT,
        "tags": _TAGS,
    },
}
# What the document of the surface does not have.
OF_OUR_OWN = (_OF_PERIODIC | _OF_BOTH).keys() - {*INTERVAL, "stop_datetime"}
# What is sent back of an answer, or goes with the other type.
_IGNORED = dict.fromkeys(
    _OF_PERIODIC | _OF_ONE_TIME | TASK_OUT["properties"], schema.IGNORED
)


def task_in(*required: str, **more: dict[str, Any]) -> dict[str, Any]:
    """A task as requests have it, of either type; with `more` fields of both.

    A type ignores the fields of the other one, whatever they are.
    """
    return {
        "oneOf": [
            {
                "type": "object",
                "title": title,
                "required": ["task_type", *own_required, *required],
                "properties": {**_IGNORED, **own, **_OF_BOTH, **more},
            }
            for title, own, own_required in (
                ("periodic", _OF_PERIODIC, ()),
                ("one_time", _OF_ONE_TIME, ("run_datetime",)),
            )
        ]
    }


TASK_IN = task_in()
# Any of the fields, with null for those that a task may do without.
CHANGE_IN = {
    "type": "object",
    "properties": {
        name: rule | {"nullable": True}
        if name not in {"task_type", "frequency"} and "type" in rule
        else rule
        for name, rule in {
            **_IGNORED,
            **_OF_ONE_TIME,
            **_OF_PERIODIC,
            **_OF_BOTH,
            "task_type": {
                "type": "string",
                "enum": ["periodic", "one_time", "interval"],
            },
        }.items()
    },
}
TASKS_OUT = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "count": {
            "type": "integer",
            "description": "How many there are in all; not with filters.",
        },
        "tasks": {"type": "array", "items": TASK_OUT},
        "next_cursor": {
            "type": "string",
            "nullable": True,
            "description": "With cursor or filters: where the next page begins.",
        },
    },
}
BULK_IN = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "tasks": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": TASK_IN}
    },
    "description": "The list alone is taken, too.",
}
BULK_CREATED = {
    "type": "object",
    "required": ["ids", "message"],
    "properties": {
        "ids": {"type": "array", "items": schema.TEXT},
        "message": schema.TEXT,
    },
}
RUN_MADE = {
    "type": "object",
    "required": ["run_id", "message"],
    "properties": {"run_id": schema.TEXT, "message": schema.TEXT},
}
CREATED = {
    "type": "object",
    "required": ["id", "message"],
    "properties": {"id": schema.TEXT, "message": schema.TEXT},
}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": schema.TEXT},
}
IDS_IN = {
    "type": "object",
    "required": ["ids"],
    "properties": {"ids": {"type": "array", "minItems": 1, "items": schema.TEXT}},
}
BULK_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": schema.TEXT,
                "tasks": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["index", "field", "message"],
                        "properties": {
                            "index": {"type": "integer"},
                            "field": schema.TEXT,
                            "message": schema.TEXT,
                        },
                    },
                },
            },
        }
    },
}

UNAUTHORIZED = "User not authorized"
FORBIDDEN = "Forbidden: Task does not belong to this user"
NOT_FOUND = "Task not found"
FAILURE = "APIError: Internal Server error occurred!"
NO_IDS = "Bad request, No data in ids"
NO_TASK = "APIError: task does not exist with given id"
NAME_TAKEN = "A task with this name exists already"
STALE = "The task was changed since; its ETag is another one now"


def _done(message: str) -> OpenApiResponse:
    return schema.answer(MESSAGE, {"message": message}, message)


_OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or all.",
)
_OTHERS = "The tasks of others take an administrator's token of scope admin"


def _bulk_error(message: str) -> OpenApiResponse:
    bad = {"index": 3, "field": "url", "message": message}
    return schema.answer(
        BULK_ERROR,
        {
            "error": {
                "message": "1 of the tasks cannot be stored. The first is tasks[3]: "
                + message,
                "tasks": [bad],
            }
        },
        message,
    )


_IF_MATCH = OpenApiParameter(
    "If-Match",
    location=OpenApiParameter.HEADER,
    description="The ETag that you have seen. If the task was changed since: 412.",
)


def _etag(*statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        "ETag",
        location=OpenApiParameter.HEADER,
        description="Changes when somebody changes the task, and not when it fires.",
        response=list(statuses),
    )


def _filter(name: str, text: str, **kind: Any) -> OpenApiParameter:
    return OpenApiParameter(name, description=text, **kind)


_FILTERS = [
    _filter("name", "The task of this name."),
    _filter("tag", "Tasks with this tag; with several, those with all.", many=True),
    _filter("state", "Tasks in this state.", enum=["active", "paused"]),
    _filter("task_type", "Tasks of this type.", enum=["periodic", "one_time"]),
    _filter("created_after", "Made at this moment or later."),
    _filter("created_before", "Made before this moment."),
    _filter("next_run_after", "Whose next run is at this moment or later."),
    _filter("next_run_before", "Whose next run is before this moment."),
]
_PAGING = [
    OpenApiParameter(
        "limit", OpenApiTypes.INT, description="At most 1000, which is the default."
    ),
    OpenApiParameter("offset", OpenApiTypes.INT, description="How many to skip."),
    OpenApiParameter(
        "cursor", description="The next_cursor of the page before; empty is the first."
    ),
    *_FILTERS,
    schema.header("Link", 200, 'Where the next ones are, with `rel="next"`, if any.'),
]

list_tasks = schema.operation(
    operation_id="list_tasks",
    summary="Get all tasks",
    description="The caller's own tasks, oldest first, up to 1000 at once.",
    parameters=[_OWNER, *_PAGING],
    responses={
        200: schema.answer(TASKS_OUT, {"count": 1, "tasks": [STORED]}, "The tasks."),
        400: schema.error(
            "Invalid value of limit. Value should be a whole number from 1"
        ),
        401: schema.error(UNAUTHORIZED),
        403: schema.error(_OTHERS),
        500: schema.error("APIError: Internal Server error while retrieving records"),
    },
)
create_task = schema.operation(
    operation_id="create_task",
    summary="Schedule a task",
    parameters=[
        schema.header("Location", 201, "The path of the new task."),
        _etag(201),
        *schema.IDEMPOTENCY,
    ],
    request=schema.body(TASK_IN),
    examples=[
        OpenApiExample("periodic", PERIODIC, request_only=True),
        OpenApiExample("periodic, with an offset", INTERVAL, request_only=True),
        OpenApiExample("one_time", ONE_TIME, request_only=True),
        OpenApiExample("with policies", policies_schema.EXAMPLE, request_only=True),
    ],
    responses={
        201: schema.answer(
            CREATED,
            {"id": ID, "message": "Task has been scheduled successfully"},
            "The task is stored.",
        ),
        400: schema.error("Missing key: frequency"),
        401: schema.error("User Not authorized"),
        403: schema.error(schema.FORBIDDEN),
        409: schema.error(NAME_TAKEN),
        413: schema.error("The request body is larger than 1048576 bytes"),
        422: schema.error(schema.KEY_REUSED),
        500: schema.error(FAILURE),
    },
)
create_tasks = schema.operation(
    operation_id="create_tasks",
    summary="Schedule up to 10,000 tasks",
    description="All of them, or none.",
    parameters=schema.IDEMPOTENCY,
    request=schema.body(BULK_IN),
    examples=[
        OpenApiExample("two tasks", {"tasks": [PERIODIC, ONE_TIME]}, request_only=True)
    ],
    responses={
        201: schema.answer(
            BULK_CREATED,
            {
                "ids": [ID, ID[::-1]],
                "message": "Tasks have been scheduled successfully",
            },
            "The tasks are stored; their ids are in the order of the request.",
        ),
        400: _bulk_error("Missing key: url"),
        401: schema.error(UNAUTHORIZED),
        409: _bulk_error(NAME_TAKEN),
        413: schema.error("The request body is larger than 33554432 bytes"),
        422: schema.error(schema.KEY_REUSED),
        500: schema.error(FAILURE),
    },
)


def _read(name: str, summary: str) -> Describe[Any]:
    return schema.operation(
        operation_id=name,
        summary=summary,
        parameters=[_etag(200)],
        responses={
            200: schema.answer(TASK_OUT, STORED, "The task."),
            401: schema.error(UNAUTHORIZED),
            404: schema.error(NO_TASK),
            500: schema.error("APIError: Unable to serialize task data"),
        },
    )


get_task = _read("get_task", "Get task detail")
get_named_task = _read("get_task_by_name", "Get a task by its name")
_CHANGE_ERRORS = {
    400: schema.error("start_datetime should be in future"),
    401: schema.error(UNAUTHORIZED),
    403: schema.error(FORBIDDEN),
    409: schema.error(NAME_TAKEN),
    412: schema.error(STALE),
    413: schema.error("The request body is larger than 1048576 bytes"),
    500: schema.error(FAILURE),
}
change_task = schema.operation(
    operation_id="change_task",
    summary="Change some fields of a task",
    description="Each field is replaced as a whole; null takes an optional one away.",
    parameters=[_IF_MATCH, _etag(200)],
    request=schema.body(CHANGE_IN),
    examples=[OpenApiExample("more often", {"frequency": 3600}, request_only=True)],
    responses={
        200: schema.answer(TASK_OUT, STORED, "The task as it is now."),
        404: schema.error(NOT_FOUND),
        **_CHANGE_ERRORS,
    },
)
put_task = schema.operation(
    operation_id="put_task_by_name",
    summary="Create the task of a name, or replace it",
    parameters=[
        _IF_MATCH,
        OpenApiParameter(
            "If-None-Match",
            location=OpenApiParameter.HEADER,
            description="`*`: create it, and leave one alone that is there.",
        ),
        _etag(200, 201),
        OpenApiParameter(
            "Location",
            location=OpenApiParameter.HEADER,
            description="The path of the task by its id.",
            response=[200, 201],
        ),
    ],
    request=schema.body(TASK_IN),
    examples=[OpenApiExample("periodic", PERIODIC, request_only=True)],
    responses={
        200: schema.answer(TASK_OUT, STORED, "The task was there, and is this now."),
        201: schema.answer(TASK_OUT, STORED, "The task is new."),
        **_CHANGE_ERRORS,
    },
)
run_task = schema.operation(
    operation_id="run_task",
    summary="Run a task now, beside its schedule",
    parameters=schema.IDEMPOTENCY,
    request=None,
    responses={
        202: schema.answer(
            RUN_MADE,
            {"run_id": ID, "message": "Task will run now"},
            "The run is made.",
        ),
        400: schema.error(schema.KEY_UNFIT),
        401: schema.error(UNAUTHORIZED),
        403: schema.error(FORBIDDEN),
        404: schema.error(NOT_FOUND),
        409: schema.error("The task may not overlap, and the run before is not over"),
        422: schema.error(schema.KEY_REUSED),
        500: schema.error(FAILURE),
    },
)


def _change(name: str, summary: str, message: str) -> Describe[Any]:
    return schema.operation(
        operation_id=name,
        summary=summary,
        request=None,
        responses={
            200: _done(message),
            401: schema.error(UNAUTHORIZED),
            403: schema.error(FORBIDDEN),
            404: schema.error(NOT_FOUND),
            500: schema.error(FAILURE),
        },
    )


def _bulk_change(name: str, summary: str, message: str) -> Describe[Any]:
    return schema.operation(
        operation_id=name,
        summary=summary,
        description="All of them, or none.",
        # That there are no ids is said in the words of its document.
        is_read_first=True,
        request=schema.body(IDS_IN),
        examples=[OpenApiExample("three tasks", IDS, request_only=True)],
        responses={
            200: _done(message),
            400: schema.error(NO_IDS),
            401: schema.error(UNAUTHORIZED),
            403: schema.error(FORBIDDEN),
            404: schema.error(NOT_FOUND),
            413: schema.error("The request body is larger than 1048576 bytes"),
            500: schema.error(FAILURE),
        },
    )


def _remove(name: str, summary: str) -> Describe[Any]:
    return schema.operation(
        operation_id=name,
        summary=summary,
        parameters=[_IF_MATCH],
        request=None,
        responses={
            200: _done("Task has been removed successfully"),
            401: schema.error(UNAUTHORIZED),
            403: schema.error(FORBIDDEN),
            404: schema.error(NOT_FOUND),
            412: schema.error(STALE),
            500: schema.error(FAILURE),
        },
    )


remove_task = _remove("remove_task", "Remove a task")
remove_named_task = _remove("remove_task_by_name", "Remove a task by its name")
pause_task = _change("pause_task", "Pause a task", "Task paused successfully")
resume_task = _change("resume_task", "Resume a task", "Task resumed successfully")
pause_tasks = _bulk_change(
    "pause_tasks", "Pause multiple tasks", "Tasks have been successfully paused"
)
resume_tasks = _bulk_change(
    "resume_tasks", "Resume multiple tasks", "Tasks have been resumed successfully"
)
