"""Whether a run ended, was sent, was repeated and was timed as was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.evidence import (
    LOST_TOO_OFTEN,
    NEVER,
    WAITS_FOR_BOUNDS,
    Arrival,
    Evidence,
    Fault,
    RunRecord,
    TargetNote,
    Violation,
)
from tests.chaos.expectations import Expectation
from tests.chaos.promptness import ON_TIME_LIMIT, RECOVERY_SECONDS

# The resolution of X-Scheduled-For, in seconds.
CLOCK_RESOLUTION = 0.001
# The start of a run is when the transaction of its claim began. Its statement may see a
# task go on that was still paused then.
CLAIM_SECONDS = 0.1
# How the target answers requests of these behaviours, when no fault comes in between.
SUCCEEDING_BEHAVIOURS = frozenset({"ok", "brief", "stall", "drip"})
FAILING_BEHAVIOURS = frozenset({"fail", "busy", "reset", "garbage"})
UNRESOLVED = "its name servers do not answer"
UNSENT_STATES = frozenset({"missed", "skipped"})


def check_run(
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
    if run.finished_at is None and not run.reason.startswith(WAITS_FOR_BOUNDS):
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
    # A report without an answer may have been taken.
    may_be_complete = any(n.event == "complete" and n.value in {0, 200} for n in notes)
    if is_work and run.state == "succeeded" and not may_be_complete:
        yield "work was taken for done though nobody said so"


def _check_timing(
    run: RunRecord, arrivals: Sequence[Arrival], expectation: Expectation
) -> Iterator[str]:
    if any(arrival.lateness < -CLOCK_RESOLUTION for arrival in arrivals):
        yield "a run was sent early"
    arrivals = _since_known_claim(run, arrivals)
    for stopped_at, until in expectation.stops:
        if stopped_at < (run.started_at or 0.0) < until - CLAIM_SECONDS:
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


def _since_known_claim(run: RunRecord, arrivals: Sequence[Arrival]) -> list[Arrival]:
    """The requests of which it is known when a worker took the run for them.

    Another attempt overwrites when the run was taken for the first one. Its worker may
    have held it for long: until then, only the start of the request is known.
    """
    if len(run.attempts) < 2 or run.attempts[0].is_lost:
        return list(arrivals)
    again_at = run.attempts[1].started_at
    return [each for each in arrivals if each.arrived_at >= again_at]
