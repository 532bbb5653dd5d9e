"""Whether calendars leave fire times out, hold runs back, and let them go in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos.control_calls import CalendarHistory
from tests.chaos.evidence import (
    NEVER,
    ClientCall,
    Evidence,
    RunRecord,
    Violation,
    group_by,
)
from tests.chaos.release_gaps import may_go_in_a_hold

# The clocks that say when a hold ends and when a run was taken agree so far, in seconds.
CLOCK_MARGIN = 0.05
# What the reason of a run says that waited for the end of a hold.
WAS_HELD = "held by calendar"
# Runs of one task that are taken within so many seconds may change their places.
ORDER_MARGIN = 0.1
# Held runs keep their places while they are less late than this.
KEPT_SECONDS = 3.0
# In so many seconds, no more held runs go than the pace allows, and some beside: a new
# version of the calendar gives all of them new places.
PACE_WINDOW, PACE_MARGIN = 4.0, 4


class Exclusions(NamedTuple):
    """What the calendar of a task leaves out, and the fire time with its last run."""

    use: str
    history: CalendarHistory
    last_ms: float = NEVER

    @classmethod
    def of(
        cls, calls: Sequence[ClientCall], evidence: Evidence, *, last_ms: float = NEVER
    ) -> Exclusions:
        created = [call for call in calls if call.calendar]
        name, use = (
            (created[0].calendar, created[0].calendar_use) if created else ("", "")
        )
        known = [call for call in evidence.control.calendars if call.calendar == name]
        return cls(use, CalendarHistory(known), last_ms)

    def may_exclude(self, moment_ms: float) -> bool:
        match self.use:
            case "exclude":
                return self.history.may_cover(moment_ms)
            case "only":
                return not self.history.must_cover(moment_ms)
        return False

    def must_exclude(self, moment_ms: float) -> bool:
        match self.use:
            case "exclude":
                return self.history.must_cover(moment_ms)
            case "only":
                return not self.history.may_cover(moment_ms)
        return False


def check_calendars(evidence: Evidence) -> Iterator[Violation]:
    for call in evidence.control.calendars:
        if call.status in {400, 401, 403, 404}:
            detail = f"{call}"
            yield Violation(
                "a sound call about a calendar was refused", call.calendar, detail
            )
    holding = [call for call in evidence.calls if call.calendar_use == "hold"]
    for name, calls in group_by(holding, lambda call: call.calendar).items():
        known = [call for call in evidence.control.calendars if call.calendar == name]
        history = CalendarHistory(known)
        by_mark = {
            call.mark: _held_runs(evidence.runs_by_mark.get(call.mark, ()), history)
            for call in calls
        }
        for runs in by_mark.values():
            yield from _check_holds(evidence, runs, history)
            yield from _check_order(runs)
        if pace := max(call.pace for call in calls):
            held = [run for runs in by_mark.values() for run in runs]
            yield from _check_pace(name, held, pace)


def _held_runs(runs: Sequence[RunRecord], history: CalendarHistory) -> list[RunRecord]:
    """The runs that were certainly held at their fire times, in the order of these."""
    held = [run for run in runs if history.must_cover(run.scheduled_ms)]
    return sorted(held, key=lambda run: run.scheduled_ms)


def _check_holds(
    evidence: Evidence, runs: Sequence[RunRecord], history: CalendarHistory
) -> Iterator[Violation]:
    for run in runs:
        ends_at = history.must_hold_until(run.scheduled_ms) / 1000
        if run.first_claim < ends_at - CLOCK_MARGIN and not (
            WAS_HELD not in run.reason and may_go_in_a_hold(evidence, run, history)
        ):
            detail = f"until {ends_at}: {run}"
            yield Violation("a run was sent while it was held", run.mark, detail)


def _check_order(runs: Sequence[RunRecord]) -> Iterator[Violation]:
    """Check those that really waited for the end of the hold.

    A fire time that is decided after the hold waits for nobody. A run that lost its worker
    has gone before, at a moment that nobody recorded.
    """
    last: RunRecord | None = None
    for run in runs:
        if run.lost_count or run.first_claim == NEVER or WAS_HELD not in run.reason:
            continue
        if last is not None and run.first_claim < last.first_claim - ORDER_MARGIN:
            detail = f"{last} before {run}"
            yield Violation("held runs went in another order", run.mark, detail)
        last = run


def _check_pace(
    name: str, runs: Sequence[RunRecord], pace: float
) -> Iterator[Violation]:
    went = sorted(
        run.first_claim
        for run in runs
        if not run.lost_count and run.first_claim < NEVER
    )
    most = (PACE_WINDOW + KEPT_SECONDS) / pace + PACE_MARGIN
    for at in went:
        count = sum(at <= each < at + PACE_WINDOW for each in went)
        if count > most:
            detail = f"{count} in {PACE_WINDOW} s from {at}"
            yield Violation("held runs went faster than their pace", name, detail)
