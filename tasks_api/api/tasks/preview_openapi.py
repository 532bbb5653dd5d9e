"""The operations and fields of fire times in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
)

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.admission_fields import VERDICTS_OUT
from tasks_api.api.tasks.openapi_common import FAILURE, NOT_FOUND, TASK_ID, UNAUTHORIZED
from tasks_api.api.tasks.openapi_fields import task_in
from tasks_api.domain.fire_times import ClockChange

_PREVIEWED: dict[str, Any] = {
    "task_type": "periodic",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "url": "https://example.com/hook",
}
_COUNT = {
    "type": "integer",
    "minimum": 1,
    "maximum": 1000,
    "description": "How many fire times to return: 20 if absent.",
}
_FROM = openapi.text(
    "The beginning of the preview: an ISO 8601 date and time, in UTC without an "
    "offset; now if absent."
)
_COPIES = {
    "type": "integer",
    "minimum": 1,
    "maximum": 10_000,
    "description": "How many such tasks the lane is asked about: 1 if absent.",
}
PREVIEW_IN = task_in(
    **openapi.optional({"n": _COUNT, "from": _FROM, "copies": _COPIES})
)


def _calendar(description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": ["calendar", "version"],
        "properties": {
            "calendar": openapi.text("The name of the calendar."),
            "version": openapi.count("The version that counts."),
        },
    }


FIRE_TIME_OUT = {
    "type": "object",
    "required": ["at", "local", "dst"],
    "properties": {
        "at": openapi.text(
            "The instant at which the task fires, in UTC; null for one that is dropped or "
            "left out.",
            nullable=True,
        ),
        "local": openapi.text("The same instant in local time of the time zone."),
        "dst": openapi.text(
            "How a clock change affects the fire time: `moved` to the end of the gap, "
            "`dropped` because the time does not exist, `doubled` because the time "
            "occurs twice and fires twice, or `once` because it occurs twice and "
            "fires once; null if it does not.",
            nullable=True,
            enum=[*[mark.value for mark in ClockChange], None],
        ),
        "grid": openapi.text(
            "With a spread: the time in UTC before the task was moved by its offset."
        ),
        "wall": openapi.text(
            "The scheduled local time, which does not exist that day."
        ),
        "pass": {
            "type": "integer",
            "enum": [1, 2],
            "description": "Which occurrence it is, if the local time occurs twice.",
        },
        "moved_from": openapi.text(
            "The time in UTC that the schedule has, if a calendar moved it."
        ),
        "moved_by": _calendar("The calendar that moved it."),
        "excluded_by": _calendar(
            "The calendar that left it out; `at` is then null. Of fire times that move to "
            "the same moment, all but one are left out."
        ),
    },
}
FIRE_TIMES_OUT: dict[str, Any] = {
    "type": "object",
    "required": ["timezone", "paused", "fire_times"],
    "properties": {
        "timezone": openapi.text("The time zone of the task, in which `local` is."),
        "paused": {
            "type": "boolean",
            "description": "Whether the task is paused and will not fire until resumed.",
        },
        "fire_times": {
            "type": "array",
            "description": "The fire times in order, dropped and left out ones in their place.",
            "items": FIRE_TIME_OUT,
        },
    },
}
PREVIEW_OUT = {
    **FIRE_TIMES_OUT,
    "properties": {**FIRE_TIMES_OUT["properties"], "admission": VERDICTS_OUT},
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


_BAD = openapi.error_response(
    "Invalid value of n. Value should be a whole number from 1 to 1000"
)
_FOUND = openapi.response(FIRE_TIMES_OUT, _ANSWER, "The fire times, in order.")

next_fire_times = openapi.operation(
    product=Product.TASKS,
    operation_id="next_fire_times",
    summary="Get the coming fire times of a task",
    description="Returns when a task fires next, in UTC and by the clock of its time "
    "zone, and how clock changes affect it. For a paused task, these are "
    "the fire times that it would have if you resumed it now.",
    parameters=[
        TASK_ID,
        OpenApiParameter(
            "n",
            OpenApiTypes.INT,
            description="How many fire times to return: 20 if absent, up to 1000.",
        ),
    ],
    responses={
        200: _FOUND,
        400: _BAD,
        401: openapi.error_response(UNAUTHORIZED),
        404: openapi.error_response(NOT_FOUND),
        500: openapi.error_response(FAILURE),
    },
)
preview_task = openapi.operation(
    product=Product.TASKS,
    operation_id="preview_task",
    summary="Preview the fire times of a task",
    description="Checks the body like creating a task does, and returns when the task "
    "would fire, without storing it. Use it to see what a cron expression "
    "means, also when clocks change. If the task enters a lane with a rate, `admission` says "
    "whether it fits.",
    request=openapi.json_body(PREVIEW_IN),
    examples=[
        OpenApiExample("over a change of the clock", _PREVIEWED, request_only=True)
    ],
    responses={
        200: openapi.response(PREVIEW_OUT, _ANSWER, "The fire times, in order."),
        400: _BAD,
        401: openapi.error_response(UNAUTHORIZED),
        413: openapi.error_response(openapi.TOO_LARGE),
        500: openapi.error_response(FAILURE),
    },
)
