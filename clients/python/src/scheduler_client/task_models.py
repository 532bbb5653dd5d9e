"""Tasks, their fire times and the plans of lists of tasks, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scheduler_client.lane_models import AdmissionVerdict


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
