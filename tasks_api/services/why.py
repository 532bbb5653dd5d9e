"""Answer why a task fired, did not fire or will not fire: gather the facts, and explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.snapshots import snapshot
from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.exceptions import ScheduleError, TaskNotFound
from tasks_api.domain.schedules import (
    MICROSECOND,
    Once,
    Schedule,
    first_after,
)
from tasks_api.domain.states import UNFINISHED_STATES, RunState, Stage
from tasks_api.domain.why.answers import Answer, explain
from tasks_api.domain.why.facts import (
    CREATED,
    Facts,
    Neighbour,
    Phase,
    fire_time_at,
    resolution_of,
)
from tasks_api.domain.why.nearest import last_before
from tasks_api.models import Run, ScheduleChange, Task
from tasks_api.services import reconciliation, why_rows
from tasks_api.services.account import OUTCOME_OF_STATE, FireTimeOutcome
from tasks_api.services.reconciliation import ScheduleRow, ScheduleSpan
from tasks_api.storage import stored_schedules

# The steps that a search for the fire time before a moment may take.
MAX_STEPS = 100_000


class _Meant(NamedTuple):
    """What a question is about: a moment, the fire time that it stands for, and its run."""

    asked: datetime
    planned: datetime | None = None
    is_open: bool = False
    run: Run | None = None


class _Known(NamedTuple):
    """What was read of a task."""

    task: Task
    now: datetime
    kept_from: datetime
    phases: tuple[Phase, ...]
    spans: tuple[ScheduleSpan, ...]


def why(owner: User, task_id: UUID, at: datetime | None) -> Answer:
    """Answer what a task did, does or will do at a moment, and why.

    Without a moment the question is why nothing happens now. Raises TaskNotFound if the
    user does not reach the task, living or ended.
    """
    with snapshot():
        known = _read_task(owner, task_id)
        meant = _meant_now(known) if at is None else _meant_at(known, at)
        return explain(_gather(known, meant, is_now=at is None))


def _read_task(owner: User, task_id: UUID) -> _Known:
    now = clock.read()
    rows = reconciliation.read_schedules(owner, task_id, now)
    found = Task.objects.visible_to(owner).with_schedule().select_related("owner")
    task = found.filter(pk=task_id).first()
    if task is None:
        raise TaskNotFound("Task not found")
    assert owner.tenant is not None
    return _Known(
        task,
        now,
        reconciliation.history_start(owner.tenant, now),
        _phases(task, rows, now),
        tuple(reconciliation.schedule_spans(rows)),
    )


def _phases(
    task: Task, rows: Sequence[ScheduleRow], now: datetime
) -> tuple[Phase, ...]:
    phases = []
    since, begun_by = task.created_at, CREATED
    for row in rows:
        is_present = row.is_current and task.ended_at is None
        phases.append(
            Phase(
                since,
                None if is_present else row.until,
                _schedule_or_none(row.stored),
                row.stored.is_paused,
                begun_by,
                row.change_id,
                # What a resume ended was a pause, unless the task makes up for it.
                row.what == ScheduleChange.ChangeKind.RESUMED
                and not row.stored.is_paused,
            )
        )
        since, begun_by = row.until, row.what
    edited = stored_schedules.load_schedule(task)
    if task.ended_at is None and edited != rows[-1].stored:
        # An operator has edited the schedule, and no beat has followed the edit yet.
        last = phases[-1]
        phases[-1] = Phase(
            last.since, now, last.schedule, last.is_paused, last.begun_by
        )
        schedule = _schedule_or_none(edited)
        phases.append(Phase(now, None, schedule, edited.is_paused, "edited"))
    return tuple(phases)


def _schedule_or_none(stored: stored_schedules.StoredSchedule) -> Schedule | None:
    try:
        return stored_schedules.to_schedule(stored)
    except ScheduleError:
        return None


def _meant_now(known: _Known) -> _Meant:
    """Return the oldest fire time that is not over, or else this moment."""
    task, now = known.task, known.now
    live = Run.objects.filter(
        task=task,
        stage__in=[Stage.LIVE, Stage.PARKED],
        state__in=UNFINISHED_STATES,
        scheduled_for__lte=now,
    )
    run = live.order_by("scheduled_for").first()
    if run is not None:
        return _Meant(now, run.scheduled_for, run=run)
    due_at = task.first_open_fire_time
    if due_at is not None and due_at <= now:
        return _Meant(now, due_at, is_open=True)
    return _Meant(now)


def _meant_at(known: _Known, at: datetime) -> _Meant:
    if at > known.now:
        return _Meant(at, _coming_at(known, at))
    if at < known.kept_from:
        return _Meant(at)
    until = at + resolution_of(at)
    planned = next(reconciliation.merge_fire_times(iter(known.spans), at, until), None)
    if planned is None:
        return _Meant(at, run=why_rows.find_run(known.task, at, until))
    run = why_rows.find_run(known.task, planned.at, planned.at + MICROSECOND)
    if run is None:
        run = why_rows.find_cover(known.task, planned.at)
    return _Meant(at, planned.at, planned.is_open, run)


def _coming_at(known: _Known, at: datetime) -> datetime | None:
    """Return the fire time that a coming moment stands for."""
    task, phase = known.task, known.phases[-1]
    if task.ended_at is not None or phase.schedule is None:
        return None
    if not task.periodic_task.one_off:
        return fire_time_at(phase.schedule, at)
    if isinstance(phase.schedule, Once):
        is_over = task.last_fire_at is not None and task.last_fire_at <= known.now
        return None if is_over else fire_time_at(phase.schedule, at)
    coming = task.first_open_fire_time
    is_meant = coming is not None and timedelta() <= coming - at < resolution_of(at)
    return coming if is_meant else None


def _gather(known: _Known, meant: _Meant, *, is_now: bool) -> Facts:
    run = None if meant.run is None else why_rows.describe_run(meant.run)
    bare = Facts(
        asked=meant.asked,
        now=known.now,
        kept_from=known.kept_from,
        task=why_rows.describe_task(known.task),
        phases=known.phases,
        is_now=is_now,
        planned=None if run and run.by_hand else meant.planned,
        is_open=meant.is_open and meant.run is None,
        run=run,
    )
    return replace(
        bare,
        substitutes=why_rows.find_substitutes(known.task, bare.moment, meant.run),
        gaps=tuple(why_rows.read_gaps(bare)),
        moves=why_rows.read_moves(known.task, bare),
        deeds=tuple(why_rows.read_deeds(known.task, bare)),
        previous=_previous(known, bare.moment),
        next=_next(known, bare.moment),
    )


def _previous(known: _Known, moment: datetime) -> Neighbour | None:
    """Return the last planned fire time before a moment, as far as history is kept."""
    before = min(moment, known.now + MICROSECOND)
    if before <= known.kept_from:
        return None
    try:
        with allowance(MAX_STEPS, TooMuch):
            at = _last_planned(known, before)
    except (ScheduleError, TooMuch):
        return None
    return None if at is None else _past_neighbour(known, at)


def _last_planned(known: _Known, before: datetime) -> datetime | None:
    for span in reversed(known.spans):
        until = min(before, span.until + MICROSECOND)
        floor = max(span.first, known.kept_from)
        if found := last_before(span.schedule, until, floor):
            return found
    return None


def _next(known: _Known, moment: datetime) -> Neighbour | None:
    try:
        with allowance(MAX_STEPS, TooMuch):
            if moment < known.now and (at := _next_planned(known, moment)):
                return _past_neighbour(known, at)
            coming = _next_coming(known, max(moment, known.now))
    except (ScheduleError, TooMuch, OverflowError):
        return None
    return None if coming is None else Neighbour(coming)


def _next_planned(known: _Known, moment: datetime) -> datetime | None:
    until = known.now + MICROSECOND
    times = reconciliation.merge_fire_times(
        iter(known.spans), moment + MICROSECOND, until
    )
    return next((each.at for each in times), None)


def _next_coming(known: _Known, after: datetime) -> datetime | None:
    """Return the first fire time after a moment that is not over, by the present schedule."""
    task, phase = known.task, known.phases[-1]
    if task.ended_at is not None or phase.schedule is None:
        return None
    if phase.is_paused:
        if task.resume_at is None or task.suspended:
            return None
        after = max(after, task.resume_at)
    if task.periodic_task.one_off:
        coming = task.first_open_fire_time
        return coming if coming is not None and coming > after else None
    return first_after(phase.schedule, after)


def _past_neighbour(known: _Known, at: datetime) -> Neighbour:
    run = why_rows.find_run(known.task, at, at + MICROSECOND) or why_rows.find_cover(
        known.task, at
    )
    if run is None or run.by_hand:
        return Neighbour(at)
    return Neighbour(at, outcome_of(RunState(run.state)), run.pk)


def outcome_of(state: RunState) -> FireTimeOutcome:
    return OUTCOME_OF_STATE.get(state, FireTimeOutcome.UNDER_WAY)


def outcome_of_moment(facts: Facts) -> FireTimeOutcome | None:
    """Return the outcome of the planned fire time, as the account counts it."""
    if facts.planned is None:
        return None
    if facts.run is not None:
        return outcome_of(facts.run.state)
    return FireTimeOutcome.UNDER_WAY if facts.is_open else None
