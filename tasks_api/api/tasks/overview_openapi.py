"""The operations on many tasks at once in the OpenAPI document: stats, forecast, account."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, UNAUTHORIZED
from tasks_api.domain.states import FINAL_STATES, UNDELIVERED_STATES, RunState
from tasks_api.services.account import FireTimeOutcome

_OTHERS = (
    "Covers your own tasks; with an administrator's token of scope `admin`, all tasks "
    "of the tenant."
)


def _failures(message: str) -> dict[Any, Any]:
    return {
        400: openapi.error_response(message),
        401: openapi.error_response(UNAUTHORIZED),
        500: openapi.error_response(FAILURE),
    }


def _moment(name: str, text: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, description=text)


_HOURS = [
    _moment(
        "from",
        "Only fire times at this moment or later, in ISO 8601, rounded down to the hour.",
    ),
    _moment("to", "Only fire times before this moment, rounded up to the hour."),
]
_SINCE = openapi.text("The beginning, in UTC.")
_UNTIL = openapi.text("The end, in UTC, which is not included.")
_MILLISECONDS = {"type": "number", "nullable": True}
_TALLY: dict[str, Any] = {
    **{
        state.value: openapi.count(f"How many runs are {state.value}.")
        for state in RunState
        if state in FINAL_STATES
    },
    "unfinished": openapi.count("How many runs are not over."),
    "late_p50_ms": {
        **_MILLISECONDS,
        "description": "Half of the requests began at most so many milliseconds after "
        "their fire times; null without requests.",
    },
    "late_p99_ms": {
        **_MILLISECONDS,
        "description": "The same of 99 of 100 requests.",
    },
}
STATS_OUT = {
    "type": "object",
    "required": ["from", "to", *_TALLY, "hours", "reasons"],
    "properties": {
        "from": _SINCE,
        "to": _UNTIL,
        **_TALLY,
        "hours": {
            "type": "array",
            "description": "The hours with runs, in order.",
            "items": {
                "type": "object",
                "required": ["hour", *_TALLY],
                "properties": {
                    "hour": openapi.text("The beginning of the hour."),
                    **_TALLY,
                },
            },
        },
        "reasons": {
            "type": "array",
            "description": "Why runs were not delivered, the most frequent reasons "
            "first, at most 100.",
            "items": {
                "type": "object",
                "required": ["state", "reason", "runs"],
                "properties": {
                    "state": openapi.text(
                        "The state of the runs.",
                        enum=sorted(state.value for state in UNDELIVERED_STATES),
                    ),
                    "reason": openapi.text(
                        "The beginning of their reason, which they share."
                    ),
                    "runs": openapi.count("How many runs have it."),
                },
            },
        },
    },
}
_SHOWN_TALLY: dict[str, Any] = {
    "succeeded": 1180,
    "failed": 12,
    "skipped": 0,
    "missed": 0,
    "cancelled": 1,
    "unfinished": 7,
    "late_p50_ms": 15.863,
    "late_p99_ms": 83.53,
}
_STATS: dict[str, Any] = {
    "from": "2026-11-20T00:00:00Z",
    "to": "2026-11-20T01:00:00Z",
    **{name: _SHOWN_TALLY[name] for name in _TALLY},
    "hours": [{"hour": "2026-11-20T00:00:00Z", **_SHOWN_TALLY}],
    "reasons": [{"state": "failed", "reason": "HTTP 503", "runs": 12}],
}

_OUTCOMES = {
    outcome.value: openapi.count(
        f"How many fire times are {outcome.value.replace('_', ' ')}."
    )
    for outcome in FireTimeOutcome
}
TENANT_ACCOUNT_OUT = {
    "type": "object",
    "required": [
        *["from", "to", "planned", *_OUTCOMES],
        *["manual", "balance", "differences"],
    ],
    "properties": {
        "from": _SINCE,
        "to": openapi.text("The end of the last hour that is closed, in UTC."),
        "planned": openapi.count("How many fire times the schedules had."),
        **_OUTCOMES,
        "manual": openapi.count("How many runs users asked for, in addition."),
        "balance": {
            "type": "integer",
            "description": "The planned fire times minus the outcomes: 0 if nothing "
            "was lost.",
        },
        "differences": {
            "type": "array",
            "description": "The hours whose balance is not 0, the first 100.",
            "items": {
                "type": "object",
                "required": ["hour", "balance"],
                "properties": {
                    "hour": openapi.text("The beginning of the hour."),
                    "balance": {
                        "type": "integer",
                        "description": "The balance of the hour.",
                    },
                },
            },
        },
    },
}
_ACCOUNT: dict[str, Any] = {
    "from": "2026-11-20T00:00:00Z",
    "to": "2026-11-21T00:00:00Z",
    "planned": 28800,
    "delivered": 28761,
    "failed": 30,
    "skipped": 0,
    "missed": 2,
    "cancelled": 4,
    "under_way": 3,
    "manual": 12,
    "balance": 0,
    "differences": [],
}

COUNTS = {
    "total": openapi.count("How many fire times there are."),
    "counts": {
        "type": "array",
        "description": "How many there are in each bucket.",
        "items": {"type": "integer"},
    },
    "paused_total": openapi.count(
        "How many fire times paused tasks would have if you resumed them now."
    ),
    "paused_counts": {
        "type": "array",
        "description": "How many of those there are in each bucket.",
        "items": {"type": "integer"},
    },
}
FORECAST_OUT = {
    "type": "object",
    "required": ["from", "to", "bucket", *COUNTS],
    "properties": {
        "from": openapi.text("The beginning of the first bucket, in UTC."),
        "to": openapi.text("The end of the last bucket, in UTC."),
        "bucket": openapi.count("The seconds of a bucket."),
        **COUNTS,
        "series": {
            "type": "array",
            "description": "With `by`: the same for each task, tag, host or lane, the one with "
            "the most fire times first, at most 100.",
            "items": {
                "type": "object",
                "required": list(COUNTS),
                "properties": {
                    "task": openapi.text("The id of the task."),
                    "tag": openapi.text("The tag."),
                    "host": openapi.text(
                        "The host and port of the URL; empty for tasks without a URL."
                    ),
                    "lane": openapi.text(
                        "The lane; tasks without one are in no series."
                    ),
                    **COUNTS,
                },
            },
        },
        "omitted": openapi.count("With `by`: how many more have fire times."),
    },
}
COUNTED = {
    "total": 5,
    "counts": [2, 3],
    "paused_total": 1,
    "paused_counts": [0, 1],
}
_FORECAST: dict[str, Any] = {
    "from": "2026-11-21T00:00:00Z",
    "to": "2026-11-21T02:00:00Z",
    "bucket": 3600,
    **COUNTED,
    "series": [{"host": "example.com", **COUNTED}],
    "omitted": 0,
}

RANGE_PARAMETERS = [
    _moment("from", "The beginning of the first bucket, in ISO 8601; now if absent."),
    _moment(
        "to",
        "The end, rounded up to whole buckets; a day after the beginning if absent.",
    ),
]
BUCKET_PARAMETER = OpenApiParameter(
    "bucket",
    OpenApiTypes.INT,
    description="The seconds of a bucket, from 60 to 86400: 3600 if absent.",
)

get_stats = openapi.operation(
    product=Product.RUNS,
    operation_id="get_stats",
    summary="Count runs by hour",
    description="Counts the runs of each hour by state, with how late requests began and "
    f"why runs were not delivered. {_OTHERS} Without `from` and `to`, it covers the last "
    "day. A range has at most 92 days.",
    parameters=_HOURS,
    responses={
        200: openapi.response(STATS_OUT, _STATS, "The counts."),
        **_failures("from should be at most 92 days before to"),
    },
)
get_tenant_account = openapi.operation(
    product=Product.RUNS,
    operation_id="get_tenant_account",
    summary="Get the account of all tasks",
    description="Compares the fire times that all schedules planned in closed hours with "
    f"the recorded runs. {_OTHERS} An hour is closed some minutes after its end, when all "
    "of its fire times have runs. Without `from` and `to`, it covers the last day.",
    parameters=_HOURS,
    responses={
        200: openapi.response(TENANT_ACCOUNT_OUT, _ACCOUNT, "The account."),
        **_failures("to should not be before from"),
    },
)
get_forecast = openapi.operation(
    product=Product.TASKS,
    operation_id="get_forecast",
    summary="Count coming fire times",
    description="Counts the fire times that are to come in each bucket of time, also by "
    f"task, tag, host or lane. {_OTHERS} Fire times that have passed are not counted.",
    parameters=[
        *RANGE_PARAMETERS,
        BUCKET_PARAMETER,
        OpenApiParameter(
            "by",
            OpenApiTypes.STR,
            description="`task`, `tag`, `host` or `lane`: also count for each of those.",
        ),
    ],
    responses={
        200: openapi.response(FORECAST_OUT, _FORECAST, "The counts."),
        **_failures("Invalid value of by. Value should be task or tag or host or lane"),
    },
)
