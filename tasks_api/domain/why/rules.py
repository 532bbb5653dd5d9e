"""Whether a moment fires, and why not: rules in the order in which they decide.

Each rule returns a verdict with its cause, or None if it does not know. A package that
decides which moments fire, such as a calendar, adds its rule to RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks_api.domain import cron
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.effort import spend
from tasks_api.domain.exceptions import ScheduleError
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedule_parts import last_moment, parts_of
from tasks_api.domain.schedule_words import schedule_words
from tasks_api.domain.schedules import Cron, Once, Schedule, first_after, grid_of
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.domain.why import calendars, pauses
from tasks_api.domain.why.causes import WORDS, Cause, Verdict
from tasks_api.domain.why.facts import Facts, Phase, fire_time_at
from tasks_api.domain.why.found import (
    Evidence,
    FoundCause,
    Ruling,
    evidence_of_deed,
    with_detail,
)
from tasks_api.domain.why.holds import find_holds
from tasks_api.domain.why.run_rules import due_now, judge_run

Rule = Callable[[Facts], Ruling | None]

# A clock is set by less than this.
LONGEST_SHIFT = timedelta(hours=25)
# Other schedules of the task that are asked whether they plan the moment.
MAX_OTHER_PHASES = 50


def judge(facts: Facts) -> Ruling:
    rulings = (rule(facts) for rule in RULES)
    found = next((ruling for ruling in rulings if ruling is not None), None)
    ruling = found or _unfired(facts, FoundCause(Cause.NOT_PLANNED))
    return _with_substitutes(facts, ruling)


def _with_substitutes(facts: Facts, ruling: Ruling) -> Ruling:
    """Name the runs that users asked for later, and that stand for this moment."""
    if not facts.substitutes:
        return ruling
    more = tuple(
        Evidence("run", f"a {each.kind} of it, {each.state}", str(each.run_id))
        for each in facts.substitutes
    )
    found = replace(ruling.found, evidence=(*ruling.found.evidence, *more))
    return Ruling(ruling.verdict, found)


def _unfired(facts: Facts, found: FoundCause) -> Ruling:
    is_past = facts.moment <= facts.now and not facts.is_now
    return Ruling(Verdict.DID_NOT_FIRE if is_past else Verdict.WONT_FIRE, found)


def _not_created(facts: Facts) -> Ruling | None:
    created_at = facts.task.created_at
    if facts.planned is not None or facts.moment >= created_at:
        return None
    deed = facts.deed(created_at, "task.create")
    evidence = (evidence_of_deed(deed),) if deed else ()
    found = FoundCause(Cause.NOT_CREATED, until=created_at, evidence=evidence)
    return _unfired(facts, found)


def _not_kept(facts: Facts) -> Ruling | None:
    if facts.moment >= facts.kept_from:
        return None
    return Ruling(Verdict.NOT_KEPT, FoundCause(Cause.NOT_KEPT, until=facts.kept_from))


def _due(facts: Facts) -> Ruling | None:
    if facts.planned is None or not facts.is_open:
        return None
    holds = find_holds(facts)
    return Ruling(Verdict.WAITING, holds[0] if holds else due_now(facts))


def _lost(facts: Facts) -> Ruling | None:
    if facts.planned is None or facts.planned > facts.now:
        return None
    return _unfired(facts, FoundCause(Cause.UNEXPLAINED, since=facts.planned))


def _ended(facts: Facts) -> Ruling | None:
    task = facts.task
    is_over = task.ended_at is not None and (
        facts.is_now or facts.moment > task.ended_at
    )
    if not is_over:
        return None
    assert task.ended_at is not None
    cause = _CAUSE_OF_END.get(task.end_reason, Cause.AS_RECORDED)
    message = ""
    if cause == Cause.AS_RECORDED:
        message = f"The task has ended: {task.end_reason}."
    deed = facts.deed(task.ended_at, "task.remove", "task.end")
    if deed and cause == Cause.REMOVED:
        message = f"{deed.actor} had removed the task."
    proof: tuple[Evidence, ...] = (
        Evidence("task", f"ended: {task.end_reason}", str(task.task_id), task.ended_at),
    )
    if deed:
        proof += (evidence_of_deed(deed),)
    return _unfired(facts, FoundCause(cause, message, task.ended_at, None, proof))


_CAUSE_OF_END = {
    "removed": Cause.REMOVED,
    "completed": Cause.ALREADY_FIRED,
    "over": Cause.AFTER_END,
    "gone (HTTP 410)": Cause.TARGET_GONE,
    "max_runs": Cause.MAX_RUNS,
    "succeeded": Cause.STOPPED_ON_SUCCESS,
    "not renewed": Cause.BOUNDS_LAPSED,
}


def _already_fired(facts: Facts) -> Ruling | None:
    task = facts.task
    if not task.is_one_off or task.last_fire_at is None:
        return None
    if not facts.is_now and facts.moment <= task.last_fire_at:
        return None
    return _unfired(facts, FoundCause(Cause.ALREADY_FIRED, since=task.last_fire_at))


def _paused(facts: Facts) -> Ruling | None:
    phase = facts.phase
    if phase is None or not phase.is_paused:
        return None
    found = pauses.cause_of_pause(facts, phase)
    is_over_by_then = (
        phase.until is None
        and not facts.task.suspended
        and found.until is not None
        and found.until < facts.moment
    )
    if is_over_by_then:
        return None
    is_meant = fire_time_at(phase.schedule, facts.moment) is not None
    if not (is_meant or facts.is_now or phase.schedule is None):
        return None
    if _waits_through_pause(facts, phase.schedule):
        return Ruling(Verdict.WAITING, found)
    return _unfired(facts, found)


def _waits_through_pause(facts: Facts, schedule: Schedule | None) -> bool:
    """A one-time task whose moment passes in a pause is sent after it."""
    is_present = facts.phase is not None and facts.phase.until is None
    is_one_time = isinstance(schedule, Once) and facts.task.last_fire_at is None
    return is_one_time and is_present and facts.moment <= facts.now


def _spent(facts: Facts) -> Ruling | None:
    """The runs that are left are made before the moment."""
    left, at = facts.task.runs_left, facts.task.next_fire_at
    if left is None or facts.planned is None or facts.schedule is None:
        return None
    for _ in range(left):
        if at is None or at >= facts.moment:
            return None
        spend(1)
        at = first_after(facts.schedule, at)
    return _unfired(facts, FoundCause(Cause.MAX_RUNS, since=at))


def _planned(facts: Facts) -> Ruling | None:
    if facts.planned is None:
        return None
    more, evidence = calendars.words_of_move(facts)
    text = f"The schedule plans this moment: {_words(facts.phase)}.{more}"
    found = FoundCause(Cause.PLANNED, text, evidence=evidence)
    return Ruling(Verdict.WILL_FIRE, found)


def _words(phase: Phase | None) -> str:
    if phase is None or phase.schedule is None:
        return "no schedule"
    return schedule_words(phase.schedule)


def _broken(facts: Facts) -> Ruling | None:
    phase = facts.phase
    if phase is None or phase.schedule is not None:
        return None
    return _unfired(facts, FoundCause(Cause.SCHEDULE_BROKEN, since=phase.since))


def _on_calendars(facts: Facts) -> Ruling | None:
    schedule = facts.schedule
    if facts.is_now or not isinstance(schedule, OnCalendars):
        return None
    found = calendars.cause_of_calendar(facts, schedule)
    return None if found is None else _unfired(facts, found)


def _skipped_by_clock(facts: Facts) -> Ruling | None:
    if facts.is_now or facts.schedule is None:
        return None
    for part in _zoned_parts(facts.schedule):
        try:
            found = _cause_of_clock(part, facts.moment)
        except (ScheduleError, OverflowError):
            # The years of the calendar end here.
            continue
        if found is not None:
            return _unfired(facts, found)
    return None


def _zoned_parts(schedule: Schedule) -> Iterator[Cron | Recurrence]:
    """Yield the parts that go by the clock of a zone, with their whole offset."""
    grid = grid_of(schedule)
    offset = grid.offset if isinstance(grid, AnyOf) else timedelta()
    for part in parts_of(schedule):
        if isinstance(part, Cron | Recurrence) and part.zone != "UTC":
            yield replace(part, offset=part.offset + offset)


def _cause_of_clock(schedule: Cron | Recurrence, moment: datetime) -> FoundCause | None:
    at = moment - schedule.offset
    gap = _find_gap(schedule, at)
    if gap is not None:
        text = (
            f"the clock of {schedule.zone} is set from {gap.first:%H:%M:%S} to "
            f"{gap.end:%H:%M:%S} at {format_timestamp(gap.at)}."
        )
        return FoundCause(Cause.CLOCK_GAP, with_detail(Cause.CLOCK_GAP, text))
    local = at.astimezone(ZoneInfo(schedule.zone))
    first = local.replace(fold=1 - local.fold).astimezone(UTC)
    if first == at or not fire_time_at(schedule, first + schedule.offset):
        return None
    text = f"the first time is {format_timestamp(first)}."
    return FoundCause(Cause.CLOCK_OVERLAP, with_detail(Cause.CLOCK_OVERLAP, text))


def _find_gap(schedule: Cron | Recurrence, at: datetime) -> cron.Gap | None:
    """Return the gap of the clock in which the schedule has this local time."""
    for gap in cron.gaps(schedule.zone, at - LONGEST_SHIFT, at + LONGEST_SHIFT):
        # The local time that clients mean, by the clock before the gap or after it.
        shift = gap.end - gap.first
        walls = {_naive(gap, at), _naive(gap, at) + shift}
        if walls & set(gap.within(schedule.matches)):
            return gap
    return None


def _naive(gap: cron.Gap, at: datetime) -> datetime:
    """Return the local time of a moment by the clock as it was before a gap."""
    return gap.first + (at - gap.at)


def _changed(facts: Facts) -> Ruling | None:
    if facts.is_now:
        return None
    others = [each for each in facts.phases if each is not facts.phase]
    nearest = sorted(others, key=lambda each: abs(each.since - facts.moment))
    for other in nearest[:MAX_OTHER_PHASES]:
        if not other.is_paused and fire_time_at(other.schedule, facts.moment):
            return _unfired(facts, _cause_of_change(facts, other))
    return None


def _cause_of_change(facts: Facts, other: Phase) -> FoundCause:
    is_over = other.until is not None and other.until < facts.moment
    at = other.until if is_over and other.until is not None else other.since
    deed = facts.deed(at, "task.", "schedule.change", "calendar.")
    until = None if is_over else at
    words = "ended" if is_over else "came into force"
    text = f"that schedule {words} at {format_timestamp(at)}."
    change = Evidence("change", text, str(other.change_id), at)
    return FoundCause(
        Cause.SCHEDULE_CHANGED,
        with_detail(Cause.SCHEDULE_CHANGED, text),
        since=at if is_over else None,
        until=until,
        evidence=(change, evidence_of_deed(deed)) if deed else (change,),
    )


def _before_start(facts: Facts) -> Ruling | None:
    schedule = facts.schedule
    start = _moved(schedule, _start_of(schedule))
    if start is None or facts.moment >= start:
        return None
    return _unfired(facts, FoundCause(Cause.BEFORE_START, until=start))


def _after_end(facts: Facts) -> Ruling | None:
    schedule = facts.schedule
    end = _moved(schedule, _end_of(schedule))
    if end is None or facts.moment <= end:
        return None
    return _unfired(facts, FoundCause(Cause.AFTER_END, since=end))


def _start_of(schedule: Schedule | None) -> datetime | None:
    """Return when a schedule begins; None if it has no beginning."""
    grid = None if schedule is None else grid_of(schedule)
    if isinstance(grid, AnyOf) and grid.start is None:
        starts = [_start_of(each) for each in grid.schedules]
        known = [each for each in starts if each is not None]
        return min(known) if len(known) == len(starts) else None
    start: datetime | None = getattr(grid, "start", None)
    if isinstance(grid, Recurrence) and start is None:
        return cron.instant_of(grid.first, grid.zone)
    return start


def _end_of(schedule: Schedule | None) -> datetime | None:
    """Return when a schedule ends; None if it has no end."""
    if schedule is None or isinstance(schedule, Once):
        return None
    ends = [schedule.end, last_moment(schedule)]
    return min((each for each in ends if each is not None), default=None)


def _moved(schedule: Schedule | None, moment: datetime | None) -> datetime | None:
    """Return a start or an end as clients see it, with the offset of a spread."""
    offset: timedelta = getattr(schedule, "offset", timedelta())
    try:
        return None if moment is None else moment + offset
    except OverflowError:
        return moment


def _not_planned(facts: Facts) -> Ruling | None:
    phase = facts.phase
    text = WORDS[Cause.NOT_PLANNED].message
    if facts.is_now:
        text = "The schedule plans nothing now."
    detail = [f"{text} It says: {_words(phase)}."]
    if facts.next is not None:
        detail.append(f"The next fire time is {format_timestamp(facts.next.at)}.")
    if phase is not None and phase.is_paused:
        detail.append("The task was paused then, too.")
    return _unfired(facts, FoundCause(Cause.NOT_PLANNED, " ".join(detail)))


RULES: tuple[Rule, ...] = (
    judge_run,
    _not_created,
    _not_kept,
    _due,
    _lost,
    _ended,
    _already_fired,
    _paused,
    _broken,
    _spent,
    _planned,
    _on_calendars,
    _skipped_by_clock,
    _changed,
    _before_start,
    _after_end,
    _not_planned,
)
