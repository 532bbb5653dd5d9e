"""The views of many tasks at once: stats by hour, the forecast, and the account of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from rest_framework.request import Request
from rest_framework.response import Response

from scheduler_service.db import clock
from tasks_api.api import fields
from tasks_api.api.tasks import overview_openapi as schema
from tasks_api.api.tasks.base import TasksView
from tasks_api.api.tasks.runs import read_time_range
from tasks_api.domain import tallies
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.states import FINAL_STATES, RunState
from tasks_api.domain.tallies import Tally
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services import forecast, stats
from tasks_api.services.account import FireTimeOutcome
from tasks_api.services.forecast import Division, Forecast, Series
from tasks_api.services.stats import Stats, TenantAccount

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
DEFAULT_BUCKET = 3600
MAX_BUCKET = DAY
MAX_BUCKETS = 1500
# A forecast begins at most so long ago, and ends at most so far ahead.
MAX_PAST, MAX_FUTURE = DAY, timedelta(days=366)
MAX_REASONS = 100


class RunStats(TasksView):
    @schema.get_stats
    def get(self, request: Request) -> Response:
        since, until = read_time_range(fields.query_parameters(request))
        found = stats.read_stats(self.user, since=since, until=until)
        return Response(render_stats(found))


class TenantAccountView(TasksView):
    @schema.get_tenant_account
    def get(self, request: Request) -> Response:
        since, until = read_time_range(fields.query_parameters(request))
        found = stats.read_account(self.user, since=since, until=until)
        return Response(render_tenant_account(found))


class ForecastView(TasksView):
    @schema.get_forecast
    def get(self, request: Request) -> Response:
        now = clock.now()
        wanted = _read_forecast(fields.query_parameters(request), now)
        found = forecast.make_forecast(self.user, wanted.buckets, by=wanted.by, now=now)
        return Response(render_forecast(found, wanted.by))


# Requests.


class _WantedForecast(NamedTuple):
    buckets: Buckets
    by: Division


def _read_forecast(query: Mapping[str, str], now: datetime) -> _WantedForecast:
    return _WantedForecast(read_buckets(query, now), _read_division(query))


def read_buckets(query: Mapping[str, str], now: datetime) -> Buckets:
    """Return the buckets of a forecast: those of the coming day, unless it says others."""
    since, until = read_time_range(query)
    since = (since or now).astimezone(UTC).replace(microsecond=0)
    _refuse_far_moments(since, until, now)
    width = _bucket_width(query)
    span = (until or since + DAY) - since
    size = max(1, -(-span // width))
    if size > MAX_BUCKETS:
        raise InvalidTask(
            "bucket",
            f"There are more than {MAX_BUCKETS} buckets from from to to; "
            "ask for a longer bucket",
        )
    return Buckets(since, width, size)


def _refuse_far_moments(since: datetime, until: datetime | None, now: datetime) -> None:
    if since < now - MAX_PAST:
        raise InvalidTask("from", "from should be at most a day ago")
    for name, moment in (("from", since), ("to", until or since)):
        if moment > now + MAX_FUTURE:
            text = f"{name} should be at most {MAX_FUTURE.days} days ahead"
            raise InvalidTask(name, text)


def _bucket_width(query: Mapping[str, str]) -> timedelta:
    seconds = fields.whole_number_parameter(
        query, "bucket", DEFAULT_BUCKET, minimum=MINUTE // timedelta(seconds=1)
    )
    if (width := timedelta(seconds=seconds)) > MAX_BUCKET:
        text = f"Invalid value of bucket. Value should be at most {MAX_BUCKET // timedelta(seconds=1)}"
        raise InvalidTask("bucket", text)
    return width


def _read_division(query: Mapping[str, str]) -> Division:
    names = [each.value for each in Division if each]
    text = query.get("by")
    if text is None:
        return Division.NOTHING
    if text in names:
        return Division(text)
    raise InvalidTask(
        "by", f"Invalid value of by. Value should be {' or '.join(names)}"
    )


# Responses.


def render_stats(found: Stats) -> dict[str, Any]:
    total = found.total
    reasons = list(tallies.reasons_of(total))
    return {
        "from": format_timestamp(found.since),
        "to": format_timestamp(found.until),
        **_render_tally(total),
        "hours": [
            {"hour": format_timestamp(hour), **_render_tally(tally)}
            for hour, tally in found.hours
        ],
        "reasons": [
            {"state": each.state.value, "reason": each.reason, "runs": each.runs}
            for each in reasons[:MAX_REASONS]
        ],
    }


def _render_tally(tally: Tally) -> dict[str, Any]:
    return {
        **{
            state.value: tallies.count_of(tally, tallies.RUNS, state)
            for state in RunState
            if state in FINAL_STATES
        },
        "unfinished": stats.count_unfinished(tally),
        "late_p50_ms": tallies.late_percentile(tally, 0.5),
        "late_p99_ms": tallies.late_percentile(tally, 0.99),
    }


def render_tenant_account(found: TenantAccount) -> dict[str, Any]:
    return {
        "from": format_timestamp(found.since),
        "to": format_timestamp(found.until),
        "planned": found.planned,
        **{outcome.value: found.outcomes[outcome] for outcome in FireTimeOutcome},
        "manual": found.manual,
        "balance": found.balance,
        "differences": [
            {"hour": format_timestamp(hour), "balance": balance}
            for hour, balance in found.differences
        ],
    }


def render_forecast(found: Forecast, by: Division) -> dict[str, Any]:
    buckets = found.buckets
    shown: dict[str, Any] = {
        "from": format_timestamp(buckets.start),
        "to": format_timestamp(buckets.end),
        "bucket": buckets.width // timedelta(seconds=1),
        **render_series(found.all, buckets),
    }
    if by is not Division.NOTHING:
        shown["series"] = [
            {by.value: label, **render_series(series, buckets)}
            for label, series in found.labelled
        ]
        shown["omitted"] = found.omitted
    return shown


def render_series(series: Series, buckets: Buckets) -> dict[str, Any]:
    return {
        "total": series.coming.total(),
        "counts": _render_counts(series.coming, buckets),
        "paused_total": series.paused.total(),
        "paused_counts": _render_counts(series.paused, buckets),
    }


def _render_counts(counts: Counter[int], buckets: Buckets) -> list[int]:
    return [counts[index] for index in range(buckets.size)]
