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
from tasks_api.api.tasks.openapi_fields import (
    HOLD_IN,
    IDS_IN,
    PAUSE_IDS_IN,
    RUN_MADE,
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


def _change(
    name: str,
    summary: str,
    description: str,
    message: str,
    body: dict[str, Any] | None = None,
    examples: Sequence[OpenApiExample] = (),
) -> Describe[Any]:
    invalid = "until should be in the future"
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        parameters=[TASK_ID],
        # A body that is no object is allowed, and ignored.
        is_read_first=body is not None,
        request=body and openapi.json_body(body),
        examples=examples,
        responses={
            200: done(message),
            **({400: openapi.error_response(invalid)} if body else {}),
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
    body: dict[str, Any] = IDS_IN,
) -> Describe[Any]:
    return openapi.operation(
        product=Product.TASKS,
        operation_id=name,
        summary=summary,
        description=description,
        # That there are no ids is said in the words of its document.
        is_read_first=True,
        request=openapi.json_body(body),
        examples=[OpenApiExample("three tasks", IDS, request_only=True)],
        responses={
            200: done(message),
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


pause_task = _change(
    "pause_task",
    "Pause a task",
    "Keeps a task from firing until it is resumed. The service does not make up for "
    "fire times that pass meanwhile; a one-time task waits. `until` lets the "
    "task resume by itself, and `reason` says why it is paused. Without them, pausing a "
    "paused task changes nothing.",
    "Task paused successfully",
    HOLD_IN,
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
    "passed runs at once. Resuming a task that is not paused changes nothing.",
    "Task resumed successfully",
)
pause_tasks = _bulk_change(
    "pause_tasks",
    "Pause many tasks",
    "Pauses all of the tasks, or none of them: one unknown id results in 404, and the "
    "id of another user's task in 403. Tasks that are paused already stay so, "
    "until the moment and with the reason that the request gives.",
    "Tasks have been successfully paused",
    PAUSE_IDS_IN,
)
resume_tasks = _bulk_change(
    "resume_tasks",
    "Resume many tasks",
    "Resumes all of the tasks, or none of them: one unknown id results in 404, and "
    "the id of another user's task in 403. Tasks that are not paused stay so.",
    "Tasks have been resumed successfully",
)
