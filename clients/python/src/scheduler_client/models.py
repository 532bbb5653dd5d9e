"""The objects of the service as dataclasses. Their datetimes are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class CreatedTask:
    """A new task. `replayed` is true if an earlier request with the same key created it."""

    id: str
    etag: str
    replayed: bool = False


@dataclass(frozen=True)
class Task:
    """A task: its request, its schedule and its policies. `raw` is its JSON object.

    `frequency`, `timeout_seconds`, `catchup_window` and `spread` are in seconds. Fields
    that are not set are None. `etag` is empty in lists.
    """

    id: str
    task_type: str
    url: str | None = None
    queue: str | None = None
    post_data: Mapping[str, Any] | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    frequency: int | None = None
    cron: str | None = None
    rrule: str | None = None
    schedules: Sequence[Mapping[str, Any]] | None = None
    timezone: str | None = None
    start_datetime: datetime | None = None
    end_datetime: datetime | None = None
    run_datetime: datetime | None = None
    next_run_datetime: datetime | None = None
    retry: Mapping[str, Any] | None = None
    expected_status: str | None = None
    overlap: str | None = None
    misfire: str | None = None
    catchup_window: int | None = None
    # Seconds, or "auto" where the service chose the place of the task.
    spread: int | str | None = None
    spread_offset: int | None = None
    admit: str | None = None
    dst: Mapping[str, str] | None = None
    calendars: Mapping[str, Any] | None = None
    method: str | None = None
    headers: Mapping[str, str] | None = None
    timeout_seconds: int | None = None
    body: Any = None
    content_type: str | None = None
    long_work: Mapping[str, int] | None = None
    pause_after_failures: int | None = None
    max_runs: int | None = None
    runs_left: int | None = None
    stop_on_success: bool = False
    lane: str | None = None
    paused: bool = False
    pause_reason: str | None = None
    resume_at: datetime | None = None
    catch_up: str | None = None
    outcomes: Sequence[Mapping[str, Any]] | None = None
    etag: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class FireTime:
    """One coming fire time. `at` is None if a clock change drops or a calendar excludes it.

    `local`, `wall` and `grid` are strings as the service writes them; see its docs.
    """

    at: datetime | None
    local: str
    dst: str | None = None
    wall: str | None = None
    which_pass: int | None = None
    grid: str | None = None
    moved_from: datetime | None = None
    moved_by: Mapping[str, Any] | None = None
    excluded_by: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AdmissionVerdict:
    """Whether tasks fit the rate of their lane. `message` says why they do not.

    `latest_start` and `allowed` are seconds from a fire time, without its spread, to the
    start of its run. `smallest_spread` is a spread that would fit, or None.
    """

    lane: str
    rate: Mapping[str, int]
    fits: bool
    tasks: int
    latest_start: int
    allowed: int | None = None
    at: datetime | None = None
    smallest_spread: int | None = None
    message: str = ""


@dataclass(frozen=True)
class FireTimes:
    """Coming fire times in order. `timezone` is the zone of each `local`.

    A preview of a task that enters a lane with a rate has its `admission`.
    """

    timezone: str
    paused: bool
    fire_times: list[FireTime]
    admission: list[AdmissionVerdict] = field(default_factory=list)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Attempt:
    """One request of a run. `answer` is the beginning of the response's body."""

    number: int
    started_at: datetime | None
    duration_ms: int | None = None
    status_code: int | None = None
    error: str = ""
    answer: str | None = None


@dataclass(frozen=True)
class Run:
    """One fire time and its result. Only `Client.get_run` fills `attempts`."""

    id: str
    task_id: str
    scheduled_for: datetime
    state: str
    task_name: str = ""
    notice: bool = False
    reason: str = ""
    manual: bool = False
    redrive_of: str | None = None
    backfill: str | None = None
    slot: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt_count: int = 0
    last_status: int | None = None
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


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


@dataclass(frozen=True)
class RedriveResult:
    """The runs that a redrive created. `more` says whether matching runs are left."""

    run_ids: list[str]
    more: bool = False

    @property
    def count(self) -> int:
        return len(self.run_ids)


@dataclass(frozen=True)
class BackfillResult:
    """The runs that a backfill made, or those that it would make as a dry run.

    `backfill` is the id by which its runs are found; None if it made none.
    """

    hash: str
    count: int
    backfill: str | None = None
    dry_run: bool = False
    first: datetime | None = None
    last: datetime | None = None
    last_sent_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class CancelResult:
    """The runs that were cancelled. `more` says whether matching runs are left."""

    run_ids: list[str]
    more: bool = False

    @property
    def count(self) -> int:
        return len(self.run_ids)


@dataclass(frozen=True)
class Token:
    """A token without its clear text: its user, its scope and its expiry."""

    id: str
    user: str
    name: str
    prefix: str
    scope: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    # What it can do at most; None if it has no bounds.
    bounds: Mapping[str, Any] | None = None
    renew_by: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class IssuedToken(Token):
    """A new token. `token` is its clear text, which the service shows only once."""

    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class QuotaUse:
    """A quota, and what is used of it. Without a limit there is no quota."""

    quota: str
    limit: int | None = None
    used: int | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True)
class TokenUsage:
    """The quotas of a token with bounds."""

    quotas: Sequence[QuotaUse]
    renew_by: datetime | None = None


@dataclass(frozen=True)
class Usage:
    """The quotas of a tenant, and of the calling token if it has bounds."""

    quotas: Sequence[QuotaUse]
    plan: str | None = None
    token: TokenUsage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class User:
    """A user of the tenant. `username` is the name that the audit log uses."""

    name: str
    username: str
    role: str
    is_active: bool
    created_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class SigningSecret:
    """A live signing secret, without its clear text: `id` is its fingerprint.

    `expires_at` is None for the current secret. `is_readable` is False if the service has
    lost the key that decrypts it.
    """

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    is_readable: bool = True
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class NewSigningSecret:
    """A new signing secret. `secret` is its clear text, which the service shows only once."""

    id: str
    secret: str = field(repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class AuditEntry:
    """One entry of the audit log."""

    id: str
    at: datetime
    actor: str
    via: str
    token: str
    action: str
    objects: list[str]
    changes: Mapping[str, Any]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Lane:
    """The limits that tasks of a target keep together, and what the lane does now.

    `state` has how many runs wait and are running, and whether and why nothing starts.
    """

    name: str
    created_at: datetime
    state: Mapping[str, Any]
    host: str | None = None
    rate: Mapping[str, Any] | None = None
    concurrency: int | None = None
    breaker: Mapping[str, int] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Channel:
    """Where a tenant is told of events. Only administrators see where it sends."""

    id: str
    name: str
    kind: str
    max_per_hour: int
    paused: bool
    created_at: datetime
    url: str | None = None
    recipients: list[str] | None = None
    routing_key: str | None = None
    topic: str | None = None
    token: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Rule:
    """Which events of which tasks are sent to a channel, and when."""

    id: str
    channel_id: str
    events: list[str]
    task_id: str | None
    tag: str | None
    streak: int
    late_after: int
    digest_seconds: int
    quiet_hours: Mapping[str, str] | None
    paused: bool
    created_at: datetime
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class PlanStep:
    """The action on one task: create, change, pause, resume, delete, keep or over."""

    name: str
    id: str | None
    action: str
    changes: Mapping[str, Mapping[str, Any]]
    fire_times_before: list[str]
    fire_times_after: list[str]


@dataclass(frozen=True)
class Plan:
    """The changes that a list of tasks makes. `plan` is the fingerprint of the plan."""

    plan: str
    tag: str
    dry_run: bool
    counts: Mapping[str, int]
    steps: list[PlanStep]
    admission: list[AdmissionVerdict] = field(default_factory=list)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_changes(self) -> bool:
        return any(step.action not in ("keep", "over") for step in self.steps)
