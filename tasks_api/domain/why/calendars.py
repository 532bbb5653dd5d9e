"""What the calendars of a schedule do to a fire time: leave it out, move it, or hold it."""

from __future__ import annotations

from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.day_sets import CalendarDays
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.domain.why.causes import Cause
from tasks_api.domain.why.facts import Facts, resolution_of
from tasks_api.domain.why.found import Evidence, FoundCause, evidence_of_deed


def name(calendar: CalendarDays) -> str:
    return f"calendar {calendar.name} (version {calendar.number})"


def cause_of_calendar(facts: Facts, schedule: OnCalendars) -> FoundCause | None:
    """Return the calendar by which a fire time of the grid does not fire at its moment."""
    moment, offset = facts.moment, schedule.offset
    at = schedule.grid.first_from(moment - offset)
    if at is None or at + offset - moment >= resolution_of(moment):
        return None
    fate = schedule.fate(at)
    if fate.calendar is None:
        return None
    proof = evidence_of_calendar(facts, fate.calendar)
    if fate.at is not None:
        to = fate.at + offset
        words = f"The {name(fate.calendar)} moves it to {format_timestamp(to)}."
        return FoundCause(Cause.MOVED_BY_CALENDAR, words, until=to, evidence=proof)
    left = schedule.rules.left_out(at)
    return FoundCause(
        Cause.EXCLUDED_BY_CALENDAR,
        f"The {name(fate.calendar)} leaves this fire time out.",
        until=left and left.until,
        evidence=proof,
    )


def words_of_move(facts: Facts) -> tuple[str, tuple[Evidence, ...]]:
    """Say what calendars do to a planned fire time; empty if they do nothing."""
    schedule = facts.schedule
    if not isinstance(schedule, OnCalendars):
        return "", ()
    found = (
        schedule.source_of(facts.moment - schedule.offset) if schedule.moves else None
    )
    if found is not None and found.at is not None and found.calendar is not None:
        planned = format_timestamp(found.at + schedule.offset)
        text = f" The {name(found.calendar)} moved it there from {planned}."
        return text, evidence_of_calendar(facts, found.calendar)
    hold = schedule.rules.held(facts.moment)
    if hold is None:
        return "", ()
    release = format_timestamp(schedule.rules.release_from(facts.moment))
    text = f" The {name(hold.calendar)} holds its run until {release} or later."
    return text, evidence_of_calendar(facts, hold.calendar)


def cause_of_hold(facts: Facts, said: FoundCause) -> FoundCause:
    """Return the cause of a run that a calendar held, with what proves it."""
    schedule = facts.schedule
    held = schedule.rules.hold if isinstance(schedule, OnCalendars) else ()
    named = [each for each in held if said.message.endswith(f" {each.name}.")]
    proof = evidence_of_calendar(facts, named[0]) if named else ()
    return FoundCause(said.cause, said.message, facts.moment, said.until, proof)


def evidence_of_calendar(facts: Facts, calendar: CalendarDays) -> tuple[Evidence, ...]:
    version = Evidence(
        "calendar", f"version {calendar.number} of {calendar.name}", calendar.name
    )
    written = facts.written_by
    deed = written and facts.deed(written.since, "calendar.")
    return (version, evidence_of_deed(deed)) if deed else (version,)
