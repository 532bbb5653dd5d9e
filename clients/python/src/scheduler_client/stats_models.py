"""Accounts, stats and forecasts, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class AccountDifference:
    """A fire time without a run, or a run without a fire time."""

    kind: str
    scheduled_for: datetime
    run_id: str | None
    message: str


@dataclass(frozen=True)
class ScheduleChange:
    """A change of a schedule: it was paused, resumed, edited or replaced."""

    at: datetime
    what: str


@dataclass(frozen=True)
class Account:
    """The fire times planned from `since` to `until`, compared with the runs."""

    since: datetime
    until: datetime
    planned: int
    delivered: int
    failed: int
    skipped: int
    missed: int
    cancelled: int
    under_way: int
    manual: int
    balance: int
    missing: int
    unplanned: int
    differences: list[AccountDifference]
    changes: list[ScheduleChange]
    # Of a task that followed calendars: what these left out, which is not planned.
    excluded: int | None = None
    excluded_times: list[Mapping[str, Any]] = field(default_factory=list)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class HourStats:
    """The runs of one hour by state. `late_p99_ms` is None without requests."""

    hour: datetime
    succeeded: int
    failed: int
    skipped: int
    missed: int
    cancelled: int
    unfinished: int
    late_p50_ms: float | None = None
    late_p99_ms: float | None = None


@dataclass(frozen=True)
class ReasonCount:
    """How many runs in a state have a reason."""

    state: str
    reason: str
    runs: int


@dataclass(frozen=True)
class Stats:
    """The runs from `since` to `until` by state, in all and hour by hour."""

    since: datetime
    until: datetime
    succeeded: int
    failed: int
    skipped: int
    missed: int
    cancelled: int
    unfinished: int
    late_p50_ms: float | None
    late_p99_ms: float | None
    hours: list[HourStats]
    reasons: list[ReasonCount]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class HourBalance:
    """An hour whose balance is not zero."""

    hour: datetime
    balance: int


@dataclass(frozen=True)
class TenantAccount:
    """The planned fire times of all tasks in closed hours, compared with the runs."""

    since: datetime
    until: datetime
    planned: int
    delivered: int
    failed: int
    skipped: int
    missed: int
    cancelled: int
    under_way: int
    manual: int
    balance: int
    differences: list[HourBalance]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class ForecastSeries:
    """The coming fire times of one task, tag, host or lane, bucket by bucket."""

    total: int
    counts: list[int]
    paused_total: int
    paused_counts: list[int]
    task: str | None = None
    tag: str | None = None
    host: str | None = None
    lane: str | None = None


@dataclass(frozen=True)
class LaneForecast:
    """What all tasks of a lane bring in buckets of `bucket` seconds.

    `rate`, `capacity` (runs that may start in a bucket), `utilization` and
    `longest_wait` (seconds) are None if the lane has no rate.
    """

    lane: str
    since: datetime
    until: datetime
    bucket: int
    waiting: int
    total: int
    counts: list[int]
    paused_total: int
    paused_counts: list[int]
    rate: Mapping[str, int] | None = None
    capacity: float | None = None
    utilization: list[float] | None = None
    longest_wait: list[float] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Forecast:
    """Coming fire times in buckets of `bucket` seconds, and those of paused tasks."""

    since: datetime
    until: datetime
    bucket: int
    total: int
    counts: list[int]
    paused_total: int
    paused_counts: list[int]
    series: list[ForecastSeries] = field(default_factory=list)
    omitted: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
