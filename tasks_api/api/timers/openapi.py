"""The operations of timers in the OpenAPI document, with the examples of their format."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_api.api import openapi
from tasks_api.api.products import Product

TIMER_ID = "cknjdu2k300153zugmucamxxo"
_ID = openapi.text("The id of the timer, to cancel it by.", pattern="^c[a-z0-9]{24}$")
TIMER_IN = {
    "type": "object",
    "required": ["timestamp"],
    "properties": {
        "timestamp": openapi.text(
            "When to deliver: an ISO 8601 date and time. Without an offset it is in UTC; one "
            "that has passed is delivered at once."
        ),
        "body": {"description": "The message: any JSON value, delivered unchanged."},
    },
}
CRONS_IN = {
    "type": "object",
    "required": ["jobs"],
    "properties": {
        "jobs": {
            "type": "array",
            "description": "All crons of the tenant; an empty list removes them.",
            "items": {
                "type": "object",
                "required": ["id", "spec"],
                "properties": {
                    "id": openapi.NAME
                    | {"description": "Your name for the cron, once in the list."},
                    "spec": openapi.CRON,
                },
            },
        }
    },
}


def _errors(example: str) -> dict[Any, Any]:
    return openapi.text_errors(
        _400=example,
        _401="Unauthorized",
        _413=openapi.TOO_LARGE,
        _500="Internal error",
        _503=openapi.STORAGE_OUTAGE,
    )


insert_timer = openapi.operation(
    product=Product.TIMERS,
    is_strict=False,
    operation_id="insert_timer",
    summary="Schedule a timer",
    description="Stores a message, which the service posts to your tenant's callback "
    "URL at the given time, or at once if that has passed. The response "
    "has the id that cancels it. An invalid body, or a tenant without a "
    "callback URL, results in 400, and a wrong secret in 401. 503 means "
    "that the storage is unavailable: send the request again.",
    parameters=openapi.IDEMPOTENCY,
    request=openapi.json_body(TIMER_IN),
    examples=[
        OpenApiExample(
            "a timer",
            {"timestamp": "2021-04-15T14:17:00-07:00", "body": {"foo": "bar"}},
            request_only=True,
        )
    ],
    responses={
        200: openapi.response(
            {"type": "object", "required": ["id"], "properties": {"id": _ID}},
            {"id": TIMER_ID},
            "The timer is stored.",
        ),
        **openapi.text_errors(_409=openapi.KEY_IN_USE, _422=openapi.KEY_REUSED),
        **_errors("Missing key: timestamp"),
    },
)
delete_timer = openapi.operation(
    product=Product.TIMERS,
    is_strict=False,
    operation_id="delete_timer",
    summary="Cancel a timer",
    description="Cancels a message that was not delivered yet. The response is 200 "
    "without a body, also if the timer does not exist any more, so the "
    "request is safe to repeat.",
    request=openapi.json_body(
        {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": openapi.text("The id in the response that stored the timer.")
            },
        }
    ),
    examples=[OpenApiExample("a timer", {"id": TIMER_ID}, request_only=True)],
    responses={
        200: openapi.no_content("There is no such timer now."),
        **_errors("Missing key: id"),
    },
)
replace_crons = openapi.operation(
    product=Product.TIMERS,
    is_strict=False,
    operation_id="replace_crons",
    summary="Replace the set of crons",
    description="Replaces all crons of your tenant: new ones start, missing ones end, "
    "and unchanged ones continue undisturbed. Send the whole set whenever "
    "your program starts. One invalid or repeated entry results in 400, "
    "and the old set stays.",
    request=openapi.json_body(CRONS_IN),
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
        200: openapi.no_content("These are the crons now."),
        **_errors("Duplicate id: jobs[1].id"),
    },
)
