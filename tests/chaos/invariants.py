"""Compares what clients were told, what the service stored and what arrived.

Pure functions over the evidence of a round: each promise that was broken is a violation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.calendar_invariants import Exclusions, check_calendars
from tests.chaos.causes import check_causes
from tests.chaos.evidence import (
    LOST_TOO_OFTEN,
    NEVER,
    NOTICES,
    ClientCall,
    Evidence,
    RunRecord,
    Violation,
    group_by,
)
from tests.chaos.expectations import Expectation, FireWindow, expectation_of
from tests.chaos.lane_invariants import check_lanes
from tests.chaos.promptness import (
    RECOVERY_SECONDS,
    check_harmless_faults,
    check_unrung,
)
from tests.chaos.run_invariants import check_run
from tests.chaos.schedule_invariants import check_schedules, end_of_runs


def find_violations(evidence: Evidence) -> list[Violation]:
    """Each broken promise, with enough detail to find its cause."""
    found = [
        Violation("a part died by itself", "", failure)
        for failure in evidence.part_failures
    ]
    for mark in {**evidence.calls_by_mark, **evidence.runs_by_mark}:
        expectation = expectation_of(evidence.calls_by_mark.get(mark, ()))
        if mark != NOTICES:
            found += _check_task(mark, expectation, evidence)
        for run in evidence.runs_by_mark.get(mark, ()):
            found += check_run(run, expectation, evidence)
    found += [*_check_overlap(evidence), *_check_poison(evidence)]
    found += [*_check_refusals(evidence), *check_harmless_faults(evidence)]
    found += [*check_unrung(evidence), *_check_arrivals(evidence)]
    found += [*check_lanes(evidence), *check_calendars(evidence)]
    found += check_schedules(evidence)
    return [*found, *check_causes(evidence)]


def _check_arrivals(evidence: Evidence) -> Iterator[Violation]:
    known = {run.run_id for run in evidence.runs}
    for arrival in evidence.arrivals:
        if arrival.run_id not in known:
            yield Violation("an arrival of no run", arrival.mark, str(arrival))


def _check_task(
    mark: str, expectation: Expectation, evidence: Evidence
) -> Iterator[Violation]:
    # The runs of backfills stand beside the schedule.
    runs = [run for run in evidence.runs_by_mark.get(mark, ()) if not run.backfill]
    for call in expectation.lost_calls:
        yield Violation("an acknowledged task was lost", mark, str(call))
    if not expectation.is_uncertain and len({run.task_id for run in runs}) > 1:
        yield Violation("one task became several", mark, str(runs))
    scheduled = [(run.task_id, run.scheduled_ms) for run in runs]
    for fire_time in {each for each in scheduled if scheduled.count(each) > 1}:
        yield Violation("two runs for one fire time", mark, str(fire_time))
    calls = evidence.calls_by_mark.get(mark, ())
    exclusions = Exclusions.of(calls, evidence, last_ms=end_of_runs(calls, runs))
    yield from _check_fire_times(mark, expectation.all_windows(), runs, exclusions)
    yield from _check_notices(mark, expectation, evidence)


def _check_fire_times(
    mark: str,
    windows: Sequence[FireWindow],
    runs: Sequence[RunRecord],
    exclusions: Exclusions,
) -> Iterator[Violation]:
    stored = {run.scheduled_ms for run in runs}
    paused_at = _pause_time(runs)
    last = min(paused_at * 1000, exclusions.last_ms)
    for window in windows:
        for fire_time in window.required_fire_times():
            is_left_out = exclusions.may_exclude(fire_time) or fire_time >= last
            if fire_time not in stored and not is_left_out:
                yield Violation("a fire time without a run", mark, str(fire_time))
    for run in runs:
        if not any(window.may_fire(run.scheduled_ms) for window in windows):
            yield Violation("a run that nobody asked for", mark, str(run))
        if exclusions.must_exclude(run.scheduled_ms):
            yield Violation("a run of a fire time that is left out", mark, str(run))
        if run.scheduled_ms / 1000 > paused_at + RECOVERY_SECONDS:
            yield Violation("a run after its task had failed too often", mark, str(run))


def _pause_time(runs: Sequence[RunRecord]) -> float:
    """When the service paused a task whose target always fails."""
    failed = sorted(run.finished_at or NEVER for run in runs if run.counts_as_failed)
    limit = runs[0].pause_after if runs else 0
    return failed[limit - 1] if 0 < limit <= len(failed) else NEVER


def _check_notices(
    mark: str, expectation: Expectation, evidence: Evidence
) -> Iterator[Violation]:
    """Each pause has one notice; a task that ends at that moment may have none."""
    runs = evidence.runs_by_mark.get(mark, [])
    task_ids = {run.task_id for run in runs}
    notices = {
        note.run_id
        for note in evidence.notes
        if note.event == "notice" and note.value in task_ids
    }
    windows, calls = expectation.all_windows(), evidence.calls_by_mark.get(mark, ())
    ends = [each.fire_times.end / 1000 for each in windows if each.fire_times.end]
    removed = [call.sent_at for call in calls if call.verb == "delete"]
    paused_at = _pause_time(runs)
    # A task that ends after its runs has a notice of that.
    ends_early = any(call.max_runs for call in calls)
    if paused_at == NEVER and notices and not ends_early:
        yield Violation("a notice of a pause that was not due", mark, str(notices))
    if len(notices) > 1:
        yield Violation("two notices of one pause", mark, str(notices))
    if not notices and paused_at < min([*ends, *removed], default=NEVER):
        yield Violation("a pause without a notice", mark, str(runs))


def _check_overlap(evidence: Evidence) -> Iterator[Violation]:
    """By the target's own log, no two runs of a task were at work that may not overlap."""
    for runs in group_by(evidence.runs, lambda run: run.task_id).values():
        until, before = 0.0, ""
        for began, ended, run in sorted(_work_periods(runs, evidence)):
            if began < until:
                detail = f"{before} until {until}, {run.run_id} from {began}"
                yield Violation("two runs of one task at once", run.mark, detail)
            if ended > until:
                until, before = ended, run.run_id


def _work_periods(
    runs: Sequence[RunRecord], evidence: Evidence
) -> Iterator[tuple[float, float, RunRecord]]:
    """When the target was at work on each run that may not overlap.

    What a frozen worker sent after its run had ended is a duplicate and does not count.
    """
    for run in runs:
        if run.overlap == "allow" or run.reason == LOST_TOO_OFTEN:
            continue
        over = run.finished_at or NEVER
        arrivals = evidence.arrivals_by_run.get(run.run_id, ())
        began = [each.arrived_at for each in arrivals if each.arrived_at <= over]
        notes = evidence.notes_by_run.get(run.run_id, ())
        ended = [
            note.noted_at
            for note in notes
            if note.value == 200 and note.event != "heartbeat" and note.noted_at <= over
        ]
        if began:
            yield min(began), max(*began, *ended, 0.0), run


def _check_poison(evidence: Evidence) -> Iterator[Violation]:
    """The quickest schedule fires once a second."""
    for task_id, count in evidence.poison.items():
        if count > 2 * evidence.seconds + 100:
            yield Violation("a poisonous task multiplied", task_id, f"{count} runs")


# The uses of a calendar that leave fire times out.
LEAVE_OUT = {"exclude", "only"}


def _check_refusals(evidence: Evidence) -> Iterator[Violation]:
    for call in evidence.calls:
        if call.status in {401, 403}:
            yield Violation("a good token was refused", call.mark, str(call))
        if _is_sound_task(call) and call.is_refused:
            yield Violation("a sound task was refused", call.mark, str(call))


def _is_sound_task(call: ClientCall) -> bool:
    """A task that begins in the past may be refused; a cron never does.

    So may a task of whose fire times its calendar leaves none.
    """
    if call.verb not in {"create", "replace"} or call.calendar_use in LEAVE_OUT:
        return False
    times = call.fire_times
    return call.is_cron or (times is not None and call.answered_at * 1000 < times.start)
