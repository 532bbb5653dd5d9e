"""The operations on tasks in the OpenAPI document: create, list, read, change, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import (
    FAILURE,
    FORBIDDEN,
    IF_MATCH,
    NAME_TAKEN,
    NO_TASK,
    NOT_FOUND,
    OTHERS_FORBIDDEN,
    OWNER,
    STALE,
    TASK_ID,
    TASK_NAME,
    UNAUTHORIZED,
    bulk_error,
    done,
    etag,
)
from tasks_api.api.tasks.openapi_examples import (
    ID,
    INTERVAL,
    ONE_TIME,
    PERIODIC,
    STORED,
    WITH_POLICIES,
    WITH_RRULE,
    WITH_SCHEDULES,
)
from tasks_api.api.tasks.openapi_fields import (
    BULK_CREATED,
    BULK_IN,
    CHANGE_IN,
    CREATED,
    TASK_IN,
    TASK_OUT,
    TASKS_OUT,
)

View = TypeVar("View", bound=Callable[..., Any])
Describe = Callable[[View], View]


def _filter(name: str, text: str, **kind: Any) -> OpenApiParameter:
    return OpenApiParameter(name, description=text, **kind)


_FILTERS = [
    _filter("name", "Only the task of this name."),
    _filter("name_prefix", "Only tasks whose names begin so."),
    _filter("host", "Only tasks that call this host, with its port or without."),
    _filter(
        "search",
        "Only tasks with this text in their name, the host of their URL, their queue or "
        "one of their tags, in any case.",
    ),
    _filter("lane", "Only tasks that belong to this lane, by its name or by its host."),
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
        description="The maximum number to return: 1000 if absent.",
    ),
    OpenApiParameter(
        "offset",
        OpenApiTypes.INT,
        description="How many to skip. Not with `cursor` and filters.",
    ),
    OpenApiParameter(
        "cursor",
        description="The `next_cursor` of the previous page; empty for the first page.",
    ),
    *_FILTERS,
    OpenApiParameter(
        "outcomes",
        OpenApiTypes.INT,
        description="How many of its last runs each task shows: none if absent, up to 50.",
    ),
    openapi.NEXT_PAGE,
]

list_tasks = openapi.operation(
    product=Product.TASKS,
    operation_id="list_tasks",
    summary="List tasks",
    description="Returns your tasks that have not ended, the oldest first, up to 1000 "
    "at once. Filters narrow the list, and `cursor` pages through one of "
    "any length. Administrators use `owner` to list those of a user or of "
    "the whole tenant.",
    parameters=[OWNER, *_PAGING],
    responses={
        200: openapi.response(TASKS_OUT, {"count": 1, "tasks": [STORED]}, "The tasks."),
        400: openapi.error_response(
            "Invalid value of limit. Value should be a whole number from 1"
        ),
        401: openapi.error_response(UNAUTHORIZED),
        403: openapi.error_response(OTHERS_FORBIDDEN),
        500: openapi.error_response(
            "APIError: Internal Server error while retrieving records"
        ),
    },
)
create_task = openapi.operation(
    product=Product.TASKS,
    operation_id="create_task",
    summary="Create a task",
    description="Stores an HTTP request that the service sends once, at "
    "`run_datetime`, or periodically, every `frequency` seconds or by "
    "`cron`. The response has the id of the task. A wrong, missing or "
    "unknown field results in 400 and a message that names it; a `name` "
    "that is taken results in 409. With an `Idempotency-Key`, you can "
    "repeat the request safely if you have lost its response.",
    parameters=[
        openapi.response_header("Location", 201, "The path of the new task."),
        etag(201),
        *openapi.IDEMPOTENCY,
    ],
    request=openapi.json_body(TASK_IN),
    examples=[
        OpenApiExample("periodic", PERIODIC, request_only=True),
        OpenApiExample("periodic, with an offset", INTERVAL, request_only=True),
        OpenApiExample("one_time", ONE_TIME, request_only=True),
        OpenApiExample("with policies", WITH_POLICIES, request_only=True),
        OpenApiExample("with a recurrence rule", WITH_RRULE, request_only=True),
        OpenApiExample("with several schedules", WITH_SCHEDULES, request_only=True),
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
    description="Stores up to 10,000 tasks in one transaction: all of them, or none. "
    "The response has the ids in the order of the request. If a task is "
    "invalid the response is 400, or 409 if a name is taken, and lists "
    "each such task by its index.",
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
        400: bulk_error("Missing key: url"),
        401: openapi.error_response(UNAUTHORIZED),
        409: bulk_error(NAME_TAKEN),
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
        parameters=[which, etag(200)],
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
    "Returns a task with its schedule, its request and when it fires next. A task "
    "that has ended or belongs to another user results in 404.",
    TASK_ID,
)
get_named_task = _read(
    "get_task_by_name",
    "Get a task by its name",
    "Returns the task that has this name now, like reading it by its id. If no task "
    "of yours has the name, the response is 404.",
    TASK_NAME,
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
    description="Changes the fields that the body has and keeps the others. Each "
    "field is replaced as a whole, and null removes an optional one. A "
    "new schedule counts from its next fire time; a run under way "
    "finishes. `If-Match` keeps two clients from overwriting each other.",
    parameters=[TASK_ID, IF_MATCH, etag(200)],
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
    description="Creates the task of this name and responds with 201, or replaces it "
    "and responds with 200. A replaced task keeps its id and its history. "
    "The same body again changes nothing, so the request is safe to "
    "repeat. A name of a colleague's task results in 403.",
    parameters=[
        TASK_NAME,
        IF_MATCH,
        OpenApiParameter(
            "If-None-Match",
            location=OpenApiParameter.HEADER,
            description="`*` to create only: if there is a task of this name, the "
            "response is 412.",
        ),
        etag(200, 201),
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


def _remove(
    name: str, summary: str, description: str, which: OpenApiParameter
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[which, IF_MATCH],
        request=None,
        responses={
            200: done("Task has been removed successfully"),
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
    "Removes a task, so that it does not fire any more. A request that is under way "
    "finishes. You can still read its runs. A task of another user results in 403.",
    TASK_ID,
)
remove_named_task = _remove(
    "remove_task_by_name",
    "Remove a task by its name",
    "Removes the task that has this name now, like removing it by its id. The name is "
    "free again afterwards.",
    TASK_NAME,
)
