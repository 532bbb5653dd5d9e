"""Coming fire times as OpenAPI tells them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
)

from tasks_api.api import schema
from tasks_api.api.tasks.schema import (
    FAILURE,
    NOT_FOUND,
    UNAUTHORIZED,
    task_in,
)
from tasks_api.coming import Dst

_PREVIEWED: dict[str, Any] = {
    "task_type": "periodic",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "url": "https://example.com/hook",
}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 1000}
PREVIEW_IN = task_in(
    **schema.optional(
        {"n": _COUNT, "from": schema.MOMENT_IN | {"title": "now if absent"}}
    )
)
COMING_OUT = {
    "type": "object",
    "required": ["at", "local", "dst"],
    "properties": {
        "at": {
            "type": "string",
            "nullable": True,
            "description": "In UTC; null for one that is dropped.",
        },
        "local": {
            "type": "string",
            "description": "As the clock of the time zone shows it.",
        },
        "dst": {
            "type": "string",
            "nullable": True,
            "enum": [*[mark.value for mark in Dst], None],
        },
        "grid": {
            "type": "string",
            "description": "In UTC; with a spread, the time from which it is put off.",
        },
        "wall": {
            "type": "string",
            "description": "The local time that was asked for and does not exist.",
        },
        "pass": {
            "type": "integer",
            "enum": [1, 2],
            "description": "Which of two, where the clock shows the time twice.",
        },
    },
}
FIRE_TIMES_OUT = {
    "type": "object",
    "required": ["timezone", "paused", "fire_times"],
    "properties": {
        "timezone": schema.TEXT,
        "paused": {"type": "boolean"},
        "fire_times": {"type": "array", "items": COMING_OUT},
    },
}
_ANSWER: dict[str, Any] = {
    "timezone": "Europe/Berlin",
    "paused": False,
    "fire_times": [
        {
            "at": "2027-03-27T01:30:00Z",
            "local": "2027-03-27T02:30:00+01:00",
            "dst": None,
        },
        {
            "at": "2027-03-28T01:00:00Z",
            "local": "2027-03-28T03:00:00+02:00",
            "dst": "moved",
            "wall": "2027-03-28T02:30:00",
        },
    ],
}


_BAD = schema.error("Invalid value of n. Value should be a whole number from 1 to 1000")
_FOUND = schema.answer(FIRE_TIMES_OUT, _ANSWER, "The fire times, in order.")

next_fire_times = schema.operation(
    operation_id="next_fire_times",
    summary="Get the coming fire times of a task",
    description="Of a paused task, as they would come if it was resumed now.",
    parameters=[
        OpenApiParameter("n", OpenApiTypes.INT, description="20, and at most 1000.")
    ],
    responses={
        200: _FOUND,
        400: _BAD,
        401: schema.error(UNAUTHORIZED),
        404: schema.error(NOT_FOUND),
        500: schema.error(FAILURE),
    },
)
preview_task = schema.operation(
    operation_id="preview_task",
    summary="Get the coming fire times of a task that is not stored",
    request=schema.body(PREVIEW_IN),
    examples=[
        OpenApiExample("over a change of the clock", _PREVIEWED, request_only=True)
    ],
    responses={
        200: _FOUND,
        400: _BAD,
        401: schema.error(UNAUTHORIZED),
        413: schema.error(schema.TOO_LARGE),
        500: schema.error(FAILURE),
    },
)
