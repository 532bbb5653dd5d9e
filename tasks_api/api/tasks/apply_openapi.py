"""The operation that applies a list of tasks in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.admission_fields import VERDICTS_OUT
from tasks_api.api.tasks.openapi_common import FAILURE, UNAUTHORIZED
from tasks_api.api.tasks.openapi_fields import BULK_ERROR, task_in
from tasks_api.services.apply import Action

_TASK: dict[str, Any] = {
    "name": "reports/daily",
    "task_type": "periodic",
    "cron": "0 7 * * *",
    "url": "https://example.com/report",
}
_DECLARED = {"tag": "reports", "tasks": [_TASK], "dry_run": True}
DECLARED_IN = task_in(
    "name",
    name=openapi.NAME | {"description": "The name that identifies the task."},
)
APPLY_IN = {
    "type": "object",
    "required": ["tag", "tasks"],
    "properties": {
        "tag": openapi.text(
            "The tag of the tasks that belong together.", minLength=1, maxLength=100
        ),
        "tasks": {
            "type": "array",
            "maxItems": 1000,
            "description": "All tasks that are to have the tag.",
            "items": DECLARED_IN,
        },
        "dry_run": {
            "type": "boolean",
            "nullable": True,
            "description": "Whether to return the plan only, and change nothing.",
        },
        "plan": {
            "type": "string",
            "nullable": True,
            "description": "The `plan` of a dry run. If the plan has changed since, "
            "the response is 412 and nothing happens.",
        },
    },
}


def _times(description: str) -> dict[str, Any]:
    items = {"type": "string"}
    return {"type": "array", "maxItems": 3, "items": items, "description": description}


_ACTION_DESCRIPTIONS = {
    Action.CREATE: "How many tasks are new.",
    Action.CHANGE: "How many tasks differ from the list.",
    Action.PAUSE: "How many tasks are paused and differ in nothing else.",
    Action.RESUME: "How many tasks are resumed and differ in nothing else.",
    Action.DELETE: "How many tasks have the tag and are not in the list.",
    Action.KEEP: "How many tasks are already as the list says.",
    Action.OVER: "How many tasks of the list have ended, so that nothing is left to do.",
}
STEP_OUT: dict[str, Any] = {
    "type": "object",
    "required": [
        "name",
        "id",
        "action",
        "changes",
        "fire_times_before",
        "fire_times_after",
    ],
    "properties": {
        "name": openapi.text("The name of the task."),
        "id": openapi.text(
            "The id of the task; null if a dry run would create it, or if it is over.",
            nullable=True,
        ),
        "action": openapi.text(
            "What the service does with the task.",
            enum=[action.value for action in Action],
        ),
        "changes": {
            "type": "object",
            "description": "Each field that differs. The values of headers are not shown.",
            "additionalProperties": {
                "type": "object",
                "required": ["from", "to"],
                "properties": {
                    "from": {"description": "What the task has now."},
                    "to": {"description": "What the list says."},
                },
            },
        },
        "fire_times_before": _times("The next three fire times as the task is now."),
        "fire_times_after": _times("The next three fire times as the list says."),
    },
}
PLAN_OUT = {
    "type": "object",
    "required": ["plan", "tag", "dry_run", "counts", "tasks"],
    "properties": {
        "plan": openapi.text(
            "A fingerprint of the plan; send it to apply exactly this plan."
        ),
        "tag": openapi.text("The tag of the request."),
        "dry_run": {
            "type": "boolean",
            "description": "Whether this is a plan (true) or was done (false).",
        },
        "admission": VERDICTS_OUT,
        "counts": {
            "type": "object",
            "required": [action.value for action in Action],
            "description": "How many tasks there are for each action.",
            "properties": {
                action.value: openapi.count(_ACTION_DESCRIPTIONS[action])
                for action in Action
            },
        },
        "tasks": {
            "type": "array",
            "description": "What the service does with each task.",
            "items": STEP_OUT,
        },
    },
}
_PLAN = {
    "plan": "5f0c2a9d7be14c3f8a6d1e0b9c7f2a44",
    "tag": "reports",
    "dry_run": True,
    "counts": {**{action.value: 0 for action in Action}, "change": 1},
    "tasks": [
        {
            "name": "reports/daily",
            "id": "01a1fc25-cc90-73cc-897d-06cb540be56b",
            "action": "change",
            "changes": {"cron": {"from": "0 6 * * *", "to": "0 7 * * *"}},
            "fire_times_before": ["2026-11-22T06:00:00Z"],
            "fire_times_after": ["2026-11-22T07:00:00Z"],
        }
    ],
}


def _errors(message: str) -> OpenApiResponse:
    bad = {"index": 0, "field": "name", "message": message}
    sentence = f"1 of the tasks cannot be stored. The first is tasks[0]: {message}"
    example = {"error": {"message": sentence, "tasks": [bad]}}
    return openapi.response(BULK_ERROR, example, message)


apply_tasks = openapi.operation(
    product=Product.TASKS,
    operation_id="apply_tasks",
    summary="Apply a list of tasks",
    description="Makes your tasks with a tag equal to the list: the service creates, "
    "changes, pauses, resumes and deletes tasks in one transaction, all "
    "of it or nothing. Use it to keep tasks in a file under version "
    "control; applying the same list again changes nothing. With "
    "`dry_run` the response shows what the service would do, and `plan` "
    "makes it do exactly that. Invalid tasks result in 400 with their "
    "indexes, and a name of a colleague's task in 403.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(APPLY_IN),
    examples=[OpenApiExample("a plan", _DECLARED, request_only=True)],
    responses={
        200: openapi.response(
            PLAN_OUT, _PLAN, "What was done, or with `dry_run` would be."
        ),
        400: _errors("Missing key: name"),
        401: openapi.error_response(UNAUTHORIZED),
        403: _errors("A task of another user has this name"),
        409: openapi.error_response(
            "reports/daily: The request of this task is under way"
        ),
        412: openapi.error_response("The plan is another one now; look at it again"),
        413: openapi.error_response("The request body is larger than 33554432 bytes"),
        422: openapi.error_response(openapi.KEY_REUSED),
        500: openapi.error_response(FAILURE),
    },
)
