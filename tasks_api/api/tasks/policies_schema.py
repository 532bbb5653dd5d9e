"""The policies and request options of the tasks surface as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from tasks_api.api import schema
from tasks_api.api.tasks.options import (
    MAX_DEADLINE,
    MAX_HEADERS,
    METHODS,
    REDACTED,
)
from tasks_api.api.tasks.policies import MAX_ATTEMPTS, MAX_STREAK, MAX_WINDOW

_STATUSES = {
    "type": "string",
    "pattern": "^[1-9][0-9]{2}(-[1-9][0-9]{2})?(,[1-9][0-9]{2}(-[1-9][0-9]{2})?)*$",
    "maxLength": 200,
}
_DELAY = {"type": "number", "minimum": 1, "maximum": 604_800}
_RETRY = {
    "type": "object",
    "properties": {
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        "min_delay": _DELAY,
        "max_delay": _DELAY,
        "max_age": {"type": "number", "minimum": 60, "maximum": 604_800},
        "statuses": _STATUSES,
    },
}
_DST = {
    "type": "object",
    "properties": {
        "gap": {"type": "string", "enum": ["next_valid", "skip"]},
        "overlap": {"type": "string", "enum": ["first", "both"]},
    },
}
_COMMON: dict[str, dict[str, Any]] = {
    "overlap": {
        "type": "string",
        "enum": ["allow", "skip", "queue_one"],
        "description": "What a fire time does while an earlier run is not over.",
    },
    "misfire": {
        "type": "string",
        "enum": ["latest", "skip", "all"],
        "description": "Which fire times that nobody could fire are made up for.",
    },
    "catchup_window": {
        "type": "integer",
        "minimum": 10,
        "maximum": MAX_WINDOW,
        "description": "Seconds by which a fire time may be late and still run.",
    },
    "spread": {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "description": "Seconds over which fire times of tasks are spread; less than "
        "frequency.",
    },
    "dst": _DST
    | {"description": "With cron: what a fixed time does when clocks change."},
    "expected_status": _STATUSES
    | {"description": "The statuses that are success; any below 400 without it."},
    "retry": _RETRY | {"description": "Which failures are tried again, and when."},
    "long_work": {
        "type": "object",
        "required": ["deadline"],
        "properties": {
            "deadline": {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE}
        },
        "description": "An answer of 202 leaves the run open until the target says "
        "that it is done; the deadline is in seconds.",
    },
    "pause_after_failures": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_STREAK,
        "description": "So many failed runs in a row pause the task.",
    },
    "timeout_seconds": {"type": "integer", "minimum": 1},
    "content_type": {
        "type": "string",
        "maxLength": 200,
        "description": "The media type of the body; application/json without it.",
    },
}
# Any JSON value.
_BODY: dict[str, dict[str, Any]] = {
    "body": {
        "description": "In the place of post_data: any JSON value but null, or with a "
        "content_type the text that is sent, or the fields of a form.",
    },
}
_REQUEST_IN: dict[str, dict[str, Any]] = {
    "method": {
        "type": "string",
        "description": f"{', '.join(METHODS)}, in any case; POST without it.",
    },
    "headers": {
        "type": "object",
        "maxProperties": MAX_HEADERS,
        "additionalProperties": schema.TEXT,
        "description": "Headers of the request. Their values are not shown again.",
    },
}
_NESTED_IN = {
    name: _COMMON[name] | {"properties": schema.optional(_COMMON[name]["properties"])}
    for name in ("retry", "dst")
}
FIELDS_IN = _BODY | schema.optional(_COMMON | _REQUEST_IN | _NESTED_IN)
FIELDS_OUT: dict[str, dict[str, Any]] = (
    _COMMON
    | _BODY
    | {
        "method": {"type": "string", "enum": list(METHODS)},
        "headers": {
            "type": "object",
            "additionalProperties": {"type": "string", "enum": [REDACTED]},
        },
    }
)
EXAMPLE = {
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
