"""Which causes "why" may name for a fire time that was not delivered on time.

The referee knows what was broken when, what the target did and what the policy of the task
is. It does not read the reasons of runs, nor the gaps that the service noted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from tests.chaos.control_causes import BUSY, UNASKED, more_causes
from tests.chaos.evidence import (
    NEVER,
    NOTICES,
    Arrival,
    Evidence,
    Fault,
    RunRecord,
    Violation,
)
from tests.chaos.release_gaps import more_causes_of

# Who is delivered later than this is asked about.
ON_TIME = 2.0
# An outage of so many seconds, for such a share of the wait, must be named.
NAMED_OUTAGE, NAMED_SHARE = 4.0, 0.7
# Seconds by which a fire time may be late that is not made up for.
MISFIRE_GRACE = 5.0
# Seconds after a fault in which its effects end.
AFTERMATH = 30.0
# A claim or a call within so many seconds of the fire time was prompt.
PROMPT = 0.4
NEAR = 1.5

STOPPING = ("kill", "SIGSTOP", "SIGTERM", "PostgreSQL")
VERDICTS = {
    "succeeded": "delivered",
    "failed": "failed",
    "skipped": "did_not_fire",
    "missed": "did_not_fire",
    "cancelled": "did_not_fire",
}
CAUSES_OF_FAILURE = {
    "fail": {"target_answered", "retries_exhausted"},
    "busy": {"target_answered", "retries_exhausted"},
    "flaky": {"target_answered", "retries_exhausted"},
    "reset": {"no_answer", "retries_exhausted"},
    "garbage": {"no_answer", "retries_exhausted"},
    "stall": {"no_answer"},
    "drip": {"no_answer"},
    "ok": {"no_answer"},
    "work": {"work_failed", "work_overdue", "retries_exhausted", "retry_refused"},
}
CAUSES_OF_CANCEL = {
    "delete": {"removed"},
    "pause": {"paused_by_user"},
    "replace": {"replaced"},
}


def runs_to_explain(
    runs: Iterable[RunRecord], arrivals: Iterable[Arrival]
) -> list[RunRecord]:
    """The runs that were not delivered on time."""
    last: dict[str, float] = {}
    for each in arrivals:
        last[each.run_id] = max(last.get(each.run_id, 0.0), each.lateness)
    return [
        run
        for run in runs
        if run.mark != NOTICES
        and not run.mark.startswith(UNASKED)
        # Their slots are those of other runs.
        and not run.backfill
        and run.state in VERDICTS
        and (run.state != "succeeded" or last.get(run.run_id, 0.0) > ON_TIME)
    ]


def check_causes(evidence: Evidence) -> Iterator[Violation]:
    by_id = {run.run_id: run for run in evidence.runs}
    for answer in evidence.whys:
        run = by_id[answer.run_id]
        detail = f"{answer} {run}"
        if answer.status != 200:
            yield Violation("why has no answer", run.mark, detail)
        elif answer.verdict != VERDICTS[run.state]:
            yield Violation("why says another verdict", run.mark, detail)
        else:
            allowed = _allowed(run, evidence) | more_causes(run.mark, run.state)
            allowed |= more_causes_of(evidence, run)
            if answer.code not in allowed:
                text = f"not of {sorted(allowed)}: {detail}"
                yield Violation("why names another cause", run.mark, text)


def _allowed(run: RunRecord, evidence: Evidence) -> set[str]:
    match run.state:
        case "skipped":
            return {"queue_full" if run.overlap == "queue_one" else "overlapped"}
        case "missed":
            return _causes_of_miss(run, evidence)
        case "cancelled":
            return _causes_of_cancel(run, evidence)
        case "failed":
            return _causes_of_failure(run, evidence)
    return _causes_of_lateness(run, evidence)


def _causes_of_miss(run: RunRecord, evidence: Evidence) -> set[str]:
    calls = evidence.calls_by_mark.get(run.mark, ())
    stored = [call for call in calls if call.verb in {"create", "replace"}]
    found = {"not_newest" if call.makes_up else "too_late" for call in stored}
    late = (run.finished_at or NEVER) - run.scheduled_ms / 1000
    if found == {"too_late"} and late <= MISFIRE_GRACE:
        # It was not too late yet, but a newer fire time was due, too.
        found = {"not_newest"}
    if any(call.fire_times and call.fire_times.end for call in stored):
        found |= {"ended_meanwhile"}
    return found | ({"cut_off"} if _verbs_after(run, evidence) else set())


def _causes_of_cancel(run: RunRecord, evidence: Evidence) -> set[str]:
    found = {"cut_off"}
    for verb in _verbs_after(run, evidence):
        found |= CAUSES_OF_CANCEL.get(verb, set())
    return found | ({"paused_after_failures"} if run.pause_after else set())


def _verbs_after(run: RunRecord, evidence: Evidence) -> set[str]:
    """The calls that may have stopped a run before it was over."""
    at, over = run.scheduled_ms / 1000, run.finished_at or NEVER
    return {
        call.verb
        for call in evidence.calls_by_mark.get(run.mark, ())
        if call.verb != "create"
        and call.sent_at <= over + NEAR
        and (call.answered_at >= at - NEAR or call.is_uncertain)
    }


def _causes_of_failure(run: RunRecord, evidence: Evidence) -> set[str]:
    arrivals = evidence.arrivals_by_run.get(run.run_id, ())
    found = {"lost_too_often"} if run.lost_count else set()
    for behaviour in {arrival.behaviour for arrival in arrivals}:
        found |= CAUSES_OF_FAILURE.get(behaviour, set())
    near = _faults_near(evidence.faults, run.scheduled_ms / 1000, run.finished_at)
    if any("SIGTERM" in each.kind or "rolling" in each.kind for each in near):
        found |= {"service_error"}
    if any(each.kind.startswith("name servers") for each in near):
        found |= {"names_silent", "name_unknown", "retries_exhausted"}
    return found


def _causes_of_lateness(run: RunRecord, evidence: Evidence) -> set[str]:
    arrivals = evidence.arrivals_by_run[run.run_id]
    at = run.scheduled_ms / 1000
    first, last = (pick(each.arrived_at for each in arrivals) for pick in (min, max))
    seen = _causes_seen(run, evidence, last)
    was_taken_on_time = run.first_claim - at < PROMPT
    if (
        was_taken_on_time
        and first - at < ON_TIME
        and (run.lost_count or len(run.attempts) > 1)
    ):
        return seen & {"worker_lost", "retrying"}
    faults = evidence.faults
    if was_taken_on_time and _was_frozen_in_hand(faults, at, first):
        # Its worker knows of no delay but what looks like the target's.
        seen |= {"delivered"}
    # A fault may outlast the outage: what was taken on time waited for something else.
    if not was_taken_on_time:
        # Where both were away, either may be named.
        if _is_outage(_times_without_workers(evidence), at, first):
            return seen | {"no_worker", "database_away"}
        if _is_outage(_times(faults, {"postgres"}), at, first):
            return seen | {"database_away"}
    return seen | BUSY | _causes_nearby(_faults_near(faults, at, last))


def _was_frozen_in_hand(faults: Iterable[Fault], at: float, first: float) -> bool:
    """Whether a worker was frozen for nearly all of the time until a request arrived."""
    return any(
        _is_outage([(fault.began_at, fault.repaired_at)], at, first)
        for fault in faults
        if fault.kind == "worker: SIGSTOP"
    )


def _causes_seen(run: RunRecord, evidence: Evidence, until: float) -> set[str]:
    """What clients and targets know of a run that was late."""
    found = set()
    if run.lost_count:
        found.add("worker_lost")
    if run.is_retried and run.attempt_count - run.lost_count > 1:
        found.add("retrying")
    if run.overlap == "queue_one":
        found.add("in_line")
    at = run.scheduled_ms / 1000
    for call in evidence.calls_by_mark.get(run.mark, ()):
        is_answered_late = call.answered_at >= at - NEAR or call.is_uncertain
        is_near = call.sent_at <= until and is_answered_late
        if call.verb in {"create", "replace", "resume"} and is_near:
            found.add("stored_late")
        if call.verb == "pause" and call.sent_at <= until:
            found.add("paused_by_user")
    return found


def _causes_nearby(faults: Collection[Fault]) -> set[str]:
    """What lesser faults may explain, beside workers that have too much to do."""
    found = set()
    for fault in faults:
        if any(victim.startswith(("worker", "postgres")) for victim in fault.victims):
            found |= {"no_worker", "database_away"}
        if fault.takes_bells:
            found.add("broker_away")
        if fault.kind.startswith("name servers"):
            found.add("names_silent")
    return found


def _faults_near(
    faults: Iterable[Fault], since: float, until: float | None
) -> list[Fault]:
    return [
        fault
        for fault in faults
        if fault.began_at <= (until or NEVER) and since <= fault.repaired_at + AFTERMATH
    ]


Times = Sequence[tuple[float, float]]


def _times(faults: Iterable[Fault], victims: Collection[str]) -> Times:
    """When these were down, without pieces that overlap."""
    return _merge(
        (fault.began_at, fault.repaired_at)
        for fault in faults
        if set(fault.victims) & set(victims)
        and any(word in fault.kind for word in STOPPING)
        # After a promotion the service goes on long before the fault is over.
        and not any(word in fault.kind for word in ("Redis", "promotion"))
    )


def _merge(times: Iterable[tuple[float, float]]) -> Times:
    merged: list[tuple[float, float]] = []
    for began, ended in sorted(times):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((began, ended))
    return merged


def _times_without_workers(evidence: Evidence) -> Times:
    """When no worker was at work."""
    found: Times = [(-NEVER, NEVER)]
    for worker in evidence.workers:
        down = _times(evidence.faults, {worker})
        found = [
            (max(a, c), min(b, d))
            for a, b in found
            for c, d in _merge([*down, *_times_unseen(worker, evidence.faults)])
            if max(a, c) < min(b, d)
        ]
    return found


def _times_unseen(
    worker: str, faults: Iterable[Fault]
) -> Iterator[tuple[float, float]]:
    """The outages of PostgreSQL in which a worker was broken, too.

    It could not note that it lived, so nobody knows for how long it did.
    """
    broken = [
        (fault.began_at, fault.repaired_at)
        for fault in faults
        if worker in fault.victims
        and any(word in fault.kind for word in (*STOPPING, "rolling"))
    ]
    for began, ended in _times(faults, {"postgres"}):
        if any(a < ended and began < b for a, b in broken):
            yield began, ended


def _is_outage(times: Times, since: float, until: float) -> bool:
    down = sum(max(0.0, min(until, b) - max(since, a)) for a, b in times)
    return down >= max(NAMED_OUTAGE, NAMED_SHARE * (until - since))
