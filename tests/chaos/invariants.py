"""Compares what clients were told, what the service stored and what arrived.

Pure functions over the evidence of a round: each promise that was broken is a violation.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.causes import check_causes
from tests.chaos.evidence import (
    LOST_TOO_OFTEN,
    NEVER,
    NOTICES,
    Arrival,
    ClientCall,
    Evidence,
    Fault,
    RunRecord,
    TargetNote,
    Violation,
    group_by,
)
from tests.chaos.expectations import Expectation, FireWindow, expectation_of

# The resolution of X-Scheduled-For, in seconds.
CLOCK_RESOLUTION = 0.001
ON_TIME_LIMIT = 1.0
# Seconds until a lease has run out, an absence is noticed, and the run is claimed again.
RECOVERY_SECONDS = 20.0

# How the target answers requests of these behaviours, when no fault comes in between.
SUCCEEDING_BEHAVIOURS = frozenset({"ok", "stall", "drip"})
FAILING_BEHAVIOURS = frozenset({"fail", "busy", "reset", "garbage"})
# A harmless fault may make nothing later than this.
HARMLESS_LATENESS = 6.0
# While only the bells are gone, 99 of 100 fire times are no later than this. Fewer than
# so many fire times say nothing of that.
UNRUNG_LATENESS = 1.5
MIN_UNRUNG = 100
UNRESOLVED = "its name servers do not answer"
# The marks of tasks that nothing changes begin so.
UNTOUCHED_PREFIX = "steady"
UNSENT_STATES = frozenset({"missed", "skipped"})


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
            found += _check_run(run, expectation, evidence)
    found += [*_check_overlap(evidence), *_check_poison(evidence)]
    found += [*_check_refusals(evidence), *_check_harmless_faults(evidence)]
    found += [*_check_unrung(evidence), *_check_arrivals(evidence)]
    return [*found, *check_causes(evidence)]


def _check_arrivals(evidence: Evidence) -> Iterator[Violation]:
    known = {run.run_id for run in evidence.runs}
    for arrival in evidence.arrivals:
        if arrival.run_id not in known:
            yield Violation("an arrival of no run", arrival.mark, str(arrival))


def _check_task(
    mark: str, expectation: Expectation, evidence: Evidence
) -> Iterator[Violation]:
    runs = evidence.runs_by_mark.get(mark, [])
    for call in expectation.lost_calls:
        yield Violation("an acknowledged task was lost", mark, str(call))
    if not expectation.is_uncertain and len({run.task_id for run in runs}) > 1:
        yield Violation("one task became several", mark, str(runs))
    scheduled = [(run.task_id, run.scheduled_ms) for run in runs]
    for fire_time in {each for each in scheduled if scheduled.count(each) > 1}:
        yield Violation("two runs for one fire time", mark, str(fire_time))
    yield from _check_fire_times(mark, expectation.all_windows(), runs)
    yield from _check_notices(mark, expectation, evidence)


def _check_fire_times(
    mark: str, windows: Sequence[FireWindow], runs: Sequence[RunRecord]
) -> Iterator[Violation]:
    stored = {run.scheduled_ms for run in runs}
    paused_at = _pause_time(runs)
    for window in windows:
        for fire_time in window.required_fire_times():
            if fire_time not in stored and fire_time < paused_at * 1000:
                yield Violation("a fire time without a run", mark, str(fire_time))
    for run in runs:
        if not any(window.may_fire(run.scheduled_ms) for window in windows):
            yield Violation("a run that nobody asked for", mark, str(run))
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
    if paused_at == NEVER and notices:
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


def _check_refusals(evidence: Evidence) -> Iterator[Violation]:
    for call in evidence.calls:
        if call.status in {401, 403}:
            yield Violation("a good token was refused", call.mark, str(call))
        if _is_sound_task(call) and call.is_refused:
            yield Violation("a sound task was refused", call.mark, str(call))


def _is_sound_task(call: ClientCall) -> bool:
    """A task that begins in the past may be refused; a cron never does."""
    if call.verb not in {"create", "replace"}:
        return False
    times = call.fire_times
    return call.is_cron or (times is not None and call.answered_at * 1000 < times.start)


def _check_harmless_faults(evidence: Evidence) -> Iterator[Violation]:
    """While nothing is broken, or only what must not matter, every task is prompt."""
    for fault in evidence.faults:
        for run in evidence.runs if fault.is_harmless else ():
            last = fault.repaired_at - HARMLESS_LATENESS
            is_judged = run.mark.startswith(UNTOUCHED_PREFIX) and (
                fault.began_at <= run.scheduled_ms / 1000 <= last
            )
            arrivals = evidence.arrivals_by_run.get(run.run_id, ())
            lateness = min((each.lateness for each in arrivals), default=NEVER)
            if is_judged and lateness > HARMLESS_LATENESS:
                detail = f"{fault.kind}: {run}"
                yield Violation("late though nothing was broken", run.mark, detail)


def unrung_latenesses(evidence: Evidence) -> list[float]:
    """How late untouched tasks were while nothing but the bells was gone."""
    unrung = [fault for fault in evidence.faults if fault.takes_bells]
    others = [
        fault
        for fault in evidence.faults
        if not fault.takes_bells and fault.breaks_deliveries
    ]
    found = []
    for run in evidence.runs:
        at = run.scheduled_ms / 1000
        arrivals = evidence.arrivals_by_run.get(run.run_id, ())
        if (
            run.mark.startswith(UNTOUCHED_PREFIX)
            and any(each.began_at <= at <= each.repaired_at for each in unrung)
            and not any(
                each.began_at <= at + UNRUNG_LATENESS
                and at <= each.repaired_at + RECOVERY_SECONDS
                for each in others
            )
        ):
            found.append(min((each.lateness for each in arrivals), default=NEVER))
    return sorted(found)


def _check_unrung(evidence: Evidence) -> Iterator[Violation]:
    latenesses = unrung_latenesses(evidence)
    if len(latenesses) >= MIN_UNRUNG:
        late = latenesses[len(latenesses) * 99 // 100]
        if late > UNRUNG_LATENESS:
            yield Violation("late though only bells were gone", "", f"p99 {late:.2f} s")


def _check_run(
    run: RunRecord, expectation: Expectation, evidence: Evidence
) -> Iterator[Violation]:
    arrivals = evidence.arrivals_by_run.get(run.run_id, [])
    notes = evidence.notes_by_run.get(run.run_id, ())
    broken_rules = [
        *_check_end(run, expectation),
        *_check_request(run, arrivals),
        *_check_state(run, arrivals, evidence.faults),
        *_check_duplicates(run, arrivals, notes),
        *_check_attempts(run, evidence.faults),
        *_check_timing(run, arrivals, expectation),
        *_check_long_work(run, arrivals, notes),
        *_check_clocks(run, notes),
    ]
    for rule in broken_rules:
        yield Violation(rule, run.mark, f"{run} {arrivals}")


def _check_end(run: RunRecord, expectation: Expectation) -> Iterator[str]:
    if run.finished_at is None:
        yield "a run that never ended"
    is_stopped = expectation.is_stopped or expectation.replacements or run.pause_after
    if run.state == "cancelled" and not is_stopped:
        yield "a run was cancelled though nobody stopped its task"
    if run.finished_at is not None and len(run.attempts) != run.attempt_count:
        yield "an attempt was not written down"
    windows = expectation.all_windows()
    is_one_time = any(not window.fire_times.every for window in windows)
    if is_one_time and run.state in UNSENT_STATES:
        yield "a one-time task was left out"
    if run.state == "skipped" and run.overlap == "allow":
        yield "a run was skipped that may overlap"


def _check_clocks(run: RunRecord, notes: Sequence[TargetNote]) -> Iterator[str]:
    """The clocks of the database and the target are right, whatever the parts' own say."""
    if any(note.event == "stale" for note in notes):
        yield "a request was signed with another time"
    since = run.scheduled_ms / 1000 - ON_TIME_LIMIT
    until = (run.finished_at or NEVER) + ON_TIME_LIMIT
    if any(not since <= attempt.started_at <= until for attempt in run.attempts):
        yield "an attempt has another time"


def _check_request(run: RunRecord, arrivals: Sequence[Arrival]) -> Iterator[str]:
    if any((a.mark, a.scheduled_ms) != (run.mark, run.scheduled_ms) for a in arrivals):
        yield "an arrival with another task's or fire time's words"
    if run.state in UNSENT_STATES and arrivals:
        yield "a run was sent that is said not to be"


def _check_state(
    run: RunRecord, arrivals: Sequence[Arrival], faults: Sequence[Fault]
) -> Iterator[str]:
    is_given_up = run.reason == LOST_TOO_OFTEN or _was_unresolved(run, faults)
    if run.state in {"succeeded", "failed"} and not arrivals and not is_given_up:
        yield "a run is said to be sent that was not"
    behaviours = {arrival.behaviour for arrival in arrivals}
    if run.state == "succeeded" and behaviours and behaviours <= FAILING_BEHAVIOURS:
        yield "a failure was taken for a success"
    if (
        run.state == "failed"
        and behaviours
        and behaviours <= SUCCEEDING_BEHAVIOURS
        and not is_given_up
    ):
        yield "a success was taken for a failure"


def _was_unresolved(run: RunRecord, faults: Sequence[Fault]) -> bool:
    return UNRESOLVED in run.reason and any(
        fault.kind.startswith("name servers")
        and fault.began_at <= (run.finished_at or NEVER)
        and run.scheduled_ms / 1000 <= fault.repaired_at + RECOVERY_SECONDS
        for fault in faults
    )


def _check_duplicates(
    run: RunRecord, arrivals: Sequence[Arrival], notes: Sequence[TargetNote]
) -> Iterator[str]:
    # A kept connection that is closed without an answer: the request leaves once more, and
    # no more often, within its attempt. A target that resets does not say which it was.
    is_reset = any(arrival.behaviour == "reset" for arrival in arrivals)
    closed = sum(note.event == "closed" for note in notes)
    repeated = run.attempt_count if is_reset else min(closed, run.attempt_count)
    if len(arrivals) > run.attempt_count + repeated:
        yield "a duplicate without a reason"


def _check_attempts(run: RunRecord, faults: Sequence[Fault]) -> Iterator[str]:
    if not run.is_retried and run.attempt_count - run.lost_count > 1:
        yield "another attempt that nobody asked for"
    if run.lost_count and not any(
        fault.loses_requests
        and fault.began_at <= (run.finished_at or NEVER)
        and run.first_claim <= fault.repaired_at + RECOVERY_SECONDS
        for fault in faults
    ):
        yield "a run was lost though no worker was"


def _check_long_work(
    run: RunRecord, arrivals: Sequence[Arrival], notes: Sequence[TargetNote]
) -> Iterator[str]:
    accepted = {note.event for note in notes if note.value == 200}
    if "complete" in accepted and run.state != "succeeded":
        yield "work that was done was not taken for it"
    if "fail" in accepted and run.state == "succeeded" and not run.is_retried:
        yield "work that failed was taken for a success"
    is_work = {arrival.behaviour for arrival in arrivals} == {"work"}
    if is_work and run.state == "succeeded" and "complete" not in accepted:
        yield "work was taken for done though nobody said so"


def _check_timing(
    run: RunRecord, arrivals: Sequence[Arrival], expectation: Expectation
) -> Iterator[str]:
    if any(arrival.lateness < -CLOCK_RESOLUTION for arrival in arrivals):
        yield "a run was sent early"
    for stopped_at, until in expectation.stops:
        if stopped_at < (run.started_at or 0.0) < until:
            yield "a run was claimed after its task was stopped"
        if run.first_claim > stopped_at and any(
            stopped_at < arrival.arrived_at < until for arrival in arrivals
        ):
            yield "a run was sent after its task was stopped"
    for replaced_at, version in expectation.replacements:
        if run.first_claim > replaced_at and any(
            arrival.arrived_at > replaced_at and arrival.version < version
            for arrival in arrivals
        ):
            yield "a run was sent as it was before its task was replaced"


def count_duplicates(evidence: Evidence) -> tuple[int, int]:
    """Requests that reached the target beyond one for each intended attempt.

    First those of runs that lost a worker, then those of connections that were cut.
    """
    after_lost_workers = on_cut_connections = 0
    for run in evidence.runs:
        intended = max(1, run.attempt_count - run.lost_count)
        arrivals = evidence.arrivals_by_run.get(run.run_id, ())
        extra = max(0, len(arrivals) - intended)
        by_workers = min(extra, run.lost_count)
        after_lost_workers += by_workers
        on_cut_connections += extra - by_workers
    return after_lost_workers, on_cut_connections


def recovery_times(evidence: Evidence) -> Mapping[str, list[float]]:
    """For each kind of fault, seconds until something was delivered on time again."""
    on_time = sorted(
        (arrival.scheduled_ms / 1000, arrival.arrived_at)
        for arrival in evidence.arrivals
        if arrival.lateness <= ON_TIME_LIMIT
    )
    found: dict[str, list[float]] = {}
    for fault in evidence.faults:
        place = bisect.bisect_left(on_time, (fault.recovery_starts_at, 0.0))
        following = on_time[place:][:50]
        recovered_at = min((at for _, at in following), default=NEVER)
        found.setdefault(fault.kind, []).append(recovered_at - fault.recovery_starts_at)
    return found
