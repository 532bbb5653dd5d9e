"""The tasks surface as OpenAPI tells it, with the examples of its document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from tasks_api.api import policies_schema, schema

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
    "start_datetime": "2015-12-05T08:00:00-05:00",
    "end_datetime": "2016-01-05T08:00:00-05:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
PERIODIC = {
    "frequency": 3601,
    "task_type": "periodic",
    "start_datetime": "2015-12-05 08:00:00",
    "end_datetime": "2016-01-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2015-12-05 08:00:00",
    "url": "http://getTalent.com/sms/send/",
    "post_data": POST_DATA,
}
STORED = {
    "id": ID,
    "url": "http://getTalent.com/sms/send/",
    "task_type": "periodic",
    "post_data": {**POST_DATA, "other_param1": "abc", "other_param2": 123},
    "frequency": 3601,
    "start_datetime": "2015-11-05 08:00:00",
    "end_datetime": "2015-12-05 08:00:00",
    "next_run_datetime": "2015-11-06 08:00:00",
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
TASK_IN = {
    "type": "object",
    "required": ["task_type"],
    "properties": {
        "task_type": {
            "type": "string",
            "description": "periodic or one_time; interval is another word for periodic.",
            "enum": ["periodic", "one_time", "interval"],
        },
        "url": {
            "type": "string",
            "description": "Where the request is sent. Required without a queue.",
        },
        "queue": schema.NAME
        | {"description": "The pull queue that gets post_data instead of a URL."},
        "post_data": {
            "type": "object",
            "additionalProperties": True,
            "description": "The body of the request.",
        },
        "frequency": _FREQUENCY | {"title": "for periodic, or cron"},
        "cron": schema.CRON | {"title": "for periodic, or frequency"},
        "timezone": {
            "type": "string",
            "title": "for cron",
            "description": "An IANA time zone. Without it the expression is in UTC.",
        },
        "start_datetime": schema.MOMENT_IN | {"title": "for periodic: the first run"},
        "end_datetime": schema.MOMENT_IN
        | {"title": "for periodic: the last moment for a run"},
        "run_datetime": schema.MOMENT_IN | {"title": "for one_time"},
        **policies_schema.FIELDS_IN,
    },
}
TASK_OUT = {
    "type": "object",
    "required": ["id", "url", "task_type", "post_data", "next_run_datetime"],
    "properties": {
        "id": schema.TEXT,
        "url": {"type": "string", "nullable": True},
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
        **policies_schema.FIELDS_OUT,
    },
}
TASKS_OUT = {
    "type": "object",
    "required": ["count", "tasks"],
    "properties": {
        "count": {"type": "integer"},
        "tasks": {"type": "array", "items": TASK_OUT},
    },
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
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": schema.TEXT},
        }
    },
}

UNAUTHORIZED = "User not authorized"
FORBIDDEN = "Forbidden: Task does not belong to this user"
NOT_FOUND = "Task not found"
FAILURE = "APIError: Internal Server error occurred!"
NO_IDS = "Bad request, No data in ids"


def _error(message: str) -> OpenApiResponse:
    return schema.answer(ERROR, {"error": {"message": message}}, message)


def _done(message: str) -> OpenApiResponse:
    return schema.answer(MESSAGE, {"message": message}, message)


_OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or all.",
)
_OTHERS = "The tasks of others take an administrator's token of scope admin"
_PAGING = [
    OpenApiParameter(
        "limit", OpenApiTypes.INT, description="At most 1000, which is the default."
    ),
    OpenApiParameter("offset", OpenApiTypes.INT, description="How many to skip."),
    schema.header("Link", 200, 'Where the next ones are, with `rel="next"`, if any.'),
]

list_tasks = extend_schema(
    operation_id="list_tasks",
    summary="Get all tasks",
    description="The caller's own tasks, oldest first, up to 1000 at once.",
    parameters=[_OWNER, *_PAGING],
    responses={
        200: schema.answer(TASKS_OUT, {"count": 1, "tasks": [STORED]}, "The tasks."),
        400: _error("Invalid value of limit. Value should be a whole number from 1"),
        401: _error(UNAUTHORIZED),
        403: _error(_OTHERS),
        500: _error("APIError: Internal Server error while retrieving records"),
    },
)
create_task = extend_schema(
    operation_id="create_task",
    summary="Schedule a task",
    parameters=[schema.header("Location", 201, "The path of the new task.")],
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
        400: _error("Missing key: frequency"),
        401: _error("User Not authorized"),
        403: _error(schema.FORBIDDEN),
        413: _error("The request body is larger than 1048576 bytes"),
        500: _error(FAILURE),
    },
)
get_task = extend_schema(
    operation_id="get_task",
    summary="Get task detail",
    responses={
        200: schema.answer(TASK_OUT, STORED, "The task."),
        401: _error(UNAUTHORIZED),
        404: _error("APIError: task does not exist with given id"),
        500: _error("APIError: Unable to serialize task data"),
    },
)


def _change(name: str, summary: str, message: str) -> Describe[Any]:
    return extend_schema(
        operation_id=name,
        summary=summary,
        request=None,
        responses={
            200: _done(message),
            401: _error(UNAUTHORIZED),
            403: _error(FORBIDDEN),
            404: _error(NOT_FOUND),
            500: _error(FAILURE),
        },
    )


def _bulk_change(name: str, summary: str, message: str) -> Describe[Any]:
    return extend_schema(
        operation_id=name,
        summary=summary,
        description="All of them, or none.",
        request=schema.body(IDS_IN),
        examples=[OpenApiExample("three tasks", IDS, request_only=True)],
        responses={
            200: _done(message),
            400: _error(NO_IDS),
            401: _error(UNAUTHORIZED),
            403: _error(FORBIDDEN),
            404: _error(NOT_FOUND),
            413: _error("The request body is larger than 1048576 bytes"),
            500: _error(FAILURE),
        },
    )


remove_task = _change(
    "remove_task", "Remove a task", "Task has been removed successfully"
)
pause_task = _change("pause_task", "Pause a task", "Task paused successfully")
resume_task = _change("resume_task", "Resume a task", "Task resumed successfully")
pause_tasks = _bulk_change(
    "pause_tasks", "Pause multiple tasks", "Tasks have been successfully paused"
)
resume_tasks = _bulk_change(
    "resume_tasks", "Resume multiple tasks", "Tasks have been resumed successfully"
)
