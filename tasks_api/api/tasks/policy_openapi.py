"""The policies and request options of the tasks surface as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from tasks_api.api import openapi
from tasks_api.api.tasks.policy_fields import MAX_ATTEMPTS, MAX_STREAK, MAX_WINDOW
from tasks_api.api.tasks.request_fields import (
    MAX_DEADLINE,
    MAX_HEADERS,
    METHODS,
    REDACTED,
)

_STATUSES = {
    "type": "string",
    "description": "Statuses and ranges of them, such as `200-299,404`.",
    "pattern": "^[1-9][0-9]{2}(-[1-9][0-9]{2})?(,[1-9][0-9]{2}(-[1-9][0-9]{2})?)*$",
    "maxLength": 200,
}


def _delay(description: str, *, minimum: int = 1) -> dict[str, Any]:
    return {
        "type": "number",
        "minimum": minimum,
        "maximum": 604_800,
        "description": description,
    }


_RETRY = {
    "type": "object",
    "properties": {
        "max_attempts": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_ATTEMPTS,
            "description": "How many requests a run makes at most, the first one included.",
        },
        "min_delay": _delay("Seconds between two attempts at least."),
        "max_delay": _delay("Seconds between two attempts at most."),
        "max_age": _delay(
            "Seconds after its fire time at which a run is given up.", minimum=60
        ),
        "statuses": _STATUSES
        | {"description": "The statuses that are tried again, such as `429,500-599`."},
    },
}
_DST = {
    "type": "object",
    "properties": {
        "gap": openapi.text(
            "What a local time that does not exist that day does: it fires when the gap is "
            "over, or it is skipped.",
            enum=["next_valid", "skip"],
        ),
        "overlap": openapi.text(
            "What a local time that exists twice that day does: it fires the first time, or "
            "both times.",
            enum=["first", "both"],
        ),
    },
}
_COMMON: dict[str, dict[str, Any]] = {
    "overlap": {
        "type": "string",
        "enum": ["allow", "skip", "queue_one"],
        "description": "What a fire time does while an earlier run is not over: run beside it, be "
        "skipped, or wait in line.",
    },
    "misfire": {
        "type": "string",
        "enum": ["latest", "skip", "all"],
        "description": "Which fire times are made up for that passed while the service was down: "
        "the latest one, none, or all of them.",
    },
    "catchup_window": {
        "type": "integer",
        "minimum": 10,
        "maximum": MAX_WINDOW,
        "description": "Seconds by which a run may be late; one that is later is recorded as missed.",
    },
    "spread": {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "description": "Seconds over which the runs of tasks with the same schedule are spread; "
        "less than `frequency`.",
    },
    "dst": _DST
    | {"description": "For cron: what a fixed time does when clocks change."},
    "expected_status": _STATUSES
    | {
        "description": "The statuses that count as success, such as `200-299`; any below 400 if "
        "absent."
    },
    "retry": _RETRY
    | {"description": "Which failures are tried again, how often and when."},
    "long_work": {
        "type": "object",
        "required": ["deadline"],
        "properties": {
            "deadline": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_DEADLINE,
                "description": "Seconds until the target has to complete the run or send a "
                "heartbeat.",
            }
        },
        "description": "For targets that answer 202 and report later how the work went. The "
        "run stays open until then.",
    },
    "pause_after_failures": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_STREAK,
        "description": "How many failed runs in a row pause the task; never if absent.",
    },
    "timeout_seconds": {
        "type": "integer",
        "minimum": 1,
        "description": "Seconds that a request may take, from the connection to the end of the "
        "answer.",
    },
    "content_type": {
        "type": "string",
        "maxLength": 200,
        "description": "The media type of the body; `application/json` if absent.",
    },
}
# Any JSON value.
_BODY: dict[str, dict[str, Any]] = {
    "body": {
        "description": "The body of the request, in the place of `post_data`: any JSON value but "
        "null; with a `content_type`, the text that is sent or the fields of a form.",
    },
}
_REQUEST_IN: dict[str, dict[str, Any]] = {
    "method": {
        "type": "string",
        "description": f"{', '.join(METHODS)}, in any case; POST if absent.",
    },
    "headers": {
        "type": "object",
        "maxProperties": MAX_HEADERS,
        "additionalProperties": openapi.TEXT,
        "description": "Headers of the request. Their values are stored encrypted and not shown "
        "again.",
    },
}
_NESTED_IN = {
    name: _COMMON[name] | {"properties": openapi.optional(_COMMON[name]["properties"])}
    for name in ("retry", "dst")
}
FIELDS_IN = _BODY | openapi.optional(_COMMON | _REQUEST_IN | _NESTED_IN)
FIELDS_OUT: dict[str, dict[str, Any]] = (
    _COMMON
    | _BODY
    | {
        "method": openapi.text("The method of the request.", enum=list(METHODS)),
        "headers": {
            "type": "object",
            "description": "The names of the headers; their values are not shown.",
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
