"""The account of a task: its planned fire times, their outcomes, and differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from tasks_api.domain.states import UNDELIVERED_STATES, RunState

# The most differences that an account names; it counts all of them.
MAX_NAMED_DIFFERENCES = 100


class FireTimeOutcome(StrEnum):
    """The outcome of a planned fire time."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    CANCELLED = "cancelled"
    # The run is due, waits, runs, or waits for a retry.
    UNDER_WAY = "under_way"


OUTCOME_OF_STATE: dict[RunState, FireTimeOutcome] = {
    RunState.SUCCEEDED: FireTimeOutcome.DELIVERED,
    **{state: FireTimeOutcome(state) for state in UNDELIVERED_STATES},
}


class Mismatch(NamedTuple):
    """A fire time without a run, or a run that no schedule planned."""

    kind: str
    scheduled_for: datetime
    run_id: UUID | None
    message: str


class ExcludedFireTime(NamedTuple):
    """A fire time that a calendar left out, so that nothing was planned for it."""

    at: datetime
    calendar: str
    version: int


class DatedChange(NamedTuple):
    """A moment at which a task's schedule changed."""

    at: datetime
    what: str


@dataclass
class Account:
    """The fire times planned from `since` to before `until`, and their outcomes.

    `planned` is the sum of `outcomes` and of `missing`, the fire times without a run.
    """

    since: datetime
    until: datetime
    planned: int = 0
    outcomes: Counter[FireTimeOutcome] = field(default_factory=Counter)
    # The number of manual runs, and what became of them.
    manual: int = 0
    manual_outcomes: Counter[FireTimeOutcome] = field(default_factory=Counter)
    missing: int = 0
    unplanned: int = 0
    # The first differences; `missing` and `unplanned` count all.
    differences: list[Mismatch] = field(default_factory=list)
    changes: list[DatedChange] = field(default_factory=list)
    # The fire times that calendars left out, which are not planned, and the first ones;
    # None: the task follows no calendars.
    excluded: int | None = None
    excluded_times: list[ExcludedFireTime] = field(default_factory=list)

    @property
    def balance(self) -> int:
        """Return the planned fire times less those with an outcome."""
        return self.planned - self.outcomes.total()

    def add_excluded(self, found: ExcludedFireTime) -> None:
        self.excluded = (self.excluded or 0) + 1
        if len(self.excluded_times) < MAX_NAMED_DIFFERENCES:
            self.excluded_times.append(found)

    def add(self, difference: Mismatch) -> None:
        if difference.run_id is None:
            self.missing += 1
        else:
            self.unplanned += 1
        if len(self.differences) < MAX_NAMED_DIFFERENCES:
            self.differences.append(difference)
