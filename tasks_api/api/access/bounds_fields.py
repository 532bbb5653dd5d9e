"""The field `bounds` of a token, and what is known of it in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks_api.api.openapi import count, optional, text
from tasks_api.domain import bound_fields
from tasks_api.domain.bound_fields import MAX_ENTRIES, MAX_RUNS_PER_DAY
from tasks_api.domain.bounds import Bounds


def _list(description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": MAX_ENTRIES,
        "description": description,
    }


def _amount(description: str, **more: Any) -> dict[str, Any]:
    return count(description, minimum=1, **more)


PROPERTIES = {
    "hosts": _list(
        "The hosts that may be called, with a port unless it is 80 for http or 443 for "
        "https."
    ),
    "paths": _list(
        "The paths that may be called, with all below each. A path with a dot segment "
        "is below none."
    ),
    "methods": _list("The methods that requests may have."),
    "tags": _list("The tags that each task gets, beside its own."),
    "runs_per_day": _amount(
        "The requests that start in any 24 hours, attempts and manual runs included. "
        "What is beyond waits.",
        maximum=MAX_RUNS_PER_DAY,
    ),
    "horizon": _amount(
        "The seconds from a write within which all fire times of the task lie."
    ),
    "renew_within": _amount(
        "The seconds after which all tasks that were made with the token end, unless "
        "somebody renews it before."
    ),
    "tasks": _amount("The living tasks at a time."),
    "requests_per_minute": _amount("The requests to this API in a minute."),
    "payload_bytes": _amount("The bytes of a task's body."),
}
BOUNDS = {
    "type": "object",
    "additionalProperties": False,
    "properties": optional(PROPERTIES),
    "description": "What the token can do at most, and the tasks that it makes. Without "
    "this field it has the bounds of the calling token, if that has some.",
}
RENEW_BY = text(
    "When the tasks that were made with the token end, unless it is renewed before.",
    format="date-time",
)
EXAMPLE = {
    "hosts": ["api.example.com"],
    "paths": ["/hooks/"],
    "methods": ["POST"],
    "runs_per_day": 100,
    "renew_within": 604800,
}


def read_bounds(data: Mapping[str, Any]) -> Bounds | None:
    """The bounds of a new token; None: it asks for none. Raises InvalidTask."""
    value = data.get("bounds")
    return None if value is None else bound_fields.read_bounds(value)
