"""The referee: what clients were told, what was written down and what arrived, compared.

Pure functions over what was seen. Fire times are whole milliseconds since 1970, computed
here from what was asked for and not by the service's code; all else is in seconds since
1970, by the one clock of the machine.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

CLOCK = 0.001  # the finest that X-Scheduled-For is compared with
ON_TIME = 1.0
# A lease that ran out, a presence that was missed, and the claim after that.
AFTERMATH = 20.0
NEVER = math.inf

# How the target ends the requests of these paths, when nothing comes in between.
SUCCEED = frozenset({"ok", "stall", "drip"})
FAIL = frozenset({"fail", "busy", "reset", "garbage"})
LOST_TOO_OFTEN = "Its worker was lost too often."
# The mark of the tasks that tell a tenant what the service did to others.
NOTICES = "notices"
NOT_SENT = frozenset({"missed", "skipped"})
GONE = 404


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

    @cached_property
    def calls_of(self) -> Mapping[str, list[Call]]:
        return _grouped(self.calls, lambda call: call.mark)

    @cached_property
    def runs_of(self) -> Mapping[str, list[Run]]:
        return _grouped(self.runs, lambda run: run.mark)

    @cached_property
    def arrivals_of(self) -> Mapping[str, list[Arrival]]:
        return _grouped(self.arrivals, lambda arrival: arrival.run_id)

    @cached_property
    def words_of(self) -> Mapping[str, list[Word]]:
        return _grouped(self.words, lambda word: word.run_id)


def _grouped(items, key):  # type: ignore[no-untyped-def]
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


@dataclass(frozen=True)
class Span:
    """A time in which a task fires: surely inside, perhaps at its edges."""

    grid: Grid
    maybe_from: float
    sure_from: float
    sure_until: float = NEVER
    maybe_until: float = NEVER
    # Any moment from the grid's to this one may be the fire time instead.
    loose_until: float = -NEVER

    def may_fire(self, planned: int) -> bool:
        if self.grid.start <= planned <= self.loose_until * 1000:
            return True
        is_within = self.maybe_from <= planned / 1000 <= self.maybe_until
        return is_within and self.grid.has(planned)

    def must_fire(self) -> Iterator[int]:
        return self.grid.between(self.sure_from, self.sure_until)


@dataclass
class History:
    """What the calls about one task say about when it fires."""

    spans: list[Span] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    replaced: list[tuple[float, int]] = field(default_factory=list)
    # Some call may have been done, or not, or may yet be.
    is_unsure: bool = False
    # A create that nobody answered may bring a removed name back.
    may_come_back: bool = False
    is_stopped: bool = False
    lost: list[Call] = field(default_factory=list)
    _open: list[Span] = field(default_factory=list)
    _grid: Grid | None = None
    _paused_at: float = NEVER

    def hear(self, call: Call) -> None:
        if call.status == GONE:
            self._check_refusal(call)
        # To a task that is past its end, nothing can be done any more.
        is_over = call.status == GONE and self._is_over(call.answered)
        if is_over or not (call.is_done or call.is_unsure or call.is_gone):
            return
        was_unsure = self.is_unsure
        self.is_unsure |= call.is_unsure
        if call.is_unsure and call.is_cron and call.grid:
            self.may_come_back = True
        match call.verb:
            case "create":
                self._grid = call.grid
                self._begin(call)
            case "replace":
                self._replace(call, was_unsure)
            case "pause" | "delete":
                self._stop(call)
            case "resume":
                self._resume(call)

    def _begin(self, call: Call) -> None:
        assert self._grid is not None
        # A cron fires from the moment on in which it was stored; the others at their
        # start, even if the answer took longer than that.
        begins_now = call.is_cron or call.verb == "resume"
        sure_from = call.answered if begins_now else -NEVER
        told_at = NEVER if self.is_unsure else call.answered
        is_loose = call.is_prompt and told_at * 1000 > self._grid.start
        self._open.append(
            Span(
                self._grid,
                maybe_from=call.sent if begins_now else -NEVER,
                sure_from=NEVER if self.is_unsure or is_loose else sure_from,
                loose_until=told_at if is_loose else -NEVER,
            )
        )

    def _replace(self, call: Call, was_unsure: bool) -> None:
        assert call.grid is not None
        if call.is_done:
            self.replaced.append((call.answered, call.version))
        if call.grid == self._grid and not was_unsure:
            # It keeps its place in time, whether the call was heard or not.
            return
        self._stop(call)
        self._grid = call.grid
        self._begin(call)

    def _stop(self, call: Call) -> None:
        assert self._grid is not None
        if not self._grid.every:
            if call.verb == "pause":
                # A one-time task waits through a pause, and its run comes after it.
                self._paused_at = min(self._paused_at, call.sent)
                self._note_stop(call)
                return
            call_sent = min(call.sent, self._paused_at)
        else:
            call_sent = call.sent
        self._open = [
            replace(span, sure_until=min(span.sure_until, call_sent))
            for span in self._open
        ]
        is_final = call.is_gone and not self.may_come_back
        if is_final or not (call.is_unsure or self.is_unsure):
            self.spans += [replace(s, maybe_until=call.answered) for s in self._open]
            self._open = []
        if call.verb != "replace":
            self._note_stop(call)

    def _note_stop(self, call: Call) -> None:
        self.is_stopped = True
        is_final = call.is_gone and not self.may_come_back
        if is_final or (call.is_done and not self.is_unsure):
            self.stops.append((call.answered, NEVER))

    def _resume(self, call: Call) -> None:
        if self.stops and self.stops[-1][1] == NEVER:
            self.stops[-1] = (self.stops[-1][0], call.sent)
        assert self._grid is not None
        if self._grid.every:
            self._begin(call)

    def _is_over(self, moment: float) -> bool:
        end = self._grid.end if self._grid else None
        return end is not None and moment * 1000 >= end

    def _check_refusal(self, call: Call) -> None:
        """A task that was promised, and neither ended nor was removed, must be there."""
        if self.is_unsure or self._grid is None:
            return
        end = self._grid.end if self._grid.every else self._grid.start
        if end is None or call.answered * 1000 < end:
            self.lost.append(call)

    def all_spans(self) -> list[Span]:
        return [*self.spans, *self._open]


def history_of(calls: Iterable[Call]) -> History:
    history = History()
    for call in calls:
        history.hear(call)
    return history


def judge(evidence: Evidence) -> list[Violation]:
    """Whatever breaks a promise, with enough to find it by."""
    found = [Violation("a part died by itself", "", what) for what in evidence.misdeeds]
    for mark in {**evidence.calls_of, **evidence.runs_of}:
        history = history_of(evidence.calls_of.get(mark, ()))
        if mark != NOTICES:
            found += _of_task(mark, history, evidence)
        for run in evidence.runs_of.get(mark, ()):
            found += _of_run(run, history, evidence)
    found += _of_overlap(evidence)
    known = {run.run_id for run in evidence.runs}
    found += [
        Violation("an arrival of no run", arrival.mark, str(arrival))
        for arrival in evidence.arrivals
        if arrival.run_id not in known
    ]
    return found


def _of_task(mark: str, history: History, evidence: Evidence) -> Iterator[Violation]:
    runs = evidence.runs_of.get(mark, [])
    for call in history.lost:
        yield Violation("an acknowledged task was lost", mark, str(call))
    if not history.is_unsure and len({run.task_id for run in runs}) > 1:
        yield Violation("one task became several", mark, str(runs))
    planned = [(run.task_id, run.planned) for run in runs]
    for fire_time in {each for each in planned if planned.count(each) > 1}:
        yield Violation("two runs for one fire time", mark, str(fire_time))
    spans = history.all_spans()
    have = {run.planned for run in runs}
    paused_at = _paused_at(runs)
    for span in spans:
        for fire_time in span.must_fire():
            if fire_time not in have and fire_time < paused_at * 1000:
                yield Violation("a fire time without a run", mark, str(fire_time))
    for run in runs:
        if not any(span.may_fire(run.planned) for span in spans):
            yield Violation("a run that nobody asked for", mark, str(run))
        if run.planned / 1000 > paused_at + AFTERMATH:
            yield Violation("a run after its task had failed too often", mark, str(run))
    yield from _of_notices(mark, history, evidence)


def _paused_at(runs: Sequence[Run]) -> float:
    """When the service paused a task whose target always fails."""
    failed = sorted(run.finished_at or NEVER for run in runs if run.counts_as_failed)
    wanted = runs[0].pause_after if runs else 0
    return failed[wanted - 1] if 0 < wanted <= len(failed) else NEVER


def _of_notices(mark: str, history: History, evidence: Evidence) -> Iterator[Violation]:
    """One for each pause; a task that ends at that moment may do without."""
    runs = evidence.runs_of.get(mark, [])
    task_ids = {run.task_id for run in runs}
    told = {
        word.run_id
        for word in evidence.words
        if word.what == "notice" and word.said in task_ids
    }
    ends = [span.grid.end / 1000 for span in history.all_spans() if span.grid.end]
    removed = [c.sent for c in evidence.calls_of.get(mark, ()) if c.verb == "delete"]
    paused_at = _paused_at(runs)
    if paused_at == NEVER and told:
        yield Violation("a notice of a pause that was not due", mark, str(told))
    if len(told) > 1:
        yield Violation("two notices of one pause", mark, str(told))
    if not told and paused_at < min([*ends, *removed], default=NEVER):
        yield Violation("a pause without a notice", mark, str(runs))


def _of_overlap(evidence: Evidence) -> Iterator[Violation]:
    """By the target's own log, it worked on one run at a time where it was to."""
    by_task = _grouped(evidence.runs, lambda run: run.task_id)
    for runs in by_task.values():
        until, before = 0.0, ""
        for began, ended, run in sorted(_at_work(runs, evidence)):
            if began < until:
                detail = f"{before} until {until}, {run.run_id} from {began}"
                yield Violation("two runs of one task at once", run.mark, detail)
            if ended > until:
                until, before = ended, run.run_id


def _at_work(
    runs: Sequence[Run], evidence: Evidence
) -> Iterator[tuple[float, float, Run]]:
    """From when to when a target was at work on each run that may not overlap.

    What a worker that was frozen sent after its run had ended is a duplicate.
    """
    for run in runs:
        if run.overlap == "allow" or run.reason == LOST_TOO_OFTEN:
            continue
        over = run.finished_at or NEVER
        arrivals = evidence.arrivals_of.get(run.run_id, ())
        came = [arrival.at for arrival in arrivals if arrival.at <= over]
        words = evidence.words_of.get(run.run_id, ())
        ended = [
            word.at
            for word in words
            if word.said == 200 and word.what != "heartbeat" and word.at <= over
        ]
        if came:
            yield min(came), max(*came, *ended, 0.0), run


def _of_run(run: Run, history: History, evidence: Evidence) -> Iterator[Violation]:
    arrivals = evidence.arrivals_of.get(run.run_id, [])
    broken = [
        *_ending(run, history),
        *_sending(run, arrivals),
        *_doubling(run, arrivals, evidence.faults),
        *_timing(run, arrivals, history),
        *_working(run, arrivals, evidence.words_of.get(run.run_id, ())),
    ]
    for rule in broken:
        yield Violation(rule, run.mark, f"{run} {arrivals}")


def _ending(run: Run, history: History) -> Iterator[str]:
    if run.finished_at is None:
        yield "a run that never ended"
    is_stopped = history.is_stopped or history.replaced or run.pause_after
    if run.state == "cancelled" and not is_stopped:
        yield "a run was cancelled though nobody stopped its task"
    if run.finished_at is not None and len(run.attempts) != run.attempt_count:
        yield "an attempt was not written down"
    is_once = any(not span.grid.every for span in history.all_spans())
    if is_once and run.state in NOT_SENT:
        yield "a one-time task was left out"
    if run.state == "skipped" and run.overlap == "allow":
        yield "a run was skipped that may overlap"


def _sending(run: Run, arrivals: Sequence[Arrival]) -> Iterator[str]:
    if any((a.mark, a.planned) != (run.mark, run.planned) for a in arrivals):
        yield "an arrival with another task's or fire time's words"
    if run.state in NOT_SENT and arrivals:
        yield "a run was sent that is said not to be"
    is_given_up = run.reason == LOST_TOO_OFTEN
    if run.state in {"succeeded", "failed"} and not arrivals and not is_given_up:
        yield "a run is said to be sent that was not"
    hows = {arrival.how for arrival in arrivals}
    if run.state == "succeeded" and hows and hows <= FAIL:
        yield "a failure was taken for a success"
    if run.state == "failed" and hows and hows <= SUCCEED and not is_given_up:
        yield "a success was taken for a failure"


def _doubling(
    run: Run, arrivals: Sequence[Arrival], faults: Sequence[Fault]
) -> Iterator[str]:
    # A kept connection that is closed without an answer: the request leaves once more.
    is_reset = any(arrival.how == "reset" for arrival in arrivals)
    if len(arrivals) > run.attempt_count * (2 if is_reset else 1):
        yield "a duplicate without a reason"
    if not run.is_retried and run.attempt_count - run.lost_count > 1:
        yield "another attempt that nobody asked for"
    if run.lost_count and not any(
        fault.loses_requests
        and fault.began <= (run.finished_at or NEVER)
        and run.first_claim <= fault.over + AFTERMATH
        for fault in faults
    ):
        yield "a run was lost though no worker was"


def _working(
    run: Run, arrivals: Sequence[Arrival], words: Sequence[Word]
) -> Iterator[str]:
    taken = {word.what for word in words if word.said == 200}
    if "complete" in taken and run.state != "succeeded":
        yield "work that was done was not taken for it"
    if "fail" in taken and run.state == "succeeded" and not run.is_retried:
        yield "work that failed was taken for a success"
    is_work = {arrival.how for arrival in arrivals} == {"work"}
    if is_work and run.state == "succeeded" and "complete" not in taken:
        yield "work was taken for done though nobody said so"


def _timing(run: Run, arrivals: Sequence[Arrival], history: History) -> Iterator[str]:
    if any(arrival.late < -CLOCK for arrival in arrivals):
        yield "a run was sent early"
    for stopped, until in history.stops:
        if stopped < (run.started_at or 0.0) < until:
            yield "a run was claimed after its task was stopped"
        if run.first_claim > stopped and any(stopped < a.at < until for a in arrivals):
            yield "a run was sent after its task was stopped"
    for replaced_at, version in history.replaced:
        if run.first_claim > replaced_at and any(
            arrival.at > replaced_at and arrival.version < version
            for arrival in arrivals
        ):
            yield "a run was sent as it was before its task was replaced"


def duplicates(evidence: Evidence) -> tuple[int, int]:
    """Requests that reached the target beyond one for each attempt that was meant.

    First those of runs that lost a worker, then those of targets that cut connections.
    """
    of_lost_workers = of_cut_connections = 0
    for run in evidence.runs:
        meant = max(1, run.attempt_count - run.lost_count)
        extra = max(0, len(evidence.arrivals_of.get(run.run_id, ())) - meant)
        by_workers = min(extra, run.lost_count)
        of_lost_workers += by_workers
        of_cut_connections += extra - by_workers
    return of_lost_workers, of_cut_connections


def recoveries(evidence: Evidence) -> Mapping[str, list[float]]:
    """For each kind of fault, seconds until something was delivered on time again."""
    on_time = sorted(
        (arrival.planned / 1000, arrival.at)
        for arrival in evidence.arrivals
        if arrival.late <= ON_TIME
    )
    found: dict[str, list[float]] = defaultdict(list)
    for fault in evidence.faults:
        place = bisect.bisect_left(on_time, (fault.since, 0.0))
        after = on_time[place:][:50]
        found[fault.kind].append(
            min((at for _, at in after), default=NEVER) - fault.since
        )
    return found
