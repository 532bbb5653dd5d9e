"""What is seen of a round: calls, runs, arrivals, words, faults.

Fire times are whole milliseconds since 1970, computed here from what was asked for and not
by the service's code; all else is in seconds since 1970, by the one clock of the machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

NEVER = math.inf
GONE = 404
LOST_TOO_OFTEN = "Its worker was lost too often."
# The mark of the tasks that tell a tenant what the service did to others.
NOTICES = "notices"
# The mark of whatever is not meant well.
POISON = "poison"


class Grid(NamedTuple):
    """Fire times: start + k·every up to the end, or one alone where `every` is 0."""

    start: int
    every: int = 0
    end: int | None = None

    def has(self, moment: int) -> bool:
        steps = (moment - self.start) % self.every if self.every else 0
        is_within = self.start <= moment and (self.end is None or moment <= self.end)
        return is_within and (steps == 0 if self.every else moment == self.start)

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


@dataclass(frozen=True)
class Call:
    """One request of a client about the task with a mark, and what came back."""

    mark: str
    verb: str  # create, replace, pause, resume or delete
    sent: float
    answered: float
    status: int | None  # None where no answer came
    grid: Grid | None = None  # with create and replace
    is_cron: bool = False
    version: int = 0
    # What has passed when it is stored runs at once, as a fire time of its own.
    is_prompt: bool = False

    @property
    def is_done(self) -> bool:
        return self.status is not None and self.status < 300

    @property
    def is_unsure(self) -> bool:
        """It may have been done, or may yet be: a frozen server reads it later."""
        return self.status is None or self.status == 429 or self.status >= 500

    @property
    def is_refused(self) -> bool:
        return (
            self.status is not None and 400 <= self.status < 500 and not self.is_unsure
        )

    @property
    def is_gone(self) -> bool:
        """There is nothing left to fire, and whoever asked was told so."""
        return self.verb == "delete" and (self.is_done or self.status == GONE)


class Arrival(NamedTuple):
    at: float
    how: str
    mark: str
    version: int
    run_id: str
    planned: int

    @classmethod
    def of(cls, at: float, path: str, run_id: str, planned: int) -> Arrival:
        _, how, name = path.split("/")
        mark, _, version = name.partition(".")
        return cls(at, how, mark, int(version or 0), run_id, planned)

    @property
    def late(self) -> float:
        return self.at - self.planned / 1000


class Word(NamedTuple):
    """What the target noted beside arrivals: its work ended, or it said how that went."""

    at: float
    what: str  # answer, notice, or what it said: heartbeat, complete or fail
    run_id: str
    # The status it was answered with; of a notice, the task that it tells of.
    said: int | str


class Attempt(NamedTuple):
    number: int
    started_at: float


class Run(NamedTuple):
    run_id: str
    task_id: str
    mark: str
    planned: int
    state: str
    reason: str
    attempt_count: int
    lost_count: int
    started_at: float | None  # the last claim
    finished_at: float | None
    is_retried: bool  # its task asks for another attempt after some failures
    attempts: tuple[Attempt, ...] = ()
    overlap: str = "allow"
    pause_after: int = 0  # so many failures pause its task; 0 where none do

    @property
    def counts_as_failed(self) -> bool:
        return self.state == "failed" and self.reason != LOST_TOO_OFTEN

    @property
    def first_claim(self) -> float:
        starts = [attempt.started_at for attempt in self.attempts]
        return min([*starts, self.started_at or NEVER])


@dataclass(frozen=True)
class Fault:
    """Something that was broken; `over` is when it was given back."""

    kind: str
    victims: tuple[str, ...]
    began: float
    over: float
    # Whether its worker's requests end without having been written down.
    loses_requests: bool = False
    # Whether the service must recover without getting back what was broken.
    is_instant: bool = False
    # Whether nothing may come late by it; nothing else is broken meanwhile.
    is_harmless: bool = False

    @property
    def since(self) -> float:
        """From when on recovery is counted."""
        return self.began if self.is_instant else self.over


class Violation(NamedTuple):
    rule: str
    mark: str
    detail: str


@dataclass(frozen=True)
class Evidence:
    """All that was seen of a round. Calls about one mark are in their order."""

    calls: Sequence[Call]
    runs: Sequence[Run]
    arrivals: Sequence[Arrival]
    faults: Sequence[Fault] = ()
    # What died without being told to, and what did not stop when it was.
    misdeeds: Sequence[str] = ()
    words: Sequence[Word] = ()
    # How many runs each poisonous task has, and how many seconds the round took.
    poison: Mapping[str, int] = field(default_factory=dict)
    lasted: float = 0.0

    @cached_property
    def calls_of(self) -> Mapping[str, list[Call]]:
        return grouped(self.calls, lambda call: call.mark)

    @cached_property
    def runs_of(self) -> Mapping[str, list[Run]]:
        return grouped(self.runs, lambda run: run.mark)

    @cached_property
    def arrivals_of(self) -> Mapping[str, list[Arrival]]:
        return grouped(self.arrivals, lambda arrival: arrival.run_id)

    @cached_property
    def words_of(self) -> Mapping[str, list[Word]]:
        return grouped(self.words, lambda word: word.run_id)


def grouped(items, key):  # type: ignore[no-untyped-def]
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
