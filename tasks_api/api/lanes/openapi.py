"""The operations on lanes in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from tasks_api.api import openapi
from tasks_api.api.openapi import DATETIME_IN, count, optional, text
from tasks_api.api.products import Product
from tasks_api.api.tenant_openapi import (
    BAD_LIMIT,
    MESSAGE,
    PAGING,
    TOO_LARGE,
    closed,
    describer,
    page_of,
    with_body,
)
from tasks_api.domain.lane_limits import (
    DEFAULT_BREAKER_FOR,
    MAX_BREAKER_AFTER,
    MAX_BREAKER_FOR,
    MAX_CONCURRENCY,
    MAX_HOST_LENGTH,
    MAX_RATE,
    NAME,
)
from tasks_api.domain.lanes import PERIODS
from tasks_api.domain.states import BreakerState


def _number(description: str, maximum: int) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": maximum,
        "description": description,
    }


def _moment(description: str) -> dict[str, Any]:
    return text(description, format="date-time")


_NAME = text(
    "The name of the lane, by which tasks name it.", pattern=f"^{NAME.pattern}$"
)
_HOST = text(
    "The host, with its port if URLs name one. Every task of the tenant with this target "
    "host belongs to the lane, unless it names another one.",
    maxLength=MAX_HOST_LENGTH,
)
_RATE = {
    "type": "object",
    "description": "How fast requests start. No window of the period, wherever it begins, "
    "has more starts than the limit.",
    "required": ["limit"],
    "properties": {
        "limit": _number("The maximum number of starts in a period.", MAX_RATE),
        **optional(
            {
                "per": text(
                    "The period: `second` if absent.",
                    enum=sorted(PERIODS, reverse=True),
                ),
                "burst": _number(
                    "How many requests may start at once, at most `limit`: 1 if absent. "
                    "The steady rate is lower by as much.",
                    MAX_RATE,
                ),
            }
        ),
    },
}
_CONCURRENCY = _number(
    "The maximum number of requests that are under way at once.", MAX_CONCURRENCY
)
_BREAKER = {
    "type": "object",
    "description": "When failures stop the lane for a while. Then a single request, the "
    "probe, finds out whether the target is well again.",
    "required": ["after"],
    "properties": {
        "after": _number(
            "The number of failures in a row that stop the lane.", MAX_BREAKER_AFTER
        ),
        **optional(
            {
                "for": _number(
                    "The number of seconds until the probe: "
                    f"{DEFAULT_BREAKER_FOR} if absent.",
                    MAX_BREAKER_FOR,
                )
            }
        ),
    },
}
_LIMITS = optional(
    {
        "host": _HOST,
        "rate": _RATE,
        "concurrency": _CONCURRENCY,
        "breaker": _BREAKER,
    }
)
LANE_IN = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _NAME, **_LIMITS},
}
LANE_CHANGE_IN = {"type": "object", "properties": _LIMITS}
_STATE = closed(
    waiting=count(
        "The number of runs that wait in the lane, with those to be retried."
    ),
    running=count("The number of requests that are under way."),
    next_slot_at=_moment("When the next run may start; null if nobody knows.")
    | {"nullable": True},
    paused={"type": "boolean", "description": "Whether a user paused the lane."},
    reason=text("Why the lane is paused.", nullable=True),
    until=_moment("When a paused lane resumes by itself.") | {"nullable": True},
    rate_share={
        "type": "number",
        "description": "The part of the rate in use: less than 1 after the target "
        "answered 429 or 503.",
    },
    held_until=_moment("Until when the target asked for no request (Retry-After).")
    | {"nullable": True},
    breaker=text(
        "Whether the breaker lets requests start: `half_open` while a probe is under way.",
        enum=[state.value for state in BreakerState],
    ),
    breaker_until=_moment("When the next probe may start.") | {"nullable": True},
)
LANE_OUT = closed(
    name=_NAME,
    **_LIMITS,
    created_at=_moment("When the lane was made."),
    state={**_STATE, "description": "What the lane does now."},
)
LANE = {
    "name": "crm",
    "host": "api.example.com",
    "rate": {"limit": 20, "per": "second", "burst": 1},
    "concurrency": 5,
    "breaker": {"after": 10, "for": 30},
    "created_at": "2026-12-01T09:00:00.000Z",
    "state": {
        "waiting": 380,
        "running": 5,
        "next_slot_at": "2026-12-01T09:30:00.050Z",
        "paused": False,
        "reason": None,
        "until": None,
        "rate_share": 1.0,
        "held_until": None,
        "breaker": "closed",
        "breaker_until": None,
    },
}
HOLD_IN = {
    "type": "object",
    "properties": optional(
        {
            "reason": text("Why nobody should start requests.", maxLength=1000),
            "until": DATETIME_IN
            | {"description": "When the lane resumes by itself; never if absent."},
        }
    ),
}

NO_LANE = openapi.error_response("Lane not found")
_PATH = [openapi.path_parameter("lane", "The name of the lane.")]
_describe = describer(Product.LANES)

list_lanes = _describe(
    "list_lanes",
    "List the lanes",
    "Returns the lanes of your tenant with their present states, the newest first.",
    {
        200: openapi.response(
            page_of("lanes", LANE_OUT, "The lanes."),
            {"lanes": [LANE], "next_cursor": None},
            "Lanes, the newest first.",
        ),
        400: BAD_LIMIT,
    },
    parameters=PAGING,
)
create_lane = _describe(
    "create_lane",
    "Create a lane",
    "Creates a lane for tasks that name it, or that have its host. A lane without limits "
    "may still be paused. This needs an administrator's token of scope admin. A name or "
    "host that is taken results in 409.",
    {
        201: openapi.response(LANE_OUT, LANE, "The lane."),
        400: openapi.error_response("Missing key: rate.limit"),
        409: openapi.error_response("There is a lane with the name crm already"),
        413: TOO_LARGE,
    },
    parameters=[
        openapi.response_header("Location", 201, "The path of the new lane."),
    ],
    **with_body(
        LANE_IN,
        {
            name: LANE[name]
            for name in ("name", "host", "rate", "concurrency", "breaker")
        },
        answered=LANE_OUT,
    ),
)
get_lane = _describe(
    "get_lane",
    "Get a lane",
    "Returns a lane of your tenant with its present state. An unknown name results in 404.",
    {200: openapi.response(LANE_OUT, LANE, "The lane."), 404: NO_LANE},
    parameters=_PATH,
)
change_lane = _describe(
    "change_lane",
    "Change a lane",
    "Changes the given limits of a lane; null takes one away. New limits hold for each "
    "window that begins two seconds later. The name stays.",
    {
        200: openapi.response(LANE_OUT, LANE, "The lane as it is now."),
        400: openapi.error_response("Missing key: rate.limit"),
        404: NO_LANE,
        409: openapi.error_response(
            "There is a lane with the host api.example.com already"
        ),
        413: TOO_LARGE,
    },
    parameters=_PATH,
    **with_body(
        LANE_CHANGE_IN, {"rate": {"limit": 5, "per": "minute"}}, answered=LANE_OUT
    ),
)
remove_lane = _describe(
    "remove_lane",
    "Remove a lane",
    "Removes a lane that no task belongs to. While tasks do, the result is 409. To take "
    "the tasks of a host out of the lane, set its host to null first.",
    {
        200: openapi.response(
            MESSAGE,
            {"message": "Lane has been removed successfully"},
            "The lane is gone.",
        ),
        404: NO_LANE,
        409: openapi.error_response("380 tasks belong to this lane"),
    },
    parameters=_PATH,
)
pause_lane = _describe(
    "pause_lane",
    "Pause a lane",
    "Lets no request of the lane start. Fire times make runs that wait until the lane "
    "resumes, at `until` or by hand. Requests that are under way finish.",
    {
        200: openapi.response(LANE_OUT, LANE, "The lane as it is now."),
        400: openapi.error_response("until should be in the future"),
        404: NO_LANE,
        413: TOO_LARGE,
    },
    parameters=_PATH,
    **with_body(HOLD_IN, {"reason": "the CRM moves", "until": "2026-12-07T06:00:00Z"}),
)
resume_lane = _describe(
    "resume_lane",
    "Resume a lane",
    "Lets the runs that wait start, in their order and at the pace of the lane.",
    {200: openapi.response(LANE_OUT, LANE, "The lane as it is now."), 404: NO_LANE},
    parameters=_PATH,
)
