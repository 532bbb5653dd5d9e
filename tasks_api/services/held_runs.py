"""Runs that a calendar holds back: they wait, and go after its time, at a pace, in order.

The runs of all tasks that a calendar holds share one line. A run takes up the time of its
task's pace in it. Runs of tasks without a pace go at once when the calendar's time ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import transaction

from scheduler_service.db import clock
from scheduler_service.db.arrays import array, columns
from scheduler_service.db.statements import prepared, with_limit
from tasks_api.domain.calendars import CalendarRules
from tasks_api.domain.states import RunState
from tasks_api.models import Calendar
from tasks_api.services.calendar_statements import (
    FIND_LATE_RELEASES,
    LOCK_CALENDARS,
    LOCK_HELD_RUNS,
    READ_VERSIONS,
    WRITE_NEXT_RELEASES,
    WRITE_WAKE_TIMES,
)
from tasks_api.storage.calendar_rules import HOLD_MARK, replace_version, rules_of
from tasks_api.storage.run_rows import NewRun
from tasks_api.storage.waiting_reasons import HELD

# The runs of one calendar that one transaction gives new times.
MAX_HELD_RUNS = 50_000
# The seconds by which held runs may be late before they are spread out anew.
MAX_LATENESS = 3.0


class HeldRun(NamedTuple):
    run_id: UUID
    calendar_id: int
    rules: CalendarRules


def reason_of(name: str) -> str:
    return f"{HELD}{name}."


def hold_back(
    runs: Sequence[NewRun], calendars: Mapping[UUID, str], *, now: datetime
) -> list[NewRun]:
    """Return new runs, those that are held back with their place after the hold.

    `calendars` has the calendars of tasks, as in their column. Call it inside a
    transaction that may have locked tasks, and no calendar.
    """
    held = {}
    for run in sorted(runs, key=lambda run: run.scheduled_for):
        text = calendars[run.task_id]
        if HOLD_MARK not in text or run.state != RunState.PENDING:
            continue
        rules = rules_of(text)
        if hold := rules.held(now):
            found = HeldRun(run.run_id, hold.calendar.calendar_id, rules)
            held[run.run_id] = found, reason_of(hold.calendar.name)
    if not held:
        return list(runs)
    places = _find_release_times([found for found, _ in held.values()], now=now)
    return [
        run._replace(reason=held[run.run_id][1], wake_at=places[run.run_id])
        if run.run_id in held
        else run
        for run in runs
    ]


def _find_release_times(
    runs: Sequence[HeldRun], *, now: datetime
) -> dict[UUID, datetime]:
    """Give held runs their places in the lines of their calendars, in this order."""
    ids = sorted({run.calendar_id for run in runs})
    lines = _lock_lines(ids)
    found = {
        run.run_id: _take_place(lines, run.calendar_id, run.rules, now) for run in runs
    }
    _write_lines(lines)
    return found


def _lock_lines(ids: Sequence[int]) -> dict[int, datetime | None]:
    with prepared() as cursor:
        cursor.execute(LOCK_CALENDARS, [array(ids)])
        return dict(cursor.fetchall())


def _write_lines(lines: dict[int, datetime | None]) -> None:
    rows = [(line, at) for line, at in lines.items() if at is not None]
    if rows:
        with prepared() as cursor:
            cursor.execute(WRITE_NEXT_RELEASES, columns(rows))


def _take_place(
    lines: dict[int, datetime | None],
    calendar_id: int,
    rules: CalendarRules,
    now: datetime,
) -> datetime:
    if not rules.pace:
        return rules.release_from(now)
    at = rules.release_from(max(now, lines.get(calendar_id) or now))
    lines[calendar_id] = at + rules.pace_interval
    return at


def spread_out_late() -> int:
    """Give late held runs new places from now on; return how many runs there are.

    They are late if no worker was alive, or had room, when they should have gone: without
    this, all of them would go at once.
    """
    with prepared() as cursor:
        cursor.execute(FIND_LATE_RELEASES, [MAX_LATENESS])
        ids = [calendar_id for (calendar_id,) in cursor.fetchall()]
    return sum(_spread_out(calendar_id) for calendar_id in ids)


@transaction.atomic
def _spread_out(calendar_id: int) -> int:
    return place_all_anew([calendar_id], now=clock.read())


def place_all_anew(calendar_ids: Collection[int], *, now: datetime) -> int:
    """Give the held runs of some calendars new places; see place_anew()."""
    if not calendar_ids:
        return 0
    calendars = Calendar.objects.filter(pk__in=calendar_ids).order_by("pk")
    return sum(place_anew(calendar, now=now) for calendar in calendars)


def place_anew(calendar: Calendar, *, now: datetime) -> int:
    """Give the held runs of a calendar places by its present version.

    Runs of tasks that have ended follow that, too, though these tasks keep the version
    that they had. Call it inside a transaction. Returns how many runs there are.
    """
    lines: dict[int, datetime | None] = {}
    _lock_lines([calendar.pk])
    with prepared() as cursor:
        cursor.execute(READ_VERSIONS, [array([calendar.pk])])
        # None: the calendar was removed.
        present = cursor.fetchone()
        cursor.execute(
            with_limit(LOCK_HELD_RUNS, MAX_HELD_RUNS),
            [calendar.tenant_id, reason_of(calendar.name)],
        )
        runs = cursor.fetchall()
        rows = [
            (run_id, _place_of(lines, calendar.pk, text, now))
            for run_id, text in _with_version(runs, calendar.pk, present)
        ]
        if rows:
            cursor.execute(WRITE_WAKE_TIMES, columns(rows))
    _write_lines(lines)
    return len(rows)


def _with_version(
    runs: Sequence[tuple[UUID, str]], calendar_id: int, version: tuple[str, int] | None
) -> Iterator[tuple[UUID, str]]:
    """Give runs and the calendars of their tasks, with this version of one of these."""
    for run_id, text in runs:
        if text and version:
            yield run_id, replace_version(text, calendar_id, version[1])
        else:
            yield run_id, text


def _place_of(
    lines: dict[int, datetime | None], calendar_id: int, text: str, now: datetime
) -> datetime:
    # A task that follows no calendar any more lets its runs go.
    rules = rules_of(text) if text else CalendarRules()
    return _take_place(lines, calendar_id, rules, now)
