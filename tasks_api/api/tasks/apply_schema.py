"""Declared tasks as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse

from tasks_api.api import schema
from tasks_api.api.tasks.schema import (
    BULK_ERROR,
    FAILURE,
    UNAUTHORIZED,
    task_in,
)
from tasks_api.declare import Action

_TASK: dict[str, Any] = {
    "name": "reports/daily",
    "task_type": "periodic",
    "cron": "0 7 * * *",
    "url": "https://example.com/report",
}
_DECLARED = {"tag": "reports", "tasks": [_TASK], "dry_run": True}
DECLARED_IN = task_in("name", name=schema.NAME)
APPLY_IN = {
    "type": "object",
    "required": ["tag", "tasks"],
    "properties": {
        "tag": {"type": "string", "minLength": 1, "maxLength": 100},
        "tasks": {"type": "array", "maxItems": 1000, "items": DECLARED_IN},
        "dry_run": {
            "type": "boolean",
            "nullable": True,
            "description": "Answer what would be done, and do nothing.",
        },
        "plan": {
            "type": "string",
            "nullable": True,
            "description": "The plan of a dry run. If it is another one by now: 412.",
        },
    },
}
_TIMES = {"type": "array", "maxItems": 3, "items": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
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
        "name": schema.TEXT,
        "id": {
            "type": "string",
            "nullable": True,
            "description": "Null for one that a dry run would create, or that is over.",
        },
        "action": {"type": "string", "enum": [action.value for action in Action]},
        "changes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["from", "to"],
                "properties": {"from": {}, "to": {}},
            },
        },
        "fire_times_before": _TIMES,
        "fire_times_after": _TIMES,
    },
}
PLAN_OUT = {
    "type": "object",
    "required": ["plan", "tag", "dry_run", "counts", "tasks"],
    "properties": {
        "plan": {"type": "string", "description": "A fingerprint, to apply just this."},
        "tag": schema.TEXT,
        "dry_run": {"type": "boolean"},
        "counts": {
            "type": "object",
            "required": [action.value for action in Action],
            "properties": {action.value: _COUNT for action in Action},
        },
        "tasks": {"type": "array", "items": STEP_OUT},
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
    return schema.answer(BULK_ERROR, example, message)


apply_tasks = schema.operation(
    operation_id="apply_tasks",
    summary="Make the tasks with a tag what a list says",
    description="Creates, changes, pauses, resumes and deletes: all of it, or nothing.",
    parameters=schema.IDEMPOTENCY,
    request=schema.body(APPLY_IN),
    examples=[OpenApiExample("a plan", _DECLARED, request_only=True)],
    responses={
        200: schema.answer(PLAN_OUT, _PLAN, "What was done, or would be."),
        400: _errors("Missing key: name"),
        401: schema.error(UNAUTHORIZED),
        403: _errors("A task of another user has this name"),
        409: schema.error("reports/daily: The request of this task is under way"),
        412: schema.error("The plan is another one now; look at it again"),
        413: schema.error("The request body is larger than 33554432 bytes"),
        422: schema.error(schema.KEY_REUSED),
        500: schema.error(FAILURE),
    },
)
