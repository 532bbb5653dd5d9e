"""The account of a task: what its schedules planned, beside what was written down."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from accounts.models import Tenant, User
from scheduler_service.db import clock
from tasks_api.domain.exceptions import InvalidTask, ScheduleError, TaskNotFound
from tasks_api.domain.schedules import (
    Cron,
    Once,
    Schedule,
    between,
    first_after,
)
from tasks_api.domain.states import NOT_DELIVERED, RunState
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Run, ScheduleChange
from tasks_api.storage import stored_schedules

# Fire times and runs in one answer: a day of one every second has fewer.
MOST = 100_000
# Differences that are named; all of them are counted.
NAMED = 100
# Runs read at once.
PAGE = 5000
# Until it is certain that pruning reaches a moment only after an answer about it.
MARGIN = timedelta(minutes=5)

# Ends of a task, after which it has no other schedule.
ENDS = (ScheduleChange.ChangeKind.REMOVED, ScheduleChange.ChangeKind.OVER)

DAWN = datetime.min.replace(tzinfo=UTC)


class Outcome(StrEnum):
    """What became of a planned fire time."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    CANCELLED = "cancelled"
    # Due, waiting, being sent or waiting to be tried again.
    UNDER_WAY = "under_way"


OUTCOME: dict[RunState, Outcome] = {
    RunState.SUCCEEDED: Outcome.DELIVERED,
    **{state: Outcome(state) for state in NOT_DELIVERED},
}


class Difference(NamedTuple):
    """A fire time without a run, or a run that no schedule planned."""

    kind: str
    scheduled_for: datetime
    run_id: UUID | None
    message: str


class Change(NamedTuple):
    """A moment at which a task's schedule changed."""

    at: datetime
    what: str


@dataclass
class Account:
    """What was planned from a moment, included, to another, excluded, and what became of it.

    `planned` is the sum of `outcomes` and of `missing`, the fire times without a run.
    """

    since: datetime
    until: datetime
    planned: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    # Runs that somebody asked for, beside the plan.
    manual: int = 0
    missing: int = 0
    unplanned: int = 0
    # The first ones; `missing` and `unplanned` count all.
    differences: list[Difference] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def balance(self) -> int:
        """What was planned, less what became of it: zero."""
        return self.planned - self.outcomes.total()

    def add(self, difference: Difference) -> None:
        if difference.run_id is None:
            self.missing += 1
        else:
            self.unplanned += 1
        if len(self.differences) < NAMED:
            self.differences.append(difference)


class Span(NamedTuple):
    """A time in which a task followed one schedule: its fire times there were planned."""

    schedule: Schedule
    first: datetime
    until: datetime
    # From here on nobody has made runs yet.
    open_from: datetime | None

    def fire_times(self, since: datetime) -> Iterator[datetime]:
        return between(self.schedule, max(self.first, since), self.until)

    def is_open(self, at: datetime) -> bool:
        return self.open_from is not None and self.open_from <= at <= self.until


class _Row(NamedTuple):
    """A schedule that a task had or has."""

    change_id: int | None
    until: datetime
    what: str
    open_from: datetime | None
    is_current: bool
    last_fire_at: datetime | None
    ended_at: datetime | None
    stored: stored_schedules.StoredSchedule


class _Planned(NamedTuple):
    at: datetime
    is_open: bool


class _Cover(NamedTuple):
    first: datetime
    last: datetime


class _Recorded(NamedTuple):
    at: datetime
    run_id: UUID
    state: str
    by_hand: bool


def kept_since(tenant: Tenant, now: datetime) -> datetime:
    """The moment from which on no run has been pruned, nor will be while we look."""
    days = tenant.retention_days
    kept = timedelta(days=settings.SCHEDULER_RETENTION_DAYS if days is None else days)
    return now - kept + MARGIN


def account(
    owner: User, task_id: UUID, *, since: datetime | None, until: datetime | None
) -> Account:
    """The account of one of a user's tasks, living or ended.

    Without `since` it is of the day before `until`, and without `until` up to now, by
    the database's clock; later than now is now. Raises InvalidTask naming `from` where
    runs of that time are gone, or where there is more in between than MOST.
    """
    now = clock.read()
    assert owner.tenant is not None
    until, oldest = min(until or now, now), kept_since(owner.tenant, now)
    for name, moment in (("to", until), ("from", since or until)):
        if moment < oldest:
            raise InvalidTask(
                name,
                f"{name} is before {format_timestamp(oldest)}; older runs are not kept",
            )
    since = since or max(until - timedelta(days=1), oldest)
    found = _lay(owner, task_id, since, until, now)
    if found.differences:
        # A change may have come between two looks at the tables; a second look tells.
        found = _lay(owner, task_id, since, until, now)
    return found


def _lay(
    owner: User, task_id: UUID, since: datetime, until: datetime, now: datetime
) -> Account:
    """Lay plan and runs side by side, both in the order of time."""
    rows = _read(owner, task_id, now)
    found = Account(since, until)
    found.changes = [
        Change(row.until, row.what)
        for row in rows
        if row.what and since <= row.until < until
    ][-NAMED:]
    planned = _planned(_spans(rows), since, until)
    covers = _covers(task_id, since, until)
    recorded = _recorded(task_id, since, until)
    for seen, (plan, run) in enumerate(_side_by_side(planned, recorded)):
        if seen == MOST:
            at = min(each.at for each in (plan, run) if each is not None)
            raise InvalidTask(
                "from",
                f"There are more than {MOST} fire times from from to to; split the time "
                f"at {format_timestamp(at)}",
            )
        if plan is not None:
            _count_planned(found, plan, run, covers)
        elif run is not None:
            _count_unplanned(found, run)
    return found


def _side_by_side(
    planned: Iterator[_Planned], recorded: Iterator[_Recorded]
) -> Iterator[tuple[_Planned | None, _Recorded | None]]:
    """Fire times and runs in the order of time, a fire time together with its run."""
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
    found: Account, plan: _Planned, run: _Recorded | None, covers: list[_Cover]
) -> None:
    found.planned += 1
    if run is not None:
        found.outcomes[OUTCOME.get(RunState(run.state), Outcome.UNDER_WAY)] += 1
        return
    if any(first <= plan.at <= last for first, last in covers):
        found.outcomes[Outcome.MISSED] += 1
        return
    if plan.is_open:
        found.outcomes[Outcome.UNDER_WAY] += 1
        return
    text = "The schedule planned this fire time, and no run was recorded."
    found.add(Difference("missing", plan.at, None, text))


def _count_unplanned(found: Account, run: _Recorded) -> None:
    if run.by_hand:
        found.manual += 1
        return
    text = "This run was recorded, and no schedule planned it."
    found.add(Difference("unplanned", run.at, run.run_id, text))


def _read(owner: User, task_id: UUID, now: datetime) -> list[_Row]:
    with connection.cursor() as cursor:
        cursor.execute(
            _READ,
            {
                "task": task_id,
                "owner": owner.pk,
                "reaches_all": owner.reaches_tenant,
                "tenant": owner.tenant_id,
                "now": now,
            },
        )
        rows = stored_schedules.fetch_with_schedule(cursor, _Row)
    if not rows:
        raise TaskNotFound("Task not found")
    return rows


# One statement, so that the task and its changes are of one moment. The plan of a
# schedule that was edited and not yet followed is the one that still fires.
_READ = f"""
    WITH task AS (
        SELECT * FROM tasks_api_task
        WHERE id = %(task)s AND tenant_id = %(tenant)s
            AND (%(reaches_all)s OR owner_id = %(owner)s)
    )
    SELECT change.id AS change_id, change.at AS until, change.what, change.open_from,
        false AS is_current, task.last_fire_at, task.ended_at, {", ".join(f"change.{name}" for name in stored_schedules.SCHEDULE_COLUMNS)},
        task.created_at
    FROM task JOIN tasks_api_schedulechange change ON change.task_id = task.id
    UNION ALL
    SELECT NULL, least(task.ended_at, %(now)s), '',
        CASE WHEN next_fire_at <= %(now)s THEN next_fire_at END, true,
        task.last_fire_at, task.ended_at, {", ".join(f"task.{name}" for name in stored_schedules.SCHEDULE_COLUMNS)}, task.created_at
    FROM task
    ORDER BY 1 NULLS LAST
"""  # noqa: S608 (names of columns)


def _spans(rows: list[_Row]) -> Iterator[Span]:
    since: datetime | None = None
    for row in rows:
        span = _span(row, since)
        if span is not None:
            yield span
        since = row.until


def _span(row: _Row, since: datetime | None) -> Span | None:
    stored = row.stored
    try:
        schedule = stored_schedules.to_schedule(stored)
    except ScheduleError:
        return None
    if isinstance(schedule, Once):
        return _once(row, schedule, is_paused=stored.is_paused)
    if stored.is_paused:
        return None
    until = row.until
    if stored.is_one_off and row.last_fire_at is not None:
        until = min(until, row.last_fire_at)
    if since is not None:
        first = first_after(schedule, since)
    elif isinstance(schedule, Cron):
        first = first_after(schedule, stored.created_at)
    else:
        first = schedule.first_from(DAWN)
    return None if first is None else Span(schedule, first, until, row.open_from)


def _once(row: _Row, schedule: Once, *, is_paused: bool) -> Span | None:
    """A one-off has one moment, which it takes along through pauses and edits.

    It is the one that was dispatched; before that, the one that it has now or had when
    it was removed.
    """
    if is_paused:
        # It waits; whoever removes it then has cut it off.
        is_planned = (
            row.last_fire_at is None and row.what == ScheduleChange.ChangeKind.REMOVED
        )
    elif row.last_fire_at is not None:
        is_planned = schedule.at == row.last_fire_at
    else:
        is_planned = row.is_current or row.what in ENDS
    if not is_planned:
        return None
    until = row.until
    if row.last_fire_at is not None:
        # Dispatched, it waits out a pause, which is no end.
        until = min(schedule.at, row.ended_at or schedule.at)
    return Span(schedule, schedule.at, until, row.open_from)


def _planned(
    spans: Iterator[Span], since: datetime, until: datetime
) -> Iterator[_Planned]:
    """The fire times of all spans, each once."""
    streams = [_of_span(span, since) for span in spans if span.until >= since]
    last = None
    for planned in heapq.merge(*streams):
        if planned.at >= until:
            return
        if planned.at != last:
            yield planned
        last = planned.at


def _of_span(span: Span, since: datetime) -> Iterator[_Planned]:
    try:
        for at in span.fire_times(since):
            yield _Planned(at, span.is_open(at))
    except ScheduleError:
        # Fields that cannot be read plan nothing.
        return


def _covers(task_id: UUID, since: datetime, until: datetime) -> list[_Cover]:
    """The runs that stand for many fire times in a row, which were all missed."""
    runs = Run.objects.filter(task=task_id, covers_until__gte=since)
    found = runs.filter(scheduled_for__lt=until)
    return list(map(_Cover._make, found.values_list("scheduled_for", "covers_until")))


def _recorded(task_id: UUID, since: datetime, until: datetime) -> Iterator[_Recorded]:
    runs = Run.objects.filter(task=task_id, scheduled_for__lt=until)
    columns = ("scheduled_for", "pk", "state", "by_hand")
    page = runs.filter(scheduled_for__gte=since)
    while True:
        rows = list(page.order_by("scheduled_for").values_list(*columns)[:PAGE])
        yield from map(_Recorded._make, rows)
        if len(rows) < PAGE:
            return
        page = runs.filter(scheduled_for__gt=rows[-1][0])
