"""What is observed in a round: calls, runs, arrivals, the target's notes, faults.

Fire times are whole milliseconds since 1970, computed here from what clients asked for and
not by the service's code. Everything else is in seconds since 1970, by the machine's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from tests.chaos.control_calls import AccountAnswer, Answered, ControlCalls
from tests.chaos.fleets import USUAL_FLEET

NEVER = math.inf
NOT_FOUND = 404
LOST_TOO_OFTEN = "Its worker was lost too often."
# How the reason of a run begins that its token may start tomorrow, whatever its task does.
WAITS_FOR_BOUNDS = "Waits for the runs a day of its token"
# The mark of the tasks that notify a tenant of what the service did.
NOTICES = "notices"
# The mark of everything that is meant to do harm.
POISON = "poison"

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


class FireTimeGrid(NamedTuple):
    """start + k·every up to the end, or the start alone where `every` is 0."""

    start: int
    every: int = 0
    end: int | None = None

    def __contains__(self, moment: object) -> bool:
        if not isinstance(moment, int) or moment < self.start:
            return False
        if self.end is not None and moment > self.end:
            return False
        steps = (moment - self.start) % self.every if self.every else 0
        return steps == 0 if self.every else moment == self.start

    def between(self, after: float, before: float) -> Iterator[int]:
        """The fire times strictly between two moments, given in seconds."""
        last = min(before * 1000, NEVER if self.end is None else self.end + 1)
        moment = self.start
        if after == NEVER:
            return
        if self.every and after * 1000 > moment:
            moment += int((after * 1000 - moment) // self.every) * self.every
        while moment < last:
            if moment > after * 1000:
                yield moment
            if not self.every:
                return
            moment += self.every


class FireTimeUnion(NamedTuple):
    """The fire times of several grids, each of them once."""

    grids: tuple[FireTimeGrid, ...]

    @property
    def start(self) -> int:
        return min(grid.start for grid in self.grids)

    @property
    def every(self) -> int:
        """More than 0: it repeats."""
        return min(grid.every for grid in self.grids if grid.every)

    @property
    def end(self) -> int | None:
        ends = [grid.end if grid.every else grid.start for grid in self.grids]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    def __contains__(self, moment: object) -> bool:
        return any(moment in grid for grid in self.grids)

    def between(self, after: float, before: float) -> Iterator[int]:
        found = {each for grid in self.grids for each in grid.between(after, before)}
        return iter(sorted(found))


FireTimes = FireTimeGrid | FireTimeUnion


@dataclass(frozen=True)
class ClientCall(Answered):
    """One request of a client about the task with a mark, and its answer."""

    mark: str
    verb: str  # create, replace, pause, resume or delete
    sent_at: float
    answered_at: float
    status: int | None  # None where no answer came
    fire_times: FireTimes | None = None  # with create and replace
    is_cron: bool = False
    # With create: whether it has recurrence rules, or several schedules.
    is_rule: bool = False
    version: int = 0
    # Whether the newest fire time that was missed is made up for; with a cron.
    makes_up: bool = True
    # A task whose time has passed when it is stored runs at once, at a fire time of its own.
    runs_if_late: bool = False
    # With create: the lane of the task, and its calendar, which it leaves out (exclude),
    # fires on (only) or whose end its runs wait for (hold), at a pace in seconds.
    lane: str = ""
    calendar: str = ""
    calendar_use: str = ""
    pace: float = 0.0
    # So many runs end the task; 0 where none do.
    max_runs: int = 0
    # With resume: latest or all, where the fire times of the pause are made up for.
    catch_up: str = ""

    @property
    def is_refused(self) -> bool:
        return (
            self.status is not None
            and 400 <= self.status < 500
            and not self.is_uncertain
        )

    @property
    def is_gone(self) -> bool:
        """The client was told that nothing is left to fire."""
        return self.verb == "delete" and (self.is_done or self.status == NOT_FOUND)


class Arrival(NamedTuple):
    """A request at the target."""

    arrived_at: float
    behaviour: str
    mark: str
    version: int
    run_id: str
    scheduled_ms: int

    @classmethod
    def from_log(
        cls, arrived_at: float, path: str, run_id: str, scheduled_ms: int
    ) -> Arrival:
        _, behaviour, name = path.split("/")
        mark, _, version = name.partition(".")
        return cls(arrived_at, behaviour, mark, int(version or 0), run_id, scheduled_ms)

    @property
    def lateness(self) -> float:
        return self.arrived_at - self.scheduled_ms / 1000


class TargetNote(NamedTuple):
    """What the target logged beside arrivals: its work ended, or it reported on it."""

    noted_at: float
    event: str  # answer, notice, stale, closed, heartbeat, complete or fail
    run_id: str
    # The status of the answer to a report; of a notice, the task that it is about.
    value: int | str


class AttemptRecord(NamedTuple):
    number: int
    started_at: float
    seconds: float = 0.0
    # Of a lost attempt, only the moment is known at which its worker took the run.
    is_lost: bool = False

    @property
    def ended_at(self) -> float:
        return self.started_at + self.seconds


class RunRecord(NamedTuple):
    run_id: str
    task_id: str
    mark: str
    scheduled_ms: int
    state: str
    reason: str
    attempt_count: int
    lost_count: int
    started_at: float | None  # the last claim
    finished_at: float | None
    is_retried: bool  # its task asks for another attempt after some failures
    attempts: tuple[AttemptRecord, ...] = ()
    overlap: str = "allow"
    pause_after: int = 0  # so many failures pause its task; 0 where none do
    # The id of the backfill that made it, for the slot in `scheduled_ms`.
    backfill: str = ""

    @property
    def counts_as_failed(self) -> bool:
        return self.state == "failed" and self.reason != LOST_TOO_OFTEN

    @property
    def first_claim(self) -> float:
        starts = [attempt.started_at for attempt in self.attempts]
        return min([*starts, self.started_at or NEVER])


@dataclass(frozen=True)
class Fault:
    """Something that was broken, until it was repaired."""

    kind: str
    victims: tuple[str, ...]
    began_at: float
    repaired_at: float
    # Whether the requests of its worker may end without being recorded.
    loses_requests: bool = False
    # Whether the service must recover before the fault is repaired.
    is_instant: bool = False
    # Whether it may make nothing late; nothing else is broken meanwhile.
    is_harmless: bool = False
    # Whether it takes only the bells away, without which workers look by themselves.
    takes_bells: bool = False

    @property
    def breaks_deliveries(self) -> bool:
        return any(each.startswith(("worker", "postgres")) for each in self.victims)

    @property
    def recovery_starts_at(self) -> float:
        return self.began_at if self.is_instant else self.repaired_at


class WhyAnswer(NamedTuple):
    """What the service says of a run, or the status with which it said nothing."""

    run_id: str
    status: int
    verdict: str = ""
    code: str = ""
    held_by: tuple[str, ...] = ()


class Violation(NamedTuple):
    rule: str
    mark: str
    detail: str


@dataclass(frozen=True)
class Evidence:
    """Everything that was observed in a round. Calls about one mark are in their order."""

    calls: Sequence[ClientCall]
    runs: Sequence[RunRecord]
    arrivals: Sequence[Arrival]
    faults: Sequence[Fault] = ()
    # Parts that ended by themselves, or did not stop when they were told to.
    part_failures: Sequence[str] = ()
    notes: Sequence[TargetNote] = ()
    # How many runs each poisonous task has.
    poison: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    # What the service says of runs that were not delivered on time.
    whys: Sequence[WhyAnswer] = ()
    control: ControlCalls = field(default_factory=ControlCalls)
    accounts: Sequence[AccountAnswer] = ()
    # No more requests of a bounded token may start in a round than this.
    bounded_runs: int = 0
    workers: Sequence[str] = USUAL_FLEET.workers
    # In a mixed fleet, how many runs were seen at workers of each release, and how many
    # calls the web of each answered.
    runs_by_release: Mapping[str, int] = field(default_factory=dict)
    answers_by_release: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def calls_by_mark(self) -> Mapping[str, list[ClientCall]]:
        return group_by(self.calls, lambda call: call.mark)

    @cached_property
    def runs_by_mark(self) -> Mapping[str, list[RunRecord]]:
        return group_by(self.runs, lambda run: run.mark)

    @cached_property
    def arrivals_by_run(self) -> Mapping[str, list[Arrival]]:
        return group_by(self.arrivals, lambda arrival: arrival.run_id)

    @cached_property
    def notes_by_run(self) -> Mapping[str, list[TargetNote]]:
        return group_by(self.notes, lambda note: note.run_id)


def group_by(
    items: Iterable[Item], key: Callable[[Item], Key]
) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
