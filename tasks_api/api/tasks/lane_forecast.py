"""The view of what comes in a lane."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.tasks import lane_forecast_openapi as schema
from tasks_api.api.tasks.base import TasksView
from tasks_api.api.tasks.overview import read_buckets, render_series
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services import lanes
from tasks_api.services.lane_forecast import LaneForecast, make_lane_forecast

SECOND, MAX_SPAN = timedelta(seconds=1), timedelta(weeks=1)


class LaneForecastView(TasksView):
    error_messages_by_method: ClassVar = {("GET", 404): "Lane not found"}

    @schema.get_lane_forecast
    def get(self, request: Request, lane: str) -> Response:
        now = clock.now()
        buckets = _read_buckets(fields.query_parameters(request), now)
        found = lanes.get_lane(self.tenant, lane)
        return Response(_render(make_lane_forecast(found, buckets, now=now)))


def _read_buckets(query: Mapping[str, str], now: datetime) -> Buckets:
    buckets = read_buckets(query, now)
    if buckets.end - buckets.start > MAX_SPAN:
        text = f"to should be at most {MAX_SPAN.days} days after from"
        raise InvalidTask("to", text)
    return buckets


def _render(found: LaneForecast) -> dict[str, Any]:
    buckets, capacity = found.buckets, found.capacity
    shown = {
        "lane": found.lane.name,
        "from": format_timestamp(buckets.start),
        "to": format_timestamp(buckets.end),
        "bucket": buckets.width // SECOND,
        "waiting": found.waiting,
        "rate": None,
        "capacity": None,
        "utilization": None,
        "longest_wait": None,
        **render_series(found.all, buckets),
    }
    most = found.runs_per_bucket
    if capacity is None or most is None:
        return shown
    indexes = range(buckets.size)
    return shown | {
        "rate": {"limit": capacity.limit, "seconds": capacity.per // SECOND},
        "capacity": round(most, 3),
        "utilization": [round(found.all.coming[i] / most, 4) for i in indexes],
        "longest_wait": [round(found.waits.get(i, 0.0), 1) for i in indexes],
    }
