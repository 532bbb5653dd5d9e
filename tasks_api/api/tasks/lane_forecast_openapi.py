"""The forecast of a lane in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from tasks_api.api import openapi
from tasks_api.api.products import Product
from tasks_api.api.tasks.openapi_common import FAILURE, UNAUTHORIZED
from tasks_api.api.tasks.overview_openapi import (
    BUCKET_PARAMETER,
    COUNTED,
    COUNTS,
    RANGE_PARAMETERS,
)


def _each_bucket(kind: str, description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "nullable": True,
        "description": f"{description} Null if the lane has no rate.",
        "items": {"type": kind},
    }


_OUT: dict[str, Any] = {
    "type": "object",
    "required": ["lane", "from", "to", "bucket", "waiting", "rate", *COUNTS],
    "properties": {
        "lane": openapi.text("The name of the lane."),
        "from": openapi.text("The beginning of the first bucket, in UTC."),
        "to": openapi.text("The end of the last bucket, in UTC."),
        "bucket": openapi.count("The seconds of a bucket."),
        "waiting": openapi.count("How many runs wait in the lane now."),
        "rate": {
            "type": "object",
            "nullable": True,
            "description": "How many runs may start in so many seconds in the long run; null "
            "if the lane has no rate.",
            "properties": {
                "limit": openapi.count("How many runs."),
                "seconds": openapi.count("How many seconds."),
            },
        },
        "capacity": {
            "type": "number",
            "nullable": True,
            "description": "How many runs may start in a bucket; null if the lane has no rate.",
        },
        "utilization": _each_bucket(
            "number", "The fire times of each bucket, as a part of the capacity."
        ),
        "longest_wait": _each_bucket(
            "number",
            "The most seconds that a run of each bucket waits for those before it.",
        ),
        **COUNTS,
    },
}
_EXAMPLE: dict[str, Any] = {
    "lane": "crm",
    "from": "2026-11-21T00:00:00Z",
    "to": "2026-11-21T02:00:00Z",
    "bucket": 3600,
    "waiting": 0,
    "rate": {"limit": 20, "seconds": 1},
    "capacity": 72_000,
    "utilization": [0.0, 0.0],
    "longest_wait": [0.0, 0.1],
    **COUNTED,
}

get_lane_forecast = openapi.operation(
    product=Product.LANES,
    operation_id="get_lane_forecast",
    summary="Get the forecast of a lane",
    description="Counts what all tasks of the lane bring in each bucket of time, whoever owns "
    "them, beside what the lane lets start. `longest_wait` shows how long runs wait for each "
    "other, by the second. A range has at most a week.",
    parameters=[
        OpenApiParameter(
            "lane",
            OpenApiTypes.STR,
            OpenApiParameter.PATH,
            description="The name of the lane.",
        ),
        *RANGE_PARAMETERS,
        BUCKET_PARAMETER,
    ],
    responses={
        200: openapi.response(_OUT, _EXAMPLE, "The forecast."),
        400: openapi.error_response("to should be at most 7 days after from"),
        401: openapi.error_response(UNAUTHORIZED),
        404: openapi.error_response("Lane not found"),
        500: openapi.error_response(FAILURE),
    },
)
