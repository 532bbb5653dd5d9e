"""The tasks surface as OpenAPI tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
)

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks import optional_fields

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
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
PERIODIC = {
    "frequency": 3601,
    "task_type": "periodic",
    "start_datetime": "2035-12-05 08:00:00",
    "end_datetime": "2036-01-05 08:00:00",
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
ONE_TIME = {
    "task_type": "one_time",
    "run_datetime": "2035-12-05 08:00:00",
    "url": "https://example.com/sms/send/",
    "post_data": POST_DATA,
}
WITH_POLICIES = {
    "task_type": "periodic",
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "url": "https://example.com/report",
    "method": "PUT",
    "headers": {"X-Api-Key": "s3cret"},
    "body": {"kind": "daily"},
    "timeout_seconds": 120,
    "expected_status": "200-299",
    "retry": {"max_attempts": 5, "min_delay": 10, "max_delay": 600},
    "overlap": "queue_one",
    "misfire": "latest",
    "catchup_window": 3600,
    "spread": 300,
    "dst": {"gap": "skip", "overlap": "first"},
}
STORED = {
    "id": ID,
    "url": "https://example.com/sms/send/",
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


def _moment(description: str) -> dict[str, Any]:
    return openapi.text(
        f"{description}: YYYY-MM-DD HH:MM:SS in UTC, or null.", nullable=True
    )


_FREQUENCY = {
    "description": "Seconds between two fire times: a number, its digits in a string, or an "
    "object whose parts are added up.",
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        {"type": "string", "pattern": "^[0-9]+$"},
        {
            "type": "object",
            "properties": {
                part: openapi.count(f"How many {part}.")
                for part in ("weeks", "days", "hours", "minutes", "seconds")
            },
            "additionalProperties": False,
        },
    ],
}
_TAGS = {
    "type": "array",
    "description": "Labels to find the task by, and to apply tasks by.",
    "maxItems": 50,
    "items": {"type": "string", "minLength": 1, "maxLength": 100},
}
_OF_BOTH: dict[str, dict[str, Any]] = {
    "url": {
        "type": "string",
        "description": "The absolute URL that the request is sent to. Credentials in it "
        "are sent as HTTP Basic. Either this or `queue` is required.",
        "nullable": True,
    },
    "queue": openapi.NAME
    | {
        "description": "The pull queue that gets `post_data` as a job, instead of a URL.",
        "nullable": True,
    },
    "post_data": {
        "type": "object",
        "additionalProperties": True,
        "description": "The body of the request, a JSON object; `{}` if absent.",
    },
    **optional_fields.REQUEST_SCHEMAS,
    "name": openapi.NAME
    | {
        "description": "Your name for the task, by which it can be read, put and removed. One "
        "task of your tenant has it at a time.",
        "nullable": True,
    },
    "tags": _TAGS | {"nullable": True},
    "paused": {
        "type": "boolean",
        "nullable": True,
        "description": "True pauses the task, and false resumes it. Without it a task stays as it "
        "is, and a new one is active.",
    },
}
_OF_PERIODIC: dict[str, dict[str, Any]] = {
    "task_type": {
        "type": "string",
        "description": "`periodic`, in any case; `interval` means the same.",
        "enum": ["periodic", "interval"],
    },
    "frequency": _FREQUENCY | {"title": "this, or cron"},
    "cron": openapi.CRON | {"title": "this, or frequency", "nullable": True},
    "timezone": {
        "type": "string",
        "nullable": True,
        "title": "for cron",
        "description": "The IANA time zone of the cron expression, such as `Europe/Berlin`; UTC if "
        "absent.",
    },
    "start_datetime": openapi.text(
        "The first fire time, or with `cron` the earliest one: an ISO 8601 date and time in the "
        "future, in UTC without an offset.",
        nullable=True,
    ),
    "end_datetime": openapi.text(
        "The last moment at which the task may fire: an ISO 8601 date and time, in UTC without "
        "an offset. With null the task has no end.",
        nullable=True,
    ),
    "stop_datetime": openapi.text("Another name for `end_datetime`.", nullable=True),
}
_OF_ONE_TIME: dict[str, dict[str, Any]] = {
    "task_type": openapi.text("`one_time`, in any case.", enum=["one_time"]),
    "run_datetime": openapi.text(
        "When the task runs: an ISO 8601 date and time in the future. Without an offset it is "
        "in `timezone`, or in UTC."
    ),
    "timezone": openapi.text(
        "The IANA time zone of a `run_datetime` without an offset; UTC if absent.",
        nullable=True,
    ),
}
TASK_OUT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "url", "task_type", "post_data", "next_run_datetime"],
    "properties": {
        "id": openapi.text("The id of the task."),
        "url": openapi.text(
            "The URL that the request is sent to, with *** for credentials in it; null "
            "with a queue.",
            nullable=True,
        ),
        "queue": openapi.text("The pull queue that gets `post_data` as a job."),
        "task_type": openapi.text(
            "Whether the task repeats.", enum=["periodic", "one_time"]
        ),
        "post_data": {
            "type": "object",
            "additionalProperties": True,
            "nullable": True,
            "description": "The body of the request, as it was posted.",
        },
        "frequency": {
            "type": "integer",
            "nullable": True,
            "description": "Seconds between two fire times; null with `cron`.",
        },
        "cron": openapi.text("The cron expression, as it was posted."),
        "timezone": openapi.text("The time zone of the cron expression."),
        "start_datetime": _moment("The start of a periodic task"),
        "end_datetime": _moment("The end of a periodic task"),
        "run_datetime": _moment("When a one-time task runs"),
        "next_run_datetime": _moment("When the task fires next"),
        "paused": {
            "type": "boolean",
            "enum": [True],
            "description": "True while the task is paused, and absent otherwise.",
        },
        "pause_reason": openapi.text(
            "Why the service paused the task; absent if somebody else did."
        ),
        **optional_fields.RESPONSE_SCHEMAS,
        "name": openapi.text("Your name for the task; absent if it has none."),
        "tags": _TAGS,
    },
}
# What the document of the surface does not have.
OF_OUR_OWN = (_OF_PERIODIC | _OF_BOTH).keys() - {*INTERVAL, "stop_datetime"}
# What is sent back of an answer, or goes with the other type.
_IGNORED = dict.fromkeys(
    _OF_PERIODIC | _OF_ONE_TIME | TASK_OUT["properties"], openapi.IGNORED
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
            "task_type": openapi.text(
                "To make it a task of the other type, with the fields of that type.",
                enum=["periodic", "one_time", "interval"],
            ),
        }.items()
    },
}
TASKS_OUT = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "count": {
            "type": "integer",
            "description": "How many tasks there are in all. Absent with filters.",
        },
        "tasks": {
            "type": "array",
            "description": "The tasks, the oldest first.",
            "items": TASK_OUT,
        },
        "next_cursor": {
            "type": "string",
            "nullable": True,
            "description": "Send it as `cursor` to get the next page; null on the last page. Absent "
            "without `cursor` and filters.",
        },
    },
}
BULK_IN = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "tasks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10_000,
            "description": "The tasks, each as it would be posted alone.",
            "items": TASK_IN,
        }
    },
    "description": "An object with the list. The list alone is accepted as well.",
}
BULK_CREATED = {
    "type": "object",
    "required": ["ids", "message"],
    "properties": {
        "ids": {
            "type": "array",
            "description": "The ids of the new tasks, in the order of the request.",
            "items": openapi.TEXT,
        },
        "message": openapi.DONE_MESSAGE,
    },
}
RUN_MADE = {
    "type": "object",
    "required": ["run_id", "message"],
    "properties": {
        "run_id": openapi.text("The id of the new run."),
        "message": openapi.DONE_MESSAGE,
    },
}
CREATED = {
    "type": "object",
    "required": ["id", "message"],
    "properties": {
        "id": openapi.text("The id of the new task."),
        "message": openapi.DONE_MESSAGE,
    },
}
MESSAGE = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": openapi.DONE_MESSAGE},
}
IDS_IN = {
    "type": "object",
    "required": ["ids"],
    "properties": {
        "ids": {
            "type": "array",
            "minItems": 1,
            "description": "The ids of the tasks.",
            "items": openapi.TEXT,
        }
    },
}
_BAD_TASK = {
    "type": "object",
    "required": ["index", "field", "message"],
    "properties": {
        "index": {
            "type": "integer",
            "description": "The place of the task in the list, counted from 0.",
        },
        "field": openapi.text("The field that cannot be used."),
        "message": openapi.text("What is wrong with it."),
    },
}
BULK_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "description": "Why the request was refused.",
            "properties": {
                "message": openapi.text("A sentence that names the first bad task."),
                "tasks": {
                    "type": "array",
                    "description": "Every task that cannot be stored.",
                    "items": _BAD_TASK,
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
    return openapi.response(MESSAGE, {"message": message}, message)


TASK_ID = openapi.path_parameter(
    "task_id", "The id that creating the task has answered."
)
_NAME = openapi.path_parameter(
    "name", "The name of the task, percent-encoded; it may contain slashes."
)
_OWNER = OpenApiParameter(
    "owner",
    OpenApiTypes.STR,
    description="For administrators: the name of a user of the tenant, or `all`.",
)
_OTHERS = "The tasks of others take an administrator's token of scope admin"


def _bulk_error(message: str) -> OpenApiResponse:
    bad = {"index": 3, "field": "url", "message": message}
    return openapi.response(
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
    description="The `ETag` that you have seen. If the task was changed since, the answer is "
    "412 and nothing happens.",
)


def _etag(*statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        "ETag",
        location=OpenApiParameter.HEADER,
        description="The version of the task. It changes when somebody changes the task, and not "
        "when it fires.",
        response=list(statuses),
    )


def _filter(name: str, text: str, **kind: Any) -> OpenApiParameter:
    return OpenApiParameter(name, description=text, **kind)


_FILTERS = [
    _filter("name", "Only the task of this name."),
    _filter(
        "tag",
        "Only tasks with this tag; give it several times for tasks with all of them.",
        many=True,
    ),
    _filter("state", "Only tasks in this state.", enum=["active", "paused"]),
    _filter("task_type", "Only tasks of this type.", enum=["periodic", "one_time"]),
    _filter("created_after", "Only tasks created at this moment or later."),
    _filter("created_before", "Only tasks created before this moment."),
    _filter("next_run_after", "Only tasks whose next run is at this moment or later."),
    _filter("next_run_before", "Only tasks whose next run is before this moment."),
]
_PAGING = [
    OpenApiParameter(
        "limit",
        OpenApiTypes.INT,
        description="How many to return at most: 1000 if absent.",
    ),
    OpenApiParameter(
        "offset",
        OpenApiTypes.INT,
        description="How many to skip. Not with `cursor` and filters.",
    ),
    OpenApiParameter(
        "cursor",
        description="The `next_cursor` of the page before; empty for the first page.",
    ),
    *_FILTERS,
    openapi.NEXT_PAGE,
]

list_tasks = openapi.operation(
    product=Product.TASKS,
    operation_id="list_tasks",
    summary="List tasks",
    description="Returns your tasks that have not ended, the oldest first, up to 1000 at once. "
    "Filters narrow the list, and `cursor` pages through one of any length. Administrators "
    "list those of a user or of the whole tenant with `owner`.",
    parameters=[_OWNER, *_PAGING],
    responses={
        200: openapi.response(TASKS_OUT, {"count": 1, "tasks": [STORED]}, "The tasks."),
        400: openapi.error_response(
            "Invalid value of limit. Value should be a whole number from 1"
        ),
        401: openapi.error_response(UNAUTHORIZED),
        403: openapi.error_response(_OTHERS),
        500: openapi.error_response(
            "APIError: Internal Server error while retrieving records"
        ),
    },
)
create_task = openapi.operation(
    product=Product.TASKS,
    operation_id="create_task",
    summary="Create a task",
    description="Stores an HTTP request that the service sends once, at `run_datetime`, or "
    "periodically, every `frequency` seconds or by `cron`. The answer has the id of the task. "
    "A field that is wrong, missing or unknown is refused with 400 and a sentence that names "
    "it, and a `name` that is taken with 409. Send an `Idempotency-Key` along, and the "
    "request can be repeated safely when its answer was lost.",
    parameters=[
        openapi.response_header("Location", 201, "The path of the new task."),
        _etag(201),
        *openapi.IDEMPOTENCY,
    ],
    request=openapi.json_body(TASK_IN),
    examples=[
        OpenApiExample("periodic", PERIODIC, request_only=True),
        OpenApiExample("periodic, with an offset", INTERVAL, request_only=True),
        OpenApiExample("one_time", ONE_TIME, request_only=True),
        OpenApiExample("with policies", WITH_POLICIES, request_only=True),
    ],
    responses={
        201: openapi.response(
            CREATED,
            {"id": ID, "message": "Task has been scheduled successfully"},
            "The task is stored.",
        ),
        400: openapi.error_response("Missing key: frequency"),
        401: openapi.error_response("User Not authorized"),
        403: openapi.error_response(openapi.FORBIDDEN),
        409: openapi.error_response(NAME_TAKEN),
        413: openapi.error_response("The request body is larger than 1048576 bytes"),
        422: openapi.error_response(openapi.KEY_REUSED),
        500: openapi.error_response(FAILURE),
    },
)
create_tasks = openapi.operation(
    product=Product.TASKS,
    operation_id="create_tasks",
    summary="Create many tasks",
    description="Stores up to 10,000 tasks in one transaction: all of them, or none. The ids "
    "come back in the order of the request. If tasks cannot be stored, the answer is 400, or "
    "409 when names are taken, and lists each of them by its index.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(BULK_IN),
    examples=[
        OpenApiExample("two tasks", {"tasks": [PERIODIC, ONE_TIME]}, request_only=True)
    ],
    responses={
        201: openapi.response(
            BULK_CREATED,
            {
                "ids": [ID, ID[::-1]],
                "message": "Tasks have been scheduled successfully",
            },
            "The tasks are stored; their ids are in the order of the request.",
        ),
        400: _bulk_error("Missing key: url"),
        401: openapi.error_response(UNAUTHORIZED),
        409: _bulk_error(NAME_TAKEN),
        413: openapi.error_response("The request body is larger than 33554432 bytes"),
        422: openapi.error_response(openapi.KEY_REUSED),
        500: openapi.error_response(FAILURE),
    },
)


def _read(
    name: str, summary: str, description: str, which: OpenApiParameter
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[which, _etag(200)],
        responses={
            200: openapi.response(TASK_OUT, STORED, "The task."),
            401: openapi.error_response(UNAUTHORIZED),
            404: openapi.error_response(NO_TASK),
            500: openapi.error_response("APIError: Unable to serialize task data"),
        },
    )


get_task = _read(
    "get_task",
    "Get a task",
    "Returns a task with its schedule, its request and when it fires next. A task that has "
    "ended, or of somebody else, is answered with 404.",
    TASK_ID,
)
get_named_task = _read(
    "get_task_by_name",
    "Get a task by its name",
    "Returns the task that has this name now, as reading it by its id does. A name that no "
    "task of yours has is answered with 404.",
    _NAME,
)
_CHANGE_ERRORS = {
    400: openapi.error_response("start_datetime should be in future"),
    401: openapi.error_response(UNAUTHORIZED),
    403: openapi.error_response(FORBIDDEN),
    409: openapi.error_response(NAME_TAKEN),
    412: openapi.error_response(STALE),
    413: openapi.error_response("The request body is larger than 1048576 bytes"),
    500: openapi.error_response(FAILURE),
}
change_task = openapi.operation(
    product=Product.TASKS,
    operation_id="change_task",
    summary="Change a task",
    description="Changes the fields that the body has and leaves the others as they are. Each "
    "field is replaced as a whole, and null takes an optional one away. A new schedule counts "
    "from its next fire time; a run under way finishes. `If-Match` keeps two clients from "
    "overwriting each other.",
    parameters=[TASK_ID, _IF_MATCH, _etag(200)],
    request=openapi.json_body(CHANGE_IN),
    examples=[OpenApiExample("more often", {"frequency": 3600}, request_only=True)],
    responses={
        200: openapi.response(TASK_OUT, STORED, "The task as it is now."),
        404: openapi.error_response(NOT_FOUND),
        **_CHANGE_ERRORS,
    },
)
put_task = openapi.operation(
    product=Product.TASKS,
    operation_id="put_task_by_name",
    summary="Create or replace a task by its name",
    description="Makes the task of this name what the body says: it is created if there is "
    "none, with 201, and replaced if there is one, with 200, and keeps its id and its history. "
    "The same body again changes nothing, so it is safe to repeat. A name that a colleague's "
    "task has is refused with 403.",
    parameters=[
        _NAME,
        _IF_MATCH,
        OpenApiParameter(
            "If-None-Match",
            location=OpenApiParameter.HEADER,
            description="`*` to create only: if there is a task of this name, the answer is 412.",
        ),
        _etag(200, 201),
        OpenApiParameter(
            "Location",
            location=OpenApiParameter.HEADER,
            description="The path of the task by its id.",
            response=[200, 201],
        ),
    ],
    request=openapi.json_body(TASK_IN),
    examples=[OpenApiExample("periodic", PERIODIC, request_only=True)],
    responses={
        200: openapi.response(TASK_OUT, STORED, "The task was there, and is this now."),
        201: openapi.response(TASK_OUT, STORED, "The task is new."),
        **_CHANGE_ERRORS,
    },
)
run_task = openapi.operation(
    product=Product.TASKS,
    operation_id="run_task",
    summary="Run a task now",
    description="Makes a run of the task at once, beside its schedule: no fire time moves, and "
    "it works for a paused task. The answer has the id of the run, by which you can follow "
    "it. A task that may not overlap, and whose earlier run is not over, is refused with 409.",
    parameters=[TASK_ID, *openapi.IDEMPOTENCY],
    request=None,
    responses={
        202: openapi.response(
            RUN_MADE,
            {"run_id": ID, "message": "Task will run now"},
            "The run is made.",
        ),
        400: openapi.error_response(openapi.INVALID_KEY),
        401: openapi.error_response(UNAUTHORIZED),
        403: openapi.error_response(FORBIDDEN),
        404: openapi.error_response(NOT_FOUND),
        409: openapi.error_response(
            "The task may not overlap, and the run before is not over"
        ),
        422: openapi.error_response(openapi.KEY_REUSED),
        500: openapi.error_response(FAILURE),
    },
)


def _change(name: str, summary: str, description: str, message: str) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[TASK_ID],
        request=None,
        responses={
            200: _done(message),
            401: openapi.error_response(UNAUTHORIZED),
            403: openapi.error_response(FORBIDDEN),
            404: openapi.error_response(NOT_FOUND),
            500: openapi.error_response(FAILURE),
        },
    )


def _bulk_change(
    name: str, summary: str, description: str, message: str
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        # That there are no ids is said in the words of its document.
        is_read_first=True,
        request=openapi.json_body(IDS_IN),
        examples=[OpenApiExample("three tasks", IDS, request_only=True)],
        responses={
            200: _done(message),
            400: openapi.error_response(NO_IDS),
            401: openapi.error_response(UNAUTHORIZED),
            403: openapi.error_response(FORBIDDEN),
            404: openapi.error_response(NOT_FOUND),
            413: openapi.error_response(
                "The request body is larger than 1048576 bytes"
            ),
            500: openapi.error_response(FAILURE),
        },
    )


def _remove(
    name: str, summary: str, description: str, which: OpenApiParameter
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[which, _IF_MATCH],
        request=None,
        responses={
            200: _done("Task has been removed successfully"),
            401: openapi.error_response(UNAUTHORIZED),
            403: openapi.error_response(FORBIDDEN),
            404: openapi.error_response(NOT_FOUND),
            412: openapi.error_response(STALE),
            500: openapi.error_response(FAILURE),
        },
    )


remove_task = _remove(
    "remove_task",
    "Remove a task",
    "Removes a task, so that it does not fire any more. A request that is under way finishes. "
    "Its runs can still be read. A task of somebody else is refused with 403.",
    TASK_ID,
)
remove_named_task = _remove(
    "remove_task_by_name",
    "Remove a task by its name",
    "Removes the task that has this name now, as removing it by its id does. Its name is free "
    "again afterwards.",
    _NAME,
)
pause_task = _change(
    "pause_task",
    "Pause a task",
    "Keeps a task from firing until it is resumed. Fire times that pass meanwhile are not made "
    "up for; a one-time task waits. Pausing a paused task changes nothing.",
    "Task paused successfully",
)
resume_task = _change(
    "resume_task",
    "Resume a task",
    "Lets a paused task fire again from its next fire time on. A one-time task whose moment has "
    "passed runs at once. Resuming a task that is not paused changes nothing.",
    "Task resumed successfully",
)
pause_tasks = _bulk_change(
    "pause_tasks",
    "Pause many tasks",
    "Pauses all of the tasks, or none of them: one unknown id is answered with 404, and one of "
    "somebody else's task with 403. Tasks that are paused already stay so.",
    "Tasks have been successfully paused",
)
resume_tasks = _bulk_change(
    "resume_tasks",
    "Resume many tasks",
    "Resumes all of the tasks, or none of them: one unknown id is answered with 404, and one of "
    "somebody else's task with 403. Tasks that are not paused stay so.",
    "Tasks have been resumed successfully",
)
