"""Who paused a task, and why."""

from __future__ import annotations

from tasks_api.domain.why.causes import WORDS, Cause
from tasks_api.domain.why.facts import Deed, Facts, Phase
from tasks_api.domain.why.found import Evidence, FoundCause, evidence_of_deed

FAILURES = "failed; the last one:"
SERVICE = "service"


def cause_of_pause(facts: Facts, phase: Phase) -> FoundCause:
    """Return the cause of a phase in which the task was paused."""
    deed = facts.deed(phase.since, "task.pause", "schedule.change")
    cause = _cause(facts, phase, deed)
    change = Evidence("change", "the task was paused", at=phase.since)
    is_present = phase.until is None
    return FoundCause(
        cause,
        _message(facts, cause, deed, is_present=is_present),
        since=phase.since,
        until=facts.task.resume_at if is_present else phase.until,
        evidence=(change, evidence_of_deed(deed)) if deed else (change,),
    )


def _cause(facts: Facts, phase: Phase, deed: Deed | None) -> Cause:
    task, is_present = facts.task, phase.until is None
    if is_present and task.suspended:
        return Cause.OWNER_DEACTIVATED
    if is_present and task.pause_reason:
        is_of_failures = FAILURES in task.pause_reason
        return Cause.PAUSED_AFTER_FAILURES if is_of_failures else Cause.SCHEDULE_BROKEN
    if phase.begun_by == "broken":
        return Cause.SCHEDULE_BROKEN
    if phase.begun_by == "edited":
        return Cause.PAUSED_IN_ADMIN
    if facts.deed(phase.since, "user.") is not None:
        return Cause.OWNER_DEACTIVATED
    if deed is not None and deed.via == SERVICE:
        return Cause.PAUSED_AFTER_FAILURES
    return Cause.PAUSED_BY_USER


def _message(facts: Facts, cause: Cause, deed: Deed | None, *, is_present: bool) -> str:
    task = facts.task
    if cause == Cause.PAUSED_BY_USER:
        who = f"{deed.actor} had paused the task" if deed else ""
        said = f': "{task.hold_reason}"' if is_present and task.hold_reason else ""
        words = (who or WORDS[cause].message.removesuffix(".")) + said
        return f"{words}."
    if is_present and task.pause_reason:
        return f"{WORDS[cause].message} {task.pause_reason}"
    return ""
