"""The operations that run, pause and resume tasks in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import (
    FAILURE,
    FORBIDDEN,
    NO_IDS,
    NOT_FOUND,
    TASK_ID,
    UNAUTHORIZED,
    done,
)
from tasks_api.api.tasks.openapi_examples import (
    ID,
    IDS,
)
from tasks_api.api.tasks.openapi_fields import RUN_MADE
from tasks_api.api.tasks.pause_openapi_fields import (
    HOLD_IN,
    MANY_OUT,
    PAUSE_MANY_IN,
    PLAN_CHANGED,
    RESUME_IN,
    RESUME_MANY_IN,
)

View = TypeVar("View", bound=Callable[..., Any])
Describe = Callable[[View], View]

run_task = openapi.operation(
    product=Product.TASKS,
    operation_id="run_task",
    summary="Run a task now",
    description="Creates a run of the task at once, in addition to its schedule. This "
    "moves no fire time, and it works for a paused task. The response has "
    "the id of the run, so that you can follow it. If the task may not "
    "overlap and its earlier run is unfinished, the response is 409.",
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


_BY_TAG = {"filter": {"tag": "billing"}, "dry_run": True}
_PLAN = {
    "dry_run": False,
    "hash": "5f0c2a9d7be14c3f8a6d1e0b9c7f2a44",
    "count": 1,
    "has_more": False,
    "tasks": [{"id": ID, "name": "reports/daily"}],
}
_BY_FILTER = (
    " With `filter` instead of `ids`, it is about the tasks that the list of tasks "
    "shows with the same filters, the oldest 10000 of them; `has_more` asks you to repeat "
    "the request. With `dry_run` the response is the plan, and its `hash` makes the "
    "request change exactly these tasks, or result in 409."
)


def _change(
    name: str,
    summary: str,
    description: str,
    message: str,
    body: dict[str, Any],
    invalid: str,
    examples: Sequence[OpenApiExample] = (),
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[TASK_ID],
        # A body that is no object is allowed, and ignored.
        is_read_first=True,
        request=openapi.json_body(body),
        examples=examples,
        responses={
            200: done(message),
            400: openapi.error_response(invalid),
            401: openapi.error_response(UNAUTHORIZED),
            403: openapi.error_response(FORBIDDEN),
            404: openapi.error_response(NOT_FOUND),
            500: openapi.error_response(FAILURE),
        },
    )


def _bulk_change(
    name: str,
    summary: str,
    description: str,
    message: str,
    body: dict[str, Any],
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        # That there are no ids is said in the words of its document.
        is_read_first=True,
        request=openapi.json_body(body),
        examples=[
            OpenApiExample("three tasks", IDS, request_only=True),
            OpenApiExample("a plan for a tag", _BY_TAG, request_only=True),
        ],
        responses={
            200: openapi.response(MANY_OUT, {"message": message, **_PLAN}, message),
            400: openapi.error_response(NO_IDS),
            401: openapi.error_response(UNAUTHORIZED),
            403: openapi.error_response(FORBIDDEN),
            404: openapi.error_response(NOT_FOUND),
            409: openapi.error_response(PLAN_CHANGED),
            413: openapi.error_response(
                "The request body is larger than 1048576 bytes"
            ),
            500: openapi.error_response(FAILURE),
        },
    )


pause_task = _change(
    "pause_task",
    "Pause a task",
    "Keeps a task from firing until it is resumed. The service makes up for the "
    "fire times that pass meanwhile only with `catch_up`; a one-time task waits. `until` "
    "lets the task resume by itself, and `reason` says why it is paused. Without them, "
    "pausing a paused task changes nothing.",
    "Task paused successfully",
    HOLD_IN,
    "until should be in the future",
    [
        OpenApiExample(
            "until Monday",
            {"reason": "the billing database moves", "until": "2026-12-07T06:00:00Z"},
            request_only=True,
        )
    ],
)
resume_task = _change(
    "resume_task",
    "Resume a task",
    "Lets a paused task fire again from its next fire time on. A one-time task whose moment has "
    "passed runs at once. With `catch_up` a periodic task makes up for fire times of its "
    "pause, each with its own time. Resuming a task that is not paused changes nothing.",
    "Task resumed successfully",
    RESUME_IN,
    "Invalid value of catch_up. Value should be none, latest or all",
    [OpenApiExample("with all", {"catch_up": "all"}, request_only=True)],
)
pause_tasks = _bulk_change(
    "pause_tasks",
    "Pause many tasks",
    "Pauses all of the tasks, or none of them: one unknown id results in 404, and the "
    "id of another user's task in 403. Tasks that are paused already stay so, "
    "until the moment and with the reason that the request gives." + _BY_FILTER,
    "Tasks have been successfully paused",
    PAUSE_MANY_IN,
)
resume_tasks = _bulk_change(
    "resume_tasks",
    "Resume many tasks",
    "Resumes all of the tasks, or none of them: one unknown id results in 404, and "
    "the id of another user's task in 403. Tasks that are not paused stay so."
    + _BY_FILTER,
    "Tasks have been resumed successfully",
    RESUME_MANY_IN,
)
