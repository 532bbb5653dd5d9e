"""The operation that changes the tasks of a filter in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.known_fields import IGNORED_MARK
from tasks_api.api.products import Product
from tasks_api.api.tasks.apply_openapi import STEP_OUT
from tasks_api.api.tasks.openapi_common import (
    FAILURE,
    OTHERS_FORBIDDEN,
    UNAUTHORIZED,
)
from tasks_api.api.tasks.openapi_fields import CHANGE_IN
from tasks_api.api.tasks.pause_openapi_fields import (
    DRY_RUN,
    FILTER,
    NAMED_TASK,
    PLAN_CHANGED,
    PLAN_OUT,
)

# What belongs to a single task, or has an operation of its own.
_SINGLE = {"name", "task_type", "run_datetime", "paused"}
_TAGS = {
    "type": "array",
    "maxItems": 50,
    "items": {"type": "string", "minLength": 1, "maxLength": 100},
}
_PARTS: dict[str, Any] = {
    "set_headers": {
        "type": "object",
        "description": "Headers to replace or add by name, with null for those to remove. "
        "A task keeps its other headers.",
        "additionalProperties": {"type": "string", "nullable": True},
    },
    "add_tags": {**_TAGS, "description": "Tags that each task gets beside its own."},
    "remove_tags": {**_TAGS, "description": "Tags that each task loses."},
    "url_host": openapi.text(
        "The host, with its port if needed, that replaces the one in the URL of each "
        "task. Not for URLs with credentials."
    ),
}
SET_IN: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "What to change, as in a PATCH of one task.",
    "properties": {
        **{
            name: rule
            for name, rule in CHANGE_IN["properties"].items()
            if name not in _SINGLE and IGNORED_MARK not in rule
        },
        **_PARTS,
    },
}
CHANGE_MANY_IN = {
    "type": "object",
    "required": ["filter", "set"],
    "properties": {"filter": FILTER, "set": SET_IN, **DRY_RUN},
}
_CHANGED = {
    name: STEP_OUT["properties"][name]
    for name in ("changes", "fire_times_before", "fire_times_after")
}
CHANGES_OUT = {
    "type": "object",
    "required": ["message", "dry_run", "hash", "count", "changed", "tasks"],
    "properties": {
        "message": openapi.DONE_MESSAGE,
        "dry_run": PLAN_OUT["dry_run"],
        "hash": PLAN_OUT["hash"],
        "count": PLAN_OUT["count"],
        "changed": openapi.count("How many of the tasks differ from the change."),
        "tasks": {
            "type": "array",
            "maxItems": 100,
            "description": "The first 100 of the tasks that differ, the oldest first.",
            "items": {
                "type": "object",
                "required": [*NAMED_TASK["required"], *_CHANGED],
                "properties": {**NAMED_TASK["properties"], **_CHANGED},
            },
        },
    },
}
UNCHANGEABLE = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "description": "Why the request was refused.",
            "properties": {
                "message": openapi.text("A sentence that names the first such task."),
                "tasks": {
                    "type": "array",
                    "maxItems": 100,
                    "description": "The first 100 tasks that cannot be changed so.",
                    "items": {
                        "type": "object",
                        "required": ["id", "name", "field", "message"],
                        "properties": {
                            **NAMED_TASK["properties"],
                            "field": openapi.text("The field that cannot be so."),
                            "message": openapi.text("What is wrong with it."),
                        },
                    },
                },
            },
        }
    },
}
_ID = "01a1fc25-cc90-73cc-897d-06cb540be56b"
_MESSAGE = "Invalid value of retry. It goes with a url, not with a queue"
_REFUSED = {
    "error": {
        "message": "1 of the tasks cannot be changed so, and none was. The first is "
        f"reports/daily: {_MESSAGE}",
        "tasks": [
            {"id": _ID, "name": "reports/daily", "field": "retry", "message": _MESSAGE}
        ],
    }
}
_CHANGE: dict[str, Any] = {
    "filter": {"tag": "billing"},
    "set": {"set_headers": {"X-Key": "n3w"}},
    "dry_run": True,
}
_PLAN = {
    "message": "Nothing was changed",
    "dry_run": True,
    "hash": "5f0c2a9d7be14c3f8a6d1e0b9c7f2a44",
    "count": 20,
    "changed": 1,
    "tasks": [
        {
            "id": _ID,
            "name": "reports/daily",
            "changes": {
                "headers": {
                    "from": {"X-Key": "[redacted]"},
                    "to": {"X-Key": "[redacted]"},
                }
            },
            "fire_times_before": ["2026-11-22T06:00:00Z"],
            "fire_times_after": ["2026-11-22T06:00:00Z"],
        }
    ],
}

change_tasks = openapi.operation(
    product=Product.TASKS,
    operation_id="change_tasks",
    summary="Change many tasks",
    description="Changes the tasks that the list of tasks shows with the same filters, "
    "at most 10000, in one transaction: all of them or none. `set` has the fields of a "
    "PATCH of one task, and `set_headers`, `add_tags`, `remove_tags` and `url_host` for "
    "parts of them. First ask with `dry_run` for the plan; the change itself takes its "
    "`hash`, and results in 409 if one of the tasks has changed since. If the change is "
    "invalid for some of the tasks, the response is 400 and names them.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(CHANGE_MANY_IN),
    examples=[OpenApiExample("a plan", _CHANGE, request_only=True)],
    responses={
        200: openapi.response(
            CHANGES_OUT, _PLAN, "What was done, or with `dry_run` would be."
        ),
        400: openapi.response(UNCHANGEABLE, _REFUSED, _MESSAGE),
        401: openapi.error_response(UNAUTHORIZED),
        403: openapi.error_response(OTHERS_FORBIDDEN),
        409: openapi.error_response(PLAN_CHANGED),
        413: openapi.error_response("The request body is larger than 1048576 bytes"),
        422: openapi.error_response(openapi.KEY_REUSED),
        500: openapi.error_response(FAILURE),
    },
)
