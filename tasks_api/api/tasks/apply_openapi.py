"""Declared tasks as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from tasks_api.api import openapi
from tasks_api.api.products import Product
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
    name=openapi.NAME | {"description": "The name by which the task is known again."},
)
APPLY_IN = {
    "type": "object",
    "required": ["tag", "tasks"],
    "properties": {
        "tag": openapi.text(
            "The tag by which the tasks belong together.", minLength=1, maxLength=100
        ),
        "tasks": {
            "type": "array",
            "maxItems": 1000,
            "description": "All tasks that have the tag from now on.",
            "items": DECLARED_IN,
        },
        "dry_run": {
            "type": "boolean",
            "nullable": True,
            "description": "Return what would be done, and do nothing.",
        },
        "plan": {
            "type": "string",
            "nullable": True,
            "description": "The `plan` of a dry run. If the plan is another one by now, the answer "
            "is 412 and nothing happens.",
        },
    },
}


def _times(description: str) -> dict[str, Any]:
    items = {"type": "string"}
    return {"type": "array", "maxItems": 3, "items": items, "description": description}


_ABOUT = {
    Action.CREATE: "How many tasks are new.",
    Action.CHANGE: "How many tasks differ from the list.",
    Action.PAUSE: "How many tasks are paused and differ in nothing else.",
    Action.RESUME: "How many tasks are resumed and differ in nothing else.",
    Action.DELETE: "How many tasks have the tag and are not in the list.",
    Action.KEEP: "How many tasks are as the list says.",
    Action.OVER: "How many tasks of the list have ended, so that nothing is left to do.",
}
STEP_OUT = {
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
            "What is done with the task.", enum=[action.value for action in Action]
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
        "plan": openapi.text("A fingerprint of the plan; send it to do exactly this."),
        "tag": openapi.text("The tag of the request."),
        "dry_run": {
            "type": "boolean",
            "description": "Whether this would be done (true) or was done (false).",
        },
        "counts": {
            "type": "object",
            "required": [action.value for action in Action],
            "description": "How many tasks there are for each action.",
            "properties": {
                action.value: openapi.count(_ABOUT[action]) for action in Action
            },
        },
        "tasks": {
            "type": "array",
            "description": "What is done with each task.",
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
    description="Makes your tasks with a tag those of the list: it creates, changes, pauses, "
    "resumes and deletes, in one transaction, all of it or nothing. Use it to keep tasks in a "
    "file under version control; the same list again changes nothing. With `dry_run` the "
    "answer says what would be done, and `plan` does exactly what was shown. Bad tasks are "
    "refused with 400 and their indexes, and a name that a colleague's task has with 403.",
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
