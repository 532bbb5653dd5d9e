"""The coming load of a lane against its rate, as a chart that leads to the tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from console import charts
from console.charts import Bar, Chart, Part
from console.links import CALENDAR
from tasks_api.domain.admission import Capacity
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.lines import SECOND
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.services.lane_forecast import LaneForecast, make_lane_forecast
from tasks_api.services.stats import floor_hour

HOUR = timedelta(hours=1)
HOURS = 24


@dataclass(frozen=True)
class LoadedHour:
    """An hour by its beginning, what fires in it, and the longest wait for a slot."""

    start: datetime
    count: int
    seconds: float
    fits: bool
    url: str

    @property
    def end(self) -> datetime:
        return self.start + HOUR

    @property
    def title(self) -> str:
        text = f"{self.start:%H:%M}-{self.end:%H:%M} UTC: {self.count:,} to come"
        return text if self.fits else f"{text}, which does not fit"


@dataclass(frozen=True)
class LaneLoad:
    """The fire times of the coming hours; `refusal` says why there are no numbers."""

    since: datetime
    until: datetime
    url: str
    total: int = 0
    paused: int = 0
    chart: Chart | None = None
    # The runs that may start in an hour; None without a rate.
    most: float | None = None
    # The seconds that a run without a spread may wait.
    patience: float = 0
    misfits: list[LoadedHour] = field(default_factory=list)
    refusal: str = ""

    @property
    def most_is_off_the_chart(self) -> bool:
        return self.chart is not None and self.most is not None and self.chart.limit is None  # fmt: skip


def read_load(lane: Any, *, now: datetime) -> LaneLoad:
    buckets = Buckets(floor_hour(now), HOUR, HOURS)
    url = _tasks_url(lane.name, buckets.start, buckets.end)
    try:
        found = make_lane_forecast(lane, buckets, now=now)
    except InvalidTask as refusal:
        return LaneLoad(buckets.start, buckets.end, url, refusal=str(refusal))
    hours = [_hour_of(found, index) for index in range(buckets.size)]
    most, capacity = found.runs_per_bucket, found.capacity
    return LaneLoad(
        buckets.start,
        buckets.end,
        url,
        total=sum(hour.count for hour in hours),
        paused=found.all.paused.total(),
        chart=charts.draw(list(map(_bar_of, hours)), limit=most),
        most=most,
        patience=capacity.patience if capacity else 0,
        misfits=[hour for hour in hours if not hour.fits],
    )


def _hour_of(found: LaneForecast, index: int) -> LoadedHour:
    start = found.buckets.start + index * HOUR
    count, seconds = found.all.coming[index], found.waits.get(index, 0.0)
    fits = _fits(count, seconds, found.runs_per_bucket, found.capacity)
    url = _tasks_url(found.lane.name, start, start + HOUR)
    return LoadedHour(start, count, seconds, fits, url)


def _fits(
    count: int, seconds: float, most: float | None, capacity: Capacity | None
) -> bool:
    """Whether no more runs come than may start, and none waits longer than it may."""
    if most is None or capacity is None:
        return True
    return count <= most and seconds < capacity.patience + SECOND.total_seconds()


def _bar_of(hour: LoadedHour) -> Bar:
    css_class = "coming" if hour.fits else "over"
    part = Part(css_class, hour.title, hour.count, hour.url)
    return Bar(hour.title, hour.url, up=[part], is_marked=not hour.fits)


def _tasks_url(name: str, since: datetime, until: datetime) -> str:
    """The tasks of a lane that fire between two moments."""
    query = {
        "from": format_timestamp(since),
        "to": format_timestamp(until),
        "by": "lane",
        "of": name,
    }
    return f"{CALENDAR}tasks/?{urlencode(query)}"
