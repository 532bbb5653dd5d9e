"""What made a run late, or holds it now: rules in the order of what decides most.

A hold looks at the time from the fire time of a run to the beginning of its request. The
first one that is found is the cause of a late delivery; all of them stand in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks_api.domain.states import RunState
from tasks_api.domain.why import calendars, lanes, pauses
from tasks_api.domain.why.causes import Cause
from tasks_api.domain.why.facts import (
    ON_TIME,
    WRITES,
    AttemptFacts,
    Facts,
    Gap,
    RunFacts,
    fire_time_at,
)
from tasks_api.domain.why.found import (
    Evidence,
    FoundCause,
    evidence_of_deed,
    evidence_of_gap,
    evidence_of_run,
    with_detail,
)
from tasks_api.domain.why.reasons import cause_of_reason

LOST_WORKER = "The worker was lost"
STATE_THAT_MAY_SAY = frozenset({RunState.PENDING, RunState.RUNNING, RunState.SUCCEEDED})
HELD_ON_PURPOSE = frozenset(
    {
        Cause.HELD_BY_CALENDAR,
        Cause.QUOTA_SPENT,
        Cause.BOUNDS_SPENT,
        Cause.BOUNDS_ENDING,
        # If a user paused the lane.
        Cause.LANE_FULL,
    }
)
# Who stores a task less than this before its moment stores it late.
LEAD = timedelta(seconds=1)


class Wait(NamedTuple):
    """The time in which a fire time was due and its request had not begun."""

    since: datetime
    until: datetime
    run: RunFacts | None

    @property
    def is_late(self) -> bool:
        return self.until - self.since > ON_TIME


Hold = Callable[[Facts, Wait], FoundCause | None]


def find_holds(facts: Facts) -> tuple[FoundCause, ...]:
    """Return what held the fire time that is meant, the decisive cause first."""
    first_of_each: dict[Cause, FoundCause] = {}
    for each in _find(facts, _wait_of(facts)):
        first_of_each.setdefault(each.cause, each)
    found = list(first_of_each.values())
    is_only_busy = [each for each in found if each.cause != Cause.WORKERS_BUSY]
    return tuple(is_only_busy or found)


def _find(facts: Facts, wait: Wait) -> Iterator[FoundCause]:
    for hold in HOLDS:
        if (cause := hold(facts, wait)) is not None:
            yield cause


def _wait_of(facts: Facts) -> Wait:
    run = facts.run
    if run is None:
        return Wait(facts.moment, facts.now, None)
    until = run.begun_at or run.finished_at or facts.now
    return Wait(run.scheduled_for, until, run)


def _stored_late(facts: Facts, wait: Wait) -> FoundCause | None:
    # What was written after a planned fire time did not store that.
    last = wait.since if _was_planned(facts, wait.since) else wait.until
    for phase in facts.phases:
        is_near = wait.since - LEAD < phase.since <= last
        is_written = is_near and phase.begun_by in WRITES
        if wait.is_late and is_written and _explains_most(phase.since, wait):
            return FoundCause(Cause.STORED_LATE, since=phase.since)
    return None


def _was_planned(facts: Facts, moment: datetime) -> bool:
    """Return whether a schedule that was in force at a moment had a fire time there."""
    return any(
        each.since <= moment
        and each.has(moment)
        and not each.is_paused
        and fire_time_at(each.schedule, moment) is not None
        for each in facts.phases
    )


def _explains_most(stored_at: datetime, wait: Wait) -> bool:
    """Return whether the fire time was sent soon after it was stored."""
    left = wait.until - stored_at
    return left <= LEAD or stored_at - wait.since >= left


def _waited_through_pause(facts: Facts, wait: Wait) -> FoundCause | None:
    for phase in facts.phases:
        ended_at = phase.until or facts.now
        overlaps = phase.since < wait.until and ended_at > wait.since
        if phase.is_paused and overlaps and wait.is_late:
            return pauses.cause_of_pause(facts, phase)
    return None


def _caught_up(facts: Facts, wait: Wait) -> FoundCause | None:
    """The resume that ended the pause made the run."""
    for phase in facts.phases:
        if phase.is_caught_up and phase.has(wait.since) and wait.is_late:
            change = Evidence("change", "the task was resumed", at=phase.until)
            deed = phase.until and facts.deed(phase.until, "task.")
            proof = (change, evidence_of_deed(deed)) if deed else (change,)
            return FoundCause(
                Cause.CAUGHT_UP, "", phase.since, phase.until, evidence=proof
            )
    return None


def _held_back(facts: Facts, wait: Wait) -> FoundCause | None:
    """What a user or a limit held back on purpose, however well the service worked."""
    said = _stated(facts, wait)
    if said is None or wait.run is None or said.cause not in HELD_ON_PURPOSE:
        return None
    if said.cause == Cause.LANE_FULL:
        return lanes.cause_of_pause(wait.run, wait.since, wait.until)
    if said.cause == Cause.HELD_BY_CALENDAR:
        return calendars.cause_of_hold(facts, said)
    return said


def _in_lane(facts: Facts, wait: Wait) -> FoundCause | None:
    said = _stated(facts, wait)
    if said is None or wait.run is None or said.cause != Cause.LANE_FULL:
        return None
    return lanes.cause_of_line(wait.run, facts.now)


def _tenant_moves(facts: Facts, wait: Wait) -> FoundCause | None:
    """Nothing of the tenant was sent in this time."""
    near = [each for each in facts.moves if each.overlaps(wait.since, wait.until)]
    if not near or not wait.is_late:
        return None
    return FoundCause(
        Cause.TENANT_MOVES,
        since=near[0].since,
        until=near[-1].until,
        evidence=tuple(evidence_of_deed(deed) for each in near for deed in each.deeds),
    )


def _database_away(facts: Facts, wait: Wait) -> FoundCause | None:
    return _outage(facts.gaps, wait) if wait.is_late else None


def _no_worker(facts: Facts, wait: Wait) -> FoundCause | None:
    return _absence(facts.gaps, wait) if wait.is_late else None


def _outage(gaps: tuple[Gap, ...], wait: Wait) -> FoundCause | None:
    """An outage of PostgreSQL shows in a restart, or in what lived through it.

    Workers and beats are silent at once, and one of them had lived before.
    """
    near = [
        gap
        for gap in gaps
        if gap.kind != "broker" and gap.overlaps(wait.since, wait.until)
    ]
    is_of_all = {gap.kind for gap in near} == {"worker", "beat"}
    is_survived = any(gap.is_survived for gap in near)
    if any(gap.is_restart for gap in near) or (is_of_all and is_survived):
        return _cause_of_gaps(Cause.DATABASE_AWAY, near)
    return None


def _absence(gaps: tuple[Gap, ...], wait: Wait) -> FoundCause | None:
    near = [
        gap
        for gap in gaps
        if gap.kind == "worker" and gap.overlaps(wait.since, wait.until)
    ]
    return _cause_of_gaps(Cause.NO_WORKER, near) if near else None


def _cause_of_gaps(cause: Cause, gaps: list[Gap]) -> FoundCause:
    ends = [gap.ended_at for gap in gaps if gap.ended_at is not None]
    return FoundCause(
        cause,
        since=min(gap.began_at for gap in gaps),
        until=max(ends) if len(ends) == len(gaps) else None,
        evidence=tuple(map(evidence_of_gap, gaps)),
    )


def _worker_lost(facts: Facts, wait: Wait) -> FoundCause | None:
    run = wait.run
    if run is None:
        return None
    lost = [each for each in run.attempts if each.error.startswith(LOST_WORKER)]
    if not lost and not run.lost_count:
        return None
    since = lost[0].started_at if lost else None
    evidence = tuple(_evidence_of_attempt(run, each) for each in lost)
    return FoundCause(Cause.WORKER_LOST, since=since, evidence=evidence)


def _retrying(facts: Facts, wait: Wait) -> FoundCause | None:
    run = wait.run
    if run is None:
        return None
    is_last_one_over = run.state == RunState.SUCCEEDED
    others = run.attempts[:-1] if is_last_one_over else run.attempts
    failed = [each for each in others if not each.error.startswith(LOST_WORKER)]
    if not failed or (run.is_over and not is_last_one_over):
        return None
    last = failed[-1]
    detail = last.error or f"HTTP {last.status_code}"
    return FoundCause(
        Cause.RETRYING,
        with_detail(Cause.RETRYING, f"attempt {last.number}, {detail}."),
        since=failed[0].started_at,
        until=run.wake_at if run.state == RunState.RETRYING else None,
        evidence=tuple(_evidence_of_attempt(run, each) for each in failed),
    )


def _evidence_of_attempt(run: RunFacts, attempt: AttemptFacts) -> Evidence:
    detail = attempt.error or f"HTTP {attempt.status_code}"
    text = f"attempt {attempt.number}: {detail}"
    return Evidence("attempt", text, str(run.run_id), attempt.started_at)


def _in_line(facts: Facts, wait: Wait) -> FoundCause | None:
    run = wait.run
    if run is None or run.blocked_by is None or facts.task.overlap != "queue_one":
        return None
    if not (run.is_next or wait.is_late):
        return None
    blocker = Evidence("run", "the run before it", str(run.blocked_by))
    return FoundCause(Cause.IN_LINE, since=wait.since, evidence=(blocker,))


def _stated(facts: Facts, wait: Wait) -> FoundCause | None:
    """What a run says itself that waits, or waited before it was delivered."""
    run = wait.run
    if run is None or run.state not in STATE_THAT_MAY_SAY:
        return None
    cause = cause_of_reason(run.state, run.reason)
    if cause is None:
        return None
    return FoundCause(
        cause,
        with_detail(cause, run.reason),
        until=run.wake_at,
        evidence=(evidence_of_run(run),),
    )


def _broker_away(facts: Facts, wait: Wait) -> FoundCause | None:
    near = [
        gap
        for gap in facts.gaps
        if gap.kind == "broker" and gap.overlaps(wait.since, wait.until)
    ]
    is_by_bells = wait.is_late and wait.until - wait.since <= 2 * LEAD
    return _cause_of_gaps(Cause.BROKER_AWAY, near) if near and is_by_bells else None


def _held_in_worker(facts: Facts, wait: Wait) -> FoundCause | None:
    run = wait.run
    if run is None or run.lost_count or run.attempt_count != 1 or not wait.is_late:
        return None
    taken_at = run.started_at
    if taken_at is None or taken_at - wait.since > ON_TIME:
        return None
    is_begun = run.begun_at is not None and run.begun_at != taken_at
    if not is_begun:
        return None
    return FoundCause(Cause.HELD_IN_WORKER, since=taken_at, until=run.begun_at)


def _gap_after_loss(facts: Facts, wait: Wait) -> FoundCause | None:
    """After a worker was lost, no other one may have been there."""
    run = wait.run
    if run is None or not run.lost_count:
        return None
    again = Wait(wait.until, run.started_at or run.finished_at or facts.now, run)
    return _outage(facts.gaps, again) or _absence(facts.gaps, again)


def _workers_busy(facts: Facts, wait: Wait) -> FoundCause | None:
    return FoundCause(Cause.WORKERS_BUSY, since=wait.since) if wait.is_late else None


# A package that holds runs adds its rule here, before what is only deduced.
HOLDS: tuple[Hold, ...] = (
    _held_back,
    _stored_late,
    _waited_through_pause,
    _caught_up,
    _tenant_moves,
    _database_away,
    _no_worker,
    _worker_lost,
    _retrying,
    _in_line,
    _in_lane,
    _stated,
    _held_in_worker,
    _broker_away,
    _gap_after_loss,
    # Counts only if nothing else is found.
    _workers_busy,
)
