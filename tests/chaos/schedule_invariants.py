"""Whether tasks end after their runs, backfills are whole, bounds hold and accounts balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.chaos.calendar_invariants import Exclusions
from tests.chaos.control_calls import BackfillCall
from tests.chaos.evidence import (
    NEVER,
    ClientCall,
    Evidence,
    RunRecord,
    Violation,
    group_by,
)
from tests.chaos.expectations import expectation_of

# The marks of tasks whose accounts are asked for begin so.
ACCOUNTED = ("laned", "dated", "ended", "timed", "caught", "filled")
BOUNDED = "bounded"


def runs_with_accounts(runs: Iterable[RunRecord]) -> list[RunRecord]:
    return [run for run in runs if run.mark.startswith(ACCOUNTED)]


def check_schedules(evidence: Evidence) -> Iterator[Violation]:
    yield from _check_max_runs(evidence)
    yield from _check_backfills(evidence)
    yield from _check_bounds(evidence)
    yield from _check_accounts(evidence)


def end_of_runs(calls: Sequence[ClientCall], runs: Sequence[RunRecord]) -> float:
    """The fire time from which on a task with max_runs need not fire any more."""
    most = max((call.max_runs for call in calls), default=0)
    counted = sorted(run.scheduled_ms for run in runs if run.first_claim < NEVER)
    return counted[most - 1] if 0 < most <= len(counted) else NEVER


def _check_max_runs(evidence: Evidence) -> Iterator[Violation]:
    for call in evidence.calls:
        runs = evidence.runs_by_mark.get(call.mark, ()) if call.max_runs else ()
        started = [run for run in runs if not run.backfill and run.first_claim < NEVER]
        if call.max_runs and len(started) > call.max_runs:
            detail = f"{call.max_runs}: {started}"
            yield Violation("a task made more runs than max_runs", call.mark, detail)


def _check_backfills(evidence: Evidence) -> Iterator[Violation]:
    made = [run for run in evidence.runs if run.backfill]
    by_id = group_by(made, lambda run: run.backfill)
    for call in evidence.control.backfills:
        runs = by_id.get(call.backfill, []) if call.is_done else []
        if len(runs) != call.count:
            detail = f"{len(runs)} runs of {call}"
            yield Violation("a backfill lost runs", call.mark, detail)
        for run in runs:
            if not call.since_ms <= run.scheduled_ms < call.until_ms:
                yield Violation("a backfill left its time", call.mark, f"{call} {run}")
        yield from _check_slots(call.mark, runs)
    yield from _check_unanswered(evidence.control.backfills, by_id)


def _check_slots(mark: str, runs: Sequence[RunRecord]) -> Iterator[Violation]:
    for slot, count in Counter(run.scheduled_ms for run in runs).items():
        if count > 1:
            yield Violation("a backfill made two runs for a slot", mark, str(slot))


def _check_unanswered(
    calls: Sequence[BackfillCall], by_id: dict[str, list[RunRecord]]
) -> Iterator[Violation]:
    """Backfills of which no client knows the id stem from calls without an answer."""
    known = {call.backfill for call in calls}
    unheard = Counter(call.mark for call in calls if call.is_uncertain)
    for backfill, runs in by_id.items():
        if backfill not in known:
            yield from _check_slots(runs[0].mark, runs)
            unheard[runs[0].mark] -= 1
    for mark, left in unheard.items():
        if left < 0:
            yield Violation("a backfill that nobody asked for", mark, str(-left))


def _check_bounds(evidence: Evidence) -> Iterator[Violation]:
    """A round is shorter than a day."""
    if not evidence.bounded_runs:
        return
    came = [each for each in evidence.arrivals if each.mark.startswith(BOUNDED)]
    runs = [run for run in evidence.runs if run.mark.startswith(BOUNDED)]
    started = sum(run.attempt_count for run in runs)
    for what, count in (("arrived", len(came)), ("started", started)):
        if count > evidence.bounded_runs:
            rule = "a bounded token started more requests than its bound"
            yield Violation(rule, BOUNDED, f"{count} {what}")


def _check_accounts(evidence: Evidence) -> Iterator[Violation]:
    for account in evidence.accounts:
        mark = account.mark
        if account.status != 200:
            yield Violation("an account has no answer", mark, str(account))
            continue
        if account.balance or account.missing or account.unplanned:
            yield Violation("an account does not balance", mark, str(account))
        calls = evidence.calls_by_mark.get(mark, ())
        least, most = _count_excluded(calls, evidence)
        if not least <= account.excluded <= most:
            detail = f"{account}, not from {least} to {most}"
            yield Violation("an account counts other exclusions", mark, detail)


def _count_excluded(
    calls: Sequence[ClientCall], evidence: Evidence
) -> tuple[int, float]:
    """How many fire times the calendar of a task left out: at least, and at most."""
    exclusions = Exclusions.of(calls, evidence)
    expectation = expectation_of(calls)
    if not exclusions.use or expectation.is_uncertain:
        return 0, NEVER
    must, may = set(), set()
    for window in expectation.all_windows():
        for fire_time in window.required_fire_times():
            if exclusions.must_exclude(fire_time):
                must.add(fire_time)
        since, until = window.possible_from - 0.001, window.possible_until + 0.001
        for fire_time in window.fire_times.between(since, until):
            if exclusions.may_exclude(fire_time):
                may.add(fire_time)
    return len(must), len(may)
