"""The load of the coming hours, as a chart that leads to the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.models import User
from console import charts
from console.charts import Bar, Chart, Part
from console.links import fire_times_url
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.services.forecast import Division, make_forecast
from tasks_api.services.stats import floor_hour

HOUR = timedelta(hours=1)
HOURS = 24


@dataclass(frozen=True)
class ComingLoad:
    """The fire times of the coming hours; `refusal` says why there are no numbers."""

    since: datetime
    until: datetime
    total: int = 0
    paused: int = 0
    chart: Chart | None = None
    busiest: Bar | None = None
    refusal: str = ""

    @property
    def url(self) -> str:
        return fire_times_url(self.since, self.until)


def read_coming_load(user: User, *, now: datetime) -> ComingLoad:
    buckets = Buckets(floor_hour(now), HOUR, HOURS)
    try:
        found = make_forecast(user, buckets, by=Division.NOTHING, now=now).all
    except InvalidTask as refusal:
        return ComingLoad(buckets.start, buckets.end, refusal=str(refusal))
    counts = [found.coming[index] for index in range(buckets.size)]
    bars = list(map(_bar_of, buckets.starts(), counts))
    return ComingLoad(
        buckets.start,
        buckets.end,
        total=sum(counts),
        paused=found.paused.total(),
        chart=charts.draw(bars),
        busiest=bars[counts.index(max(counts))] if any(counts) else None,
    )


def _bar_of(start: datetime, count: int) -> Bar:
    end = start + HOUR
    title = f"{start:%H:%M}-{end:%H:%M} UTC: {count} to come"
    url = fire_times_url(start, end)
    return Bar(title, url, up=[Part("coming", title, count, url)])
