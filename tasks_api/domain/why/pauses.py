"""Who paused a task, and why."""

from __future__ import annotations

from dataclasses import replace

from tasks_api.domain.why.causes import WORDS, Cause
from tasks_api.domain.why.facts import Deed, Facts, Phase
from tasks_api.domain.why.found import Evidence, FoundCause, evidence_of_deed

FAILURES = "failed; the last one:"
SERVICE = "service"


def cause_of_pause(facts: Facts, phase: Phase) -> FoundCause:
    """Return the cause of a phase in which the task was paused."""
    begin = _begin_of_pause(facts, phase)
    deed = facts.deed(begin.since, "task.pause", "schedule.change")
    cause = _cause(facts, replace(begin, until=phase.until), deed)
    change = Evidence("change", "the task was paused", at=begin.since)
    is_present = phase.until is None
    return FoundCause(
        cause,
        _message(facts, cause, deed, is_present=is_present),
        since=begin.since,
        until=facts.task.resume_at if is_present else phase.until,
        evidence=(change, evidence_of_deed(deed)) if deed else (change,),
    )


def _begin_of_pause(facts: Facts, phase: Phase) -> Phase:
    """Return the phase with which a pause began: a change in it begins another one."""
    begin = phase
    for each in reversed(facts.phases):
        if each.until == begin.since and each.is_paused:
            begin = each
    return begin


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
