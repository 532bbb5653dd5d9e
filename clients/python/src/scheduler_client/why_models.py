"""The answer to why a task fired or not, as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class WhyCause:
    """A cause of what a task did; `code` is one of a closed list."""

    code: str
    message: str
    hint: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class ScheduleAuthor:
    """Who wrote a schedule, by the audit log."""

    actor: str
    via: str
    action: str
    at: datetime | None


@dataclass(frozen=True)
class ScheduleInForce:
    """The schedule that a task had at a moment."""

    words: str | None
    paused: bool
    since: datetime | None
    until: datetime | None
    written_by: ScheduleAuthor | None


@dataclass(frozen=True)
class PlannedFireTime:
    """A fire time with its outcome in the account; `run_id` is None without a run."""

    at: datetime
    outcome: str | None
    run_id: str | None = None


@dataclass(frozen=True)
class RunOutcome:
    """The run of a fire time; `get_run` returns all of it."""

    id: str
    scheduled_for: datetime
    state: str
    reason: str
    manual: bool
    started_at: datetime | None
    finished_at: datetime | None
    attempt_count: int


@dataclass(frozen=True)
class AttemptOutcome:
    """A request of the run, without the answer."""

    number: int
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str


@dataclass(frozen=True)
class Evidence:
    """A row that proves a cause."""

    kind: str
    id: str | None
    url: str | None
    at: datetime | None
    text: str


@dataclass(frozen=True)
class Why:
    """What a task did, does or will do at a moment, and why."""

    at: datetime
    verdict: str
    cause: WhyCause
    held_by: list[WhyCause]
    schedule: ScheduleInForce | None
    planned: PlannedFireTime | None
    run: RunOutcome | None
    attempts: list[AttemptOutcome]
    previous: PlannedFireTime | None
    next: PlannedFireTime | None
    evidence: list[Evidence]
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
