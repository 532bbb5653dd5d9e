"""What the run of a fire time says: delivered, failed, not sent, or waiting, and why."""

from __future__ import annotations

from tasks_api.domain.states import RunState
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.domain.why import pauses
from tasks_api.domain.why.causes import Cause, Verdict
from tasks_api.domain.why.facts import Facts, RunFacts
from tasks_api.domain.why.found import (
    Evidence,
    FoundCause,
    Ruling,
    evidence_of_deed,
    evidence_of_run,
    with_detail,
)
from tasks_api.domain.why.holds import find_holds
from tasks_api.domain.why.reasons import cause_of_reason


def judge_run(facts: Facts) -> Ruling | None:
    run = facts.run
    if run is None:
        return None
    if run.state == RunState.SUCCEEDED:
        return Ruling(Verdict.DELIVERED, _cause_of_delivery(facts, run))
    if run.state == RunState.FAILED:
        return Ruling(Verdict.FAILED, _stated_cause(run))
    if run.is_over:
        return Ruling(Verdict.DID_NOT_FIRE, _cause_of_unsent(facts, run))
    return Ruling(Verdict.WAITING, _cause_of_wait(facts, run))


def _cause_of_delivery(facts: Facts, run: RunFacts) -> FoundCause:
    holds = find_holds(facts)
    if holds:
        return holds[0]
    if run.backfilled_slot is not None:
        slot = format_timestamp(run.backfilled_slot)
        text = with_detail(Cause.BACKFILLED, f"the one of {slot}.")
        return FoundCause(Cause.BACKFILLED, text, evidence=(evidence_of_run(run),))
    if run.by_hand:
        return FoundCause(Cause.MANUAL, evidence=(evidence_of_run(run),))
    status = run.attempts[-1].status_code if run.attempts else None
    detail = f"HTTP {status}." if status else ""
    return FoundCause(
        Cause.DELIVERED,
        with_detail(Cause.DELIVERED, detail),
        since=run.begun_at,
        until=run.finished_at,
        evidence=(evidence_of_run(run),),
    )


def _stated_cause(run: RunFacts) -> FoundCause:
    """The cause that a run that is over states by its reason."""
    cause = cause_of_reason(run.state, run.reason) or Cause.AS_RECORDED
    return FoundCause(
        cause,
        with_detail(cause, run.reason),
        since=run.scheduled_for,
        until=run.finished_at,
        evidence=(evidence_of_run(run),),
    )


def _cause_of_unsent(facts: Facts, run: RunFacts) -> FoundCause:
    found = _stated_cause(run)
    if found.cause == Cause.PAUSED_BY_USER:
        after = [
            each
            for each in facts.phases
            if each.is_paused and (each.until or facts.now) >= run.scheduled_for
        ]
        return pauses.cause_of_pause(facts, after[0]) if after else found
    more = []
    if run.blocked_by is not None:
        more.append(Evidence("run", "the run before it", str(run.blocked_by)))
    if run.covers_until is not None:
        text = f"stands for all up to {format_timestamp(run.covers_until)}"
        more.append(Evidence("run", text, str(run.run_id)))
    if run.finished_at is not None and (
        deed := facts.deed(run.finished_at, "run.cancel", "task.")
    ):
        more.append(evidence_of_deed(deed))
    return FoundCause(
        found.cause, found.message, found.since, found.until, (*found.evidence, *more)
    )


def _cause_of_wait(facts: Facts, run: RunFacts) -> FoundCause:
    proof = (evidence_of_run(run),)
    if run.state == RunState.OPEN:
        return FoundCause(Cause.LONG_WORK, until=run.wake_at, evidence=proof)
    holds = {found.cause: found for found in find_holds(facts)}
    if run.state == RunState.RUNNING:
        under_way = FoundCause(
            Cause.UNDER_WAY, since=run.started_at, until=None, evidence=proof
        )
        return holds.get(Cause.HOST_BUSY, under_way)
    if run.state == RunState.RETRYING and Cause.RETRYING in holds:
        return holds[Cause.RETRYING]
    return next(iter(holds.values()), due_now(facts))


def due_now(facts: Facts) -> FoundCause:
    """Return the cause of a fire time that no worker has taken yet, and just now came."""
    text = "It is due, and a worker takes it now."
    return FoundCause(Cause.UNDER_WAY, text, since=facts.moment)
