"""Whether lanes keep their limits: rates, concurrency and pauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos.control_calls import LaneCall
from tests.chaos.evidence import (
    NEVER,
    Arrival,
    AttemptRecord,
    Evidence,
    RunRecord,
    Violation,
    group_by,
)

# A new rate holds for each window that begins so many seconds after the change.
SETTLING_SECONDS = 2.0
# By how much one request may be on its way to the target for longer than another one.
ARRIVAL_MARGIN = 0.5
# Slots that were given out before a pause are over after so many seconds.
SLOT_SECONDS = 1.25
# What a thawed worker had checked before it was frozen arrives within so many seconds.
THAW_SECONDS = 1.0
# The resolution of recorded durations.
RESOLUTION = 0.002


class Start(NamedTuple):
    """A request of a lane that started, by the record of its attempt."""

    run: RunRecord
    attempt: AttemptRecord


def check_lanes(evidence: Evidence) -> Iterator[Violation]:
    for name, calls in group_by(evidence.control.lanes, lambda call: call.lane).items():
        for call in calls:
            if call.status in {400, 401, 403, 409}:
                yield Violation(
                    "a sound call about a lane was refused", name, f"{call}"
                )
        lane = _Lane(name, calls, evidence)
        yield from lane.check_starts()
        yield from lane.check_arrivals()
        yield from lane.check_concurrency()
        yield from lane.check_pauses()


class _Lane:
    def __init__(
        self, name: str, calls: Sequence[LaneCall], evidence: Evidence
    ) -> None:
        self._name = name
        self._evidence = evidence
        self._calls = [call for call in calls if call.is_done or call.is_uncertain]
        self._period = calls[0].period
        self._concurrency = calls[0].concurrency
        self._runs = [
            run
            for call in evidence.calls
            if call.lane == name
            for run in evidence.runs_by_mark.get(call.mark, ())
        ]
        starts = [Start(run, each) for run in self._runs for each in run.attempts]
        self._starts = sorted(
            (start for start in starts if not start.attempt.is_lost),
            key=lambda start: start.attempt.started_at,
        )

    def _highest_rate(self, since: float, until: float) -> float:
        """The highest rate that may count in a window."""
        rates = [call for call in self._calls if call.verb in {"create", "change"}]
        found = [0.0]
        for place, call in enumerate(rates):
            ended = min(
                (each.answered_at for each in rates[place + 1 :] if each.is_done),
                default=NEVER,
            )
            if call.sent_at <= until and since <= ended + SETTLING_SECONDS:
                found.append(call.rate or NEVER)
        return max(found)

    def check_starts(self) -> Iterator[Violation]:
        starts = [start.attempt.started_at for start in self._starts]
        for at, count in _windows(starts, self._period):
            if count > self._highest_rate(at, at + self._period):
                yield self._found("a lane started more than its rate", at, count)

    def check_arrivals(self) -> Iterator[Violation]:
        arrivals = sorted(self._counted_arrivals())
        seconds = self._period - ARRIVAL_MARGIN
        for at, count in _windows(arrivals, seconds):
            rate = self._highest_rate(at - ARRIVAL_MARGIN, at + self._period)
            if count > rate:
                yield self._found("more arrived from a lane than its rate", at, count)

    def _counted_arrivals(self) -> Iterator[float]:
        """When requests arrived; those do not count that have no start of their own.

        These are the second request after a kept connection was closed, and what a
        worker had begun when it was frozen.
        """
        for run in self._runs:
            notes = self._evidence.notes_by_run.get(run.run_id, ())
            closed = {note.noted_at for note in notes if note.event == "closed"}
            for arrival in self._evidence.arrivals_by_run.get(run.run_id, ()):
                if arrival.arrived_at not in closed and not self._is_thawed(arrival):
                    yield arrival.arrived_at

    def _is_thawed(self, arrival: Arrival) -> bool:
        return any(
            "SIGSTOP" in fault.kind
            and any(victim.startswith("worker") for victim in fault.victims)
            and 0 <= arrival.arrived_at - fault.repaired_at <= THAW_SECONDS
            for fault in self._evidence.faults
        )

    def check_concurrency(self) -> Iterator[Violation]:
        if not self._concurrency:
            return
        under_way: list[float] = []
        for start in self._starts:
            at = start.attempt.started_at + RESOLUTION
            under_way = [end for end in under_way if end > at]
            under_way.append(start.attempt.ended_at)
            if len(under_way) > self._concurrency:
                text = "more requests of a lane were under way than its concurrency"
                yield self._found(text, at, len(under_way))

    def check_pauses(self) -> Iterator[Violation]:
        for paused_at, resumed_at in self._pauses():
            for run, attempt in self._starts:
                if paused_at + SLOT_SECONDS < attempt.started_at < resumed_at:
                    detail = f"{self._name} from {paused_at} to {resumed_at}: {run}"
                    yield Violation("a paused lane started a request", run.mark, detail)

    def _pauses(self) -> Iterator[tuple[float, float]]:
        """From the answer to each pause until the next resume was sent."""
        for place, call in enumerate(self._calls):
            if call.verb == "pause" and call.is_done:
                resumed = [
                    each.sent_at
                    for each in self._calls[place + 1 :]
                    if each.verb == "resume"
                ]
                yield call.answered_at, min(resumed, default=NEVER)

    def _found(self, rule: str, at: float, count: int) -> Violation:
        detail = f"{count} from {at}: {[c for c in self._calls if c.sent_at <= at]}"
        return Violation(rule, self._name, detail)


def _windows(moments: Sequence[float], seconds: float) -> Iterator[tuple[float, int]]:
    """For each of some sorted moments, how many of them lie in the window from it on."""
    end = 0
    for place, at in enumerate(moments):
        while end < len(moments) and moments[end] < at + seconds:
            end += 1
        yield at, end - place
