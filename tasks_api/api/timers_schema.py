"""The timers surface as OpenAPI tells it, with the examples of its document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import schema

TIMER_ID = "cknjdu2k300153zugmucamxxo"
_ID = {"type": "string", "pattern": "^c[a-z0-9]{24}$"}
TIMER_IN = {
    "type": "object",
    "required": ["timestamp"],
    "properties": {
        "timestamp": schema.MOMENT_IN,
        "body": {"description": "Any JSON; delivered unchanged."},
    },
}
CRONS_IN = {
    "type": "object",
    "required": ["jobs"],
    "properties": {
        "jobs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "spec"],
                "properties": {"id": schema.NAME, "spec": schema.CRON},
            },
        }
    },
}


def _errors(example: str) -> dict[Any, Any]:
    return schema.sentences(
        _400=example,
        _401="Unauthorized",
        _413=schema.TOO_LARGE,
        _500="Internal error",
        _503=schema.OUTAGE,
    )


insert_timer = schema.operation(
    is_strict=False,
    operation_id="insert_timer",
    summary="Schedule a timer",
    description="What is past is delivered at once.",
    parameters=schema.IDEMPOTENCY,
    request=schema.body(TIMER_IN),
    examples=[
        OpenApiExample(
            "a timer",
            {"timestamp": "2021-04-15T14:17:00-07:00", "body": {"foo": "bar"}},
            request_only=True,
        )
    ],
    responses={
        200: schema.answer(
            {"type": "object", "required": ["id"], "properties": {"id": _ID}},
            {"id": TIMER_ID},
            "The timer is stored.",
        ),
        **schema.sentences(_409=schema.KEY_IN_USE, _422=schema.KEY_REUSED),
        **_errors("Missing key: timestamp"),
    },
)
delete_timer = schema.operation(
    is_strict=False,
    operation_id="delete_timer",
    summary="Cancel a timer",
    description="Nothing happens if there is none.",
    request=schema.body(
        {"type": "object", "required": ["id"], "properties": {"id": schema.TEXT}}
    ),
    examples=[OpenApiExample("a timer", {"id": TIMER_ID}, request_only=True)],
    responses={
        200: schema.nothing("There is no such timer now."),
        **_errors("Missing key: id"),
    },
)
replace_crons = schema.operation(
    is_strict=False,
    operation_id="replace_crons",
    summary="Replace the set of crons",
    description="All of them, or none. Those that stay as they are keep their place.",
    request=schema.body(CRONS_IN),
    examples=[
        OpenApiExample(
            "two crons",
            {
                "jobs": [
                    {"id": "hello_world", "spec": "30 * * * * *"},
                    {"id": "hello_world_2", "spec": "0 * * * * *"},
                ]
            },
            request_only=True,
        )
    ],
    responses={
        200: schema.nothing("These are the crons now."),
        **_errors("Duplicate id: jobs[1].id"),
    },
)
