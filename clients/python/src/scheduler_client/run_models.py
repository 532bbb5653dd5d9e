"""Runs, their attempts, and what is done to many runs at once, as dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
