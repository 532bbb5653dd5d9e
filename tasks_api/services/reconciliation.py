"""Make the account of a task: compare its planned fire times with its runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Tenant, User
from scheduler_service.db import clock
from tasks_api.domain.calendars import OnCalendars
from tasks_api.domain.exceptions import InvalidTask, ScheduleError, TaskNotFound
from tasks_api.domain.schedules import (
    FOREVER,
    MICROSECOND,
    Interval,
    Once,
    Schedule,
    fire_times_between,
    first_after,
    grid_of,
)
from tasks_api.domain.states import RunState
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Run, ScheduleChange, Task
from tasks_api.services.account import (
    MAX_NAMED_DIFFERENCES,
    OUTCOME_OF_STATE,
    Account,
    DatedChange,
    ExcludedFireTime,
    FireTimeOutcome,
    Mismatch,
)
from tasks_api.services.statements import READ_SCHEDULES
from tasks_api.storage import stored_schedules

# The most fire times and runs in one account: more than a fire time a second for a day.
MAX_FIRE_TIMES = 100_000
# The runs that one statement reads.
RUN_PAGE_SIZE = 5000
# A margin, so that retention deletes no run of an account while it is made.
PRUNING_MARGIN = timedelta(minutes=5)

# The changes after which a task has no other schedule.
END_CHANGES = (ScheduleChange.ChangeKind.REMOVED, ScheduleChange.ChangeKind.OVER)

MIN_DATETIME = datetime.min.replace(tzinfo=UTC)


class ScheduleSpan(NamedTuple):
    """A time in which a task followed one schedule, which planned its fire times."""

    schedule: Schedule
    first: datetime
    until: datetime
    # From this fire time on, there are no runs yet.
    open_from: datetime | None
    # When the schedule began to hold.
    begin: datetime

    def fire_times(self, since: datetime) -> Iterator[datetime]:
        if self.first > self.until:
            return iter(())
        return fire_times_between(self.schedule, max(self.first, since), self.until)

    def is_open(self, at: datetime) -> bool:
        return self.open_from is not None and self.open_from <= at <= self.until


class ScheduleRow(NamedTuple):
    """A schedule that a task had or has."""

    change_id: int | None
    until: datetime
    what: str
    open_from: datetime | None
    is_current: bool
    last_fire_at: datetime | None
    ended_at: datetime | None
    stored: stored_schedules.StoredSchedule


class _PlannedTime(NamedTuple):
    at: datetime
    is_open: bool


class _MissedRange(NamedTuple):
    first: datetime
    last: datetime


class _RecordedRun(NamedTuple):
    at: datetime
    run_id: UUID
    state: str
    by_hand: bool


def history_start(tenant: Tenant, now: datetime) -> datetime:
    """Return the moment after which retention has deleted no run, nor will soon."""
    days = tenant.retention_days
    kept = timedelta(days=settings.SCHEDULER_RETENTION_DAYS if days is None else days)
    return now - kept + PRUNING_MARGIN


def reconcile(
    owner: User, task_id: UUID, *, since: datetime | None, until: datetime | None
) -> Account:
    """Return the account of a task that the user reaches, living or ended.

    `until` is at most now by the database's clock, which is its default. `since` is a
    day before it by default. Raises InvalidTask for `from` if retention has deleted
    runs of that time, or if the account would have more than MAX_FIRE_TIMES.
    """
    now = clock.read()
    assert owner.tenant is not None
    until, oldest = min(until or now, now), history_start(owner.tenant, now)
    for name, moment in (("to", until), ("from", since or until)):
        if moment < oldest:
            raise InvalidTask(
                name,
                f"{name} is before {format_timestamp(oldest)}; older runs are not kept",
            )
    since = since or max(until - timedelta(days=1), oldest)
    found = _compare(owner, task_id, since, until, now)
    if found.differences:
        # A change between two reads of the tables makes differences, so compare again.
        found = _compare(owner, task_id, since, until, now)
    return found


def _compare(
    owner: User, task_id: UUID, since: datetime, until: datetime, now: datetime
) -> Account:
    """Compare planned fire times with runs, both in the order of time."""
    rows = read_schedules(owner, task_id, now)
    found = Account(since, until)
    found.changes = [
        DatedChange(row.until, row.what)
        for row in rows
        if row.what and since <= row.until < until
    ][-MAX_NAMED_DIFFERENCES:]
    planned = merge_fire_times(schedule_spans(rows), since, until)
    covers = _find_missed_ranges(task_id, since, until)
    recorded = _read_runs(task_id, since, until)
    for seen, (plan, run) in enumerate(_pair_by_time(planned, recorded)):
        if seen == MAX_FIRE_TIMES:
            at = min(each.at for each in (plan, run) if each is not None)
            raise _too_many(at)
        if plan is not None:
            _count_planned(found, plan, run, covers)
        elif run is not None:
            _count_unplanned(found, run)
    _count_excluded(found, rows, since, until)
    return found


def _count_excluded(
    found: Account, rows: list[ScheduleRow], since: datetime, until: datetime
) -> None:
    """Count the fire times that calendars left out while the task followed them."""
    for span in schedule_spans(rows):
        if not isinstance(span.schedule, OnCalendars):
            continue
        found.excluded = found.excluded or 0
        first, last = max(span.begin, since), min(span.until, until - MICROSECOND)
        try:
            for at, calendar in span.schedule.left_out_between(first, last):
                left = ExcludedFireTime(at, calendar.name, calendar.number)
                found.add_excluded(left)
                if found.excluded > MAX_FIRE_TIMES:
                    raise _too_many(at)
        except ScheduleError:
            continue


def _too_many(at: datetime) -> InvalidTask:
    return InvalidTask(
        "from",
        f"There are more than {MAX_FIRE_TIMES} fire times from from to to; split the time "
        f"at {format_timestamp(at)}",
    )


def _pair_by_time(
    planned: Iterator[_PlannedTime], recorded: Iterator[_RecordedRun]
) -> Iterator[tuple[_PlannedTime | None, _RecordedRun | None]]:
    """Yield fire times and runs in the order of time, a fire time with its run."""
    plan, run = next(planned, None), next(recorded, None)
    while plan is not None or run is not None:
        if run is None or (plan is not None and plan.at < run.at):
            yield plan, None
            plan = next(planned, None)
        elif plan is None or run.at < plan.at or run.by_hand:
            yield None, run
            run = next(recorded, None)
        else:
            yield plan, run
            plan, run = next(planned, None), next(recorded, None)


def _count_planned(
    found: Account,
    plan: _PlannedTime,
    run: _RecordedRun | None,
    covers: list[_MissedRange],
) -> None:
    found.planned += 1
    if run is not None:
        found.outcomes[_outcome_of(run)] += 1
        return
    if any(first <= plan.at <= last for first, last in covers):
        found.outcomes[FireTimeOutcome.MISSED] += 1
        return
    if plan.is_open:
        found.outcomes[FireTimeOutcome.UNDER_WAY] += 1
        return
    text = "The schedule planned this fire time, and no run was recorded."
    found.add(Mismatch("missing", plan.at, None, text))


def _count_unplanned(found: Account, run: _RecordedRun) -> None:
    if run.by_hand:
        found.manual += 1
        found.manual_outcomes[_outcome_of(run)] += 1
        return
    text = "This run was recorded, and no schedule planned it."
    found.add(Mismatch("unplanned", run.at, run.run_id, text))


def _outcome_of(run: _RecordedRun) -> FireTimeOutcome:
    return OUTCOME_OF_STATE.get(RunState(run.state), FireTimeOutcome.UNDER_WAY)


def read_schedules(owner: User, task_id: UUID, now: datetime) -> list[ScheduleRow]:
    with connection.cursor() as cursor:
        cursor.execute(
            READ_SCHEDULES,
            {
                "task": task_id,
                "owner": owner.pk,
                "reaches_all": owner.reaches_tenant,
                "tenant": owner.tenant_id,
                "now": now,
            },
        )
        rows = stored_schedules.fetch_with_schedule(cursor, ScheduleRow)
    if not rows:
        raise TaskNotFound("Task not found")
    return rows


def planned_slots(
    owner: User,
    task: Task,
    since: datetime,
    until: datetime,
    now: datetime,
    *,
    present: bool,
) -> Iterator[datetime]:
    """Yield the fire times of a task from `since` to before `until`, to backfill.

    They are those that the schedules in force then had, also while the task was paused;
    or, with `present`, those of the present schedule, also before its start. Fire times
    that have no run yet because they are just due are left out, and so are those after
    the end of the task, and the moment of a one-off that is still to run.
    """
    rows = [
        row._replace(stored=row.stored._replace(is_paused=False))
        for row in read_schedules(owner, task.pk, now)
    ]
    row = rows[-1]
    if row.stored.is_one_off and row.last_fire_at is None and row.ended_at is None:
        return
    if present:
        stored = stored_schedules.without_start(row.stored, since)
        schedule = stored_schedules.to_schedule(stored)
        rows_until = until if row.ended_at is None else row.until
        spans = iter([ScheduleSpan(schedule, since, rows_until, row.open_from, since)])
    else:
        spans = schedule_spans(rows)
    for planned in merge_fire_times(spans, since, until):
        if row.open_from is None or planned.at < row.open_from:
            yield planned.at


def schedule_spans(rows: list[ScheduleRow]) -> Iterator[ScheduleSpan]:
    since: datetime | None = None
    for row in rows:
        span = _schedule_span(row, since)
        if span is not None:
            yield span
        since = row.until


def _schedule_span(row: ScheduleRow, since: datetime | None) -> ScheduleSpan | None:
    stored = row.stored
    try:
        schedule = stored_schedules.to_schedule(stored)
    except ScheduleError:
        return None
    if isinstance(schedule, Once):
        return _one_off_span(row, schedule, is_paused=stored.is_paused)
    if stored.is_paused:
        return None
    until = row.until
    if stored.is_one_off and row.last_fire_at is not None:
        until = min(until, row.last_fire_at)
    if since is not None:
        first = first_after(schedule, since)
    elif isinstance(grid_of(schedule), Interval):
        first = schedule.first_from(MIN_DATETIME)
    else:
        first = first_after(schedule, stored.created_at)
    if first is None and not isinstance(schedule, OnCalendars):
        return None
    begin = since + MICROSECOND if since else stored.created_at
    return ScheduleSpan(schedule, first or FOREVER, until, row.open_from, begin)


def _one_off_span(
    row: ScheduleRow, schedule: Once, *, is_paused: bool
) -> ScheduleSpan | None:
    """Return the span of a one-off, which has one planned moment.

    That is the moment that was taken. Before it is taken, it is the moment that the
    task has now, or had when it was removed.
    """
    if is_paused:
        # The one-off waits through the pause, unless a removal cuts it off.
        is_planned = (
            row.last_fire_at is None and row.what == ScheduleChange.ChangeKind.REMOVED
        )
    elif row.last_fire_at is not None:
        is_planned = schedule.at == row.last_fire_at
    else:
        is_planned = row.is_current or row.what in END_CHANGES
    if not is_planned:
        return None
    until = row.until
    if row.last_fire_at is not None:
        # The run of a one-off waits through a pause, so the pause does not end the span.
        until = min(schedule.at, row.ended_at or schedule.at)
    return ScheduleSpan(schedule, schedule.at, until, row.open_from, schedule.at)


def merge_fire_times(
    spans: Iterator[ScheduleSpan], since: datetime, until: datetime
) -> Iterator[_PlannedTime]:
    """Yield the fire times of all spans, each once."""
    streams = [_fire_times_of(span, since) for span in spans if span.until >= since]
    last = None
    for planned in heapq.merge(*streams):
        if planned.at >= until:
            return
        if planned.at != last:
            yield planned
        last = planned.at


def _fire_times_of(span: ScheduleSpan, since: datetime) -> Iterator[_PlannedTime]:
    try:
        for at in span.fire_times(since):
            yield _PlannedTime(at, span.is_open(at))
    except ScheduleError:
        # A schedule that cannot be computed plans nothing.
        return


def _find_missed_ranges(
    task_id: UUID, since: datetime, until: datetime
) -> list[_MissedRange]:
    """Return the ranges of missed fire times that have a single run."""
    runs = Run.objects.planned_between(until=until)
    runs = runs.filter(task=task_id, covers_until__gte=since)
    found = runs.filter(scheduled_for__lt=until)
    return list(
        map(_MissedRange._make, found.values_list("scheduled_for", "covers_until"))
    )


def _read_runs(
    task_id: UUID, since: datetime, until: datetime
) -> Iterator[_RecordedRun]:
    runs = Run.objects.planned_between(since, until)
    runs = runs.filter(task=task_id, scheduled_for__lt=until)
    columns = ("scheduled_for", "pk", "state", "by_hand")
    page = runs.filter(scheduled_for__gte=since)
    while True:
        rows = list(
            page.order_by("scheduled_for").values_list(*columns)[:RUN_PAGE_SIZE]
        )
        yield from map(_RecordedRun._make, rows)
        if len(rows) < RUN_PAGE_SIZE:
            return
        page = runs.filter(scheduled_for__gt=rows[-1][0])
