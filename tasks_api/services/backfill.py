"""Backfill a task: send what its fire times of some time would have sent.

The plan says which slots get a run, and when it is sent. A backfill is one transaction,
so it makes all runs of its plan or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from accounts import audit
from accounts.models import User
from scheduler_service.db import clock
from scheduler_service.db.arrays import columns
from scheduler_service.db.statements import fetch_all
from tasks_api.domain.backfills import (
    DEFAULT_PACE,
    MAX_DURATION,
    Pace,
    Which,
    send_times,
)
from tasks_api.domain.exceptions import (
    InvalidState,
    InvalidTask,
    ScheduleError,
    TaskNotFound,
)
from tasks_api.domain.ids import id_for, id_of_fire_time, id_range
from tasks_api.domain.specs import Overlap, Surface
from tasks_api.domain.states import UNFINISHED_STATES, EndReason, RunState
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import RunIdKey, Task
from tasks_api.services import reconciliation, waiting_limits
from tasks_api.services.backfill_statements import (
    INSERT_BACKFILLS,
    READ_LAST_SEND_TIME,
    READ_RUNS_OF_SLOTS,
)
from tasks_api.services.finding import lock_rows

DAY = timedelta(days=1)
# The most slots that one call backfills, and those that it looks at.
MAX_SLOTS = 10_000
MAX_EXAMINED_SLOTS = 100_000


@dataclass(frozen=True)
class WantedSlots:
    """Which slots a backfill is about, and how it sends them."""

    # None: a day before `until`.
    since: datetime | None = None
    # Exclusive; None: now.
    until: datetime | None = None
    which: Which = Which.MISSED
    pace: Pace = DEFAULT_PACE
    # `allow` lets the runs overlap, also if the task's policy does not.
    may_overlap: bool = False


class BackfillPlan(NamedTuple):
    """The slots that a backfill sends, oldest first, and the moment of each.

    The fingerprint changes if the task changes, its slots, or what became of them.
    """

    slots: list[datetime]
    times: list[datetime]
    fingerprint: str


class Backfill(NamedTuple):
    """A plan and the runs that were made by it; a dry run, or an empty plan, made none."""

    plan: BackfillPlan
    backfill_id: UUID | None = None
    runs: int = 0


class _RunOfSlot(NamedTuple):
    slot: datetime
    state: str
    is_asked_for: bool


@transaction.atomic
def backfill_task(
    user: User,
    task_id: UUID,
    wanted: WantedSlots,
    *,
    dry_run: bool = False,
    expected: str | None = None,
) -> Backfill:
    """Make a run of each slot that is wanted; a dry run only plans them.

    It works for a task that is paused or has ended by itself. The callers must ring after
    the commit. Raises TaskNotFound, InvalidTask for wrong or too many slots, and
    InvalidState if the task was removed, or if the plan is not the `expected` one. Raises
    QuotaExceeded for more runs than may start or wait for a day.
    """
    task = _find_task(user, task_id, locks=not dry_run)
    plan = _plan(user, task, wanted)
    waiting_limits.require_room(task, len(plan.slots), now=clock.now())
    if dry_run:
        return Backfill(plan)
    if expected is not None and expected != plan.fingerprint:
        raise InvalidState("The plan is another one now; look at it again")
    if not plan.slots:
        return Backfill(plan)
    backfill_id = clock.new_id()
    in_turn = task.overlap != Overlap.ALLOW and not wanted.may_overlap
    made = _insert_runs(task, plan, backfill_id, in_turn=in_turn)
    changes = {"backfill": (None, str(backfill_id)), "runs": (None, made)}
    audit.record(task.tenant_id, "task.backfill", [task.pk], changes)
    return Backfill(plan, backfill_id, made)


def _find_task(user: User, task_id: UUID, *, locks: bool) -> Task:
    own = Task.objects.visible_to(user).exclude(surface=Surface.NOTICES)
    found = own.filter(pk=task_id).with_schedule()
    task = (lock_rows(found) if locks else found).first()
    if task is None:
        raise TaskNotFound("Task not found")
    if task.end_reason == EndReason.REMOVED:
        raise InvalidState("The task was removed")
    return task


def _plan(user: User, task: Task, wanted: WantedSlots) -> BackfillPlan:
    now = clock.read()
    since, until = _read_range(user, wanted, now)
    runs = _read_runs(task, since, until)
    states = set(UNFINISHED_STATES)
    if wanted.which == Which.MISSED:
        states.add(RunState.SUCCEEDED)
    left_out = {run.slot for run in runs if run.state in states}
    present = wanted.which == Which.ALL
    planned = reconciliation.planned_slots(
        user, task, since, until, now, present=present
    )
    try:
        slots = _take_slots(planned, left_out)
    except ScheduleError as error:
        raise InvalidState(f"The schedule cannot be computed. {error}") from None
    begin = _first_send_time(task, wanted.pace, now)
    times = list(
        send_times(
            len(slots),
            begin=begin,
            pace=wanted.pace,
            apart_from=[*slots, task.starts_at or task.created_at],
        )
    )
    if times and times[-1] - now > MAX_DURATION:
        raise InvalidTask(
            "pace",
            f"At this pace, {len(slots)} runs would take longer than "
            f"{MAX_DURATION.days} days; choose a faster pace or fewer slots",
        )
    asked_for = sum(run.is_asked_for for run in runs)
    return BackfillPlan(slots, times, _fingerprint(task, wanted, slots, asked_for))


def _read_range(
    user: User, wanted: WantedSlots, now: datetime
) -> tuple[datetime, datetime]:
    """Return the first moment of the slots, and the moment after them."""
    assert user.tenant is not None
    oldest = reconciliation.history_start(user.tenant, now)
    until = now if wanted.until is None else wanted.until
    since = max(until - DAY, oldest) if wanted.since is None else wanted.since
    if until > now:
        raise InvalidTask("to", "to should not be in the future")
    if since >= until:
        raise InvalidTask("to", "to should be after from")
    if wanted.which == Which.MISSED and since < oldest:
        raise InvalidTask(
            "from",
            f"from is before {format_timestamp(oldest)}; older runs are not kept, so "
            "nobody knows which were missed",
        )
    return since, until


def _read_runs(task: Task, since: datetime, until: datetime) -> list[_RunOfSlot]:
    first_id, until_id = id_range(since, until)
    values: dict[str, Any] = {"task": task.pk, "since": since, "until": until}
    # Not prepared: PostgreSQL sees in the ids which partitions it need not read.
    with connection.cursor() as cursor:
        cursor.execute(
            READ_RUNS_OF_SLOTS, {**values, "first_id": first_id, "until_id": until_id}
        )
        return fetch_all(cursor, _RunOfSlot)


def _take_slots(planned: Iterator[datetime], left_out: set[datetime]) -> list[datetime]:
    """Return the slots without those that are left out. Raises InvalidTask for `to`."""
    slots: list[datetime] = []
    for number, slot in enumerate(planned):
        if number == MAX_EXAMINED_SLOTS:
            raise _too_many(MAX_EXAMINED_SLOTS, slot)
        if slot in left_out:
            continue
        if len(slots) == MAX_SLOTS:
            raise _too_many(MAX_SLOTS, slot)
        slots.append(slot)
    return slots


def _too_many(most: int, first_too_many: datetime) -> InvalidTask:
    return InvalidTask(
        "to",
        f"There are more than {most} fire times from from to to; set to to "
        f"{format_timestamp(first_too_many)} or earlier",
    )


def _first_send_time(task: Task, pace: Pace, now: datetime) -> datetime:
    """Return now, or the moment after the backfills of the task that wait already."""
    with connection.cursor() as cursor:
        cursor.execute(READ_LAST_SEND_TIME, {"task": task.pk})
        (last,) = cursor.fetchone()
    return now if last is None else max(now, last + pace.distance)


def _fingerprint(
    task: Task, wanted: WantedSlots, slots: Iterable[datetime], asked_for: int
) -> str:
    # Each backfill of these slots changes the number of runs that were asked for.
    said = [wanted.which, wanted.pace, wanted.may_overlap, asked_for]
    text = f"{task.pk} {task.version} {said} {[slot.isoformat() for slot in slots]}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _insert_runs(
    task: Task, plan: BackfillPlan, backfill_id: UUID, *, in_turn: bool
) -> int:
    """Store the runs that no constraint forbids; return how many there are."""
    tenant_id, key = task.tenant_id, bytes(RunIdKey.objects.get().key)
    rows = [
        (
            id_for(at, tenant_id),
            at,
            id_of_fire_time(key, task.pk, slot, tenant_id),
            slot,
        )
        for slot, at in zip(plan.slots, plan.times, strict=True)
    ]
    arrays = dict(
        zip(("ids", "times", "originals", "slots"), columns(rows), strict=True)
    )
    values: dict[str, Any] = {"task": task.pk, "tenant": tenant_id}
    values |= {"backfill": backfill_id, "in_turn": in_turn}
    with connection.cursor() as cursor:
        cursor.execute(INSERT_BACKFILLS, values | arrays)
        return int(cursor.rowcount)
