"""The facts from which the answer to "why" is computed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.schedules import MICROSECOND, Schedule
from tasks_api.domain.states import FINAL_STATES, RunState

# A run that begins later than this after its fire time is late.
ON_TIME = timedelta(seconds=0.5)
# A time without a worker or a beat is kept as a gap if it is longer than this.
SHORTEST_GAP = timedelta(seconds=3)
# The begin of the first schedule of a task.
CREATED = "created"
SECOND, MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


def resolution_of(moment: datetime) -> timedelta:
    """Return how exactly a client named a moment: 09:00:00 stands for all of the second."""
    if moment.microsecond == 0:
        return SECOND
    return MILLISECOND if moment.microsecond % 1000 == 0 else MICROSECOND


def fire_time_at(schedule: Schedule | None, moment: datetime) -> datetime | None:
    """Return the fire time that a moment stands for, as exactly as it was named."""
    if schedule is None:
        return None
    try:
        found = schedule.first_from(moment)
    except (ScheduleError, OverflowError):
        return None
    is_meant = found is not None and found - moment < resolution_of(moment)
    return found if is_meant else None


@dataclass(frozen=True)
class TaskFacts:
    task_id: UUID
    created_at: datetime
    ended_at: datetime | None = None
    end_reason: str = ""
    is_one_off: bool = False
    last_fire_at: datetime | None = None
    pause_reason: str = ""
    hold_reason: str = ""
    resume_at: datetime | None = None
    suspended: bool = False
    overlap: str = "allow"
    misfire: str = "latest"
    # The next fire time without a run, and how many runs its schedule may still make.
    next_fire_at: datetime | None = None
    runs_left: int | None = None


@dataclass(frozen=True)
class Phase:
    """A time in which a task had one schedule, or was paused.

    It includes `until`, and not `since`. `begun_by` is the change with which it began.
    """

    since: datetime
    until: datetime | None
    schedule: Schedule | None
    is_paused: bool = False
    begun_by: str = CREATED
    # The row of the change that ended it.
    change_id: int | None = None
    # It was a pause, and the resume that ended it made up for its fire times.
    is_caught_up: bool = False

    def has(self, moment: datetime) -> bool:
        # A schedule may have begun before its task was stored.
        is_begun = self.begun_by == CREATED or self.since < moment
        return is_begun and (self.until is None or moment <= self.until)


@dataclass(frozen=True)
class Deed:
    """An entry of the audit log about the task or its user."""

    entry_id: UUID
    at: datetime
    actor: str
    via: str
    action: str


class LanePause(NamedTuple):
    """A time in which a user had paused a lane, by the audit log."""

    since: datetime
    until: datetime | None
    reason: str
    deed: Deed


@dataclass(frozen=True)
class LaneFacts:
    """The lane of a run: its pauses up to the run's start, and its present state."""

    name: str
    pauses: tuple[LanePause, ...] = ()
    is_broken: bool = False
    breaker_until: datetime | None = None
    held_until: datetime | None = None
    slowdown: float = 1


@dataclass(frozen=True)
class AttemptFacts:
    number: int
    started_at: datetime
    duration_ms: int = 0
    status_code: int | None = None
    error: str = ""


@dataclass(frozen=True)
class RunFacts:
    run_id: UUID
    scheduled_for: datetime
    state: RunState
    reason: str = ""
    by_hand: bool = False
    is_next: bool = False
    lost_count: int = 0
    attempt_count: int = 0
    # When the first attempt began, and the last one.
    begun_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    wake_at: datetime | None = None
    covers_until: datetime | None = None
    redrive_of: UUID | None = None
    attempts: tuple[AttemptFacts, ...] = ()
    # The run of the task that was not over at the fire time of this one.
    blocked_by: UUID | None = None
    # The fire time that a backfill stands for.
    backfilled_slot: datetime | None = None
    # The lane in which it waits, or waited; None if it was deleted.
    lane: LaneFacts | None = None

    @property
    def is_over(self) -> bool:
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class Gap:
    """A time in which no process of a kind was seen, or in which the broker failed."""

    kind: str
    began_at: datetime
    ended_at: datetime | None = None
    is_survived: bool = False
    is_restart: bool = False

    def overlaps(self, since: datetime, until: datetime) -> bool:
        return self.began_at <= until and (
            self.ended_at is None or self.ended_at >= since
        )


class TenantMove(NamedTuple):
    """A time in which the tenant was frozen, because it moved, by the audit log."""

    since: datetime
    until: datetime | None
    # What began it, and what ended it.
    deeds: tuple[Deed, ...]

    def overlaps(self, since: datetime, until: datetime) -> bool:
        return self.since < until and (self.until is None or self.until > since)


@dataclass(frozen=True)
class Neighbour:
    """The planned fire time before or after a moment, and what became of it."""

    at: datetime
    outcome: str | None = None
    run_id: UUID | None = None


class Substitute(NamedTuple):
    """A redrive or a backfill: a run that a user asked for to stand for the moment."""

    kind: str
    run_id: UUID
    state: RunState


@dataclass(frozen=True)
class Facts:
    """All that is known of a task and a moment.

    `moment` is the planned fire time that is meant, or else the moment that was asked
    about. `is_open` says that it has no run yet, and will get one.
    """

    asked: datetime
    now: datetime
    kept_from: datetime
    task: TaskFacts
    phases: tuple[Phase, ...]
    # Whether the client asked about no moment, but why nothing happens now.
    is_now: bool = False
    planned: datetime | None = None
    is_open: bool = False
    run: RunFacts | None = None
    substitutes: tuple[Substitute, ...] = ()
    gaps: tuple[Gap, ...] = ()
    moves: tuple[TenantMove, ...] = ()
    deeds: tuple[Deed, ...] = ()
    previous: Neighbour | None = None
    next: Neighbour | None = None

    @property
    def moment(self) -> datetime:
        if self.planned is not None:
            return self.planned
        return self.run.scheduled_for if self.run is not None else self.asked

    @property
    def is_past(self) -> bool:
        return self.moment <= self.now and not self.is_now

    @property
    def phase(self) -> Phase | None:
        """The schedule in force at the moment; None before the task and after its end."""
        return next((each for each in self.phases if each.has(self.moment)), None)

    @property
    def schedule(self) -> Schedule | None:
        return None if self.phase is None else self.phase.schedule

    @property
    def written_by(self) -> Phase | None:
        """The phase with which the schedule in force was written."""
        until = self.phase or (self.phases[-1] if self.phases else None)
        if until is None:
            return None
        written = [
            each
            for each in self.phases
            if each.since <= until.since and each.begun_by in WRITES
        ]
        return written[-1] if written else None

    def deed(self, at: datetime, *actions: str) -> Deed | None:
        """Return the entry of a change: the one of these actions nearest to it."""
        near = [
            deed
            for deed in self.deeds
            if deed.action.startswith(actions) and abs(deed.at - at) <= DEED_WITHIN
        ]
        return min(near, key=lambda deed: abs(deed.at - at), default=None)


# The changes that write a schedule.
WRITES = frozenset({CREATED, "edited", "replaced"})
# The entry of a change is at most this far from it: both are of one transaction.
DEED_WITHIN = timedelta(seconds=30)
