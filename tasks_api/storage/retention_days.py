"""Decide which days of history are dropped, and when, and drop them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from tasks_api.domain.ids import first_id_at
from tasks_api.domain.states import LATE_AFTER
from tasks_api.storage import partitions
from tasks_api.storage.partition_statements import of_table
from tasks_api.storage.partitions import DAY, Day
from tasks_api.storage.retention_statements import (
    BATCH_SIZE,
    DELETE_ATTEMPTS_OF_DAY,
    FIND_HOLDER,
    FIND_RETENTIONS,
)


class PlannedDay(NamedTuple):
    """A day with runs that are past the retention of some tenant.

    It is dropped at `drop_at`, when the tenant that keeps its runs for longest,
    `held_days`, need keep none of them. Runs of tenants that keep theirs for a shorter
    time are deleted before that.
    """

    day: Day
    held_days: int
    drop_at: datetime

    @property
    def table(self) -> str:
        return self.day.table


def plan(*, now: datetime) -> list[PlannedDay]:
    """Return the days from which runs are deleted, the oldest first."""
    shortest, longest = _find_retentions()
    days = partitions.list_days(partitions.RUNS)
    return [
        _plan_day(day, longest, now)
        for day in days
        if day.since + shortest * DAY <= now
    ]


def patience_with_tasks(planned: Sequence[PlannedDay]) -> timedelta:
    """Return for how long ended tasks stay because their runs wait for a drop."""
    is_waiting = any(
        day.held_days >= settings.SCHEDULER_RETENTION_DAYS for day in planned
    )
    return DAY + LATE_AFTER if is_waiting else timedelta()


def drop_days(
    planned: Sequence[PlannedDay], *, now: datetime
) -> Iterator[tuple[str, int]]:
    """Drop the days whose time has come; yield the kind and the number of rows of each."""
    for each in planned:
        if each.drop_at > now:
            continue
        yield from _delete_attempts(each.day)
        rows = partitions.drop_day(each.day)
        if rows is not None:
            yield "run", rows
    partitions.drop_attempts_without_runs(now=now)


def _find_retentions() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(FIND_RETENTIONS, {"days": settings.SCHEDULER_RETENTION_DAYS})
        shortest, longest = cursor.fetchone()
    return shortest, longest


def _plan_day(day: Day, longest: int, now: datetime) -> PlannedDay:
    usual = settings.SCHEDULER_RETENTION_DAYS
    held = usual
    # A longer retention matters only when others would drop the day.
    if longest > usual and day.since + usual * DAY <= now:
        with connection.cursor() as cursor:
            cursor.execute(of_table(FIND_HOLDER, day.table), {"days": usual})
            [longer] = cursor.fetchone()
        held = longer or usual
    # No run in it was over later than this after its day: late runs stand elsewhere.
    return PlannedDay(day, held, day.until + LATE_AFTER + held * DAY)


def _delete_attempts(day: Day) -> Iterator[tuple[str, int]]:
    """Delete attempts of the day's runs from the tables that belong to no day."""
    values = {"first": first_id_at(day.since), "until": first_id_at(day.until)}
    for table in partitions.list_plain_tables_of_attempts():
        statement = of_table(DELETE_ATTEMPTS_OF_DAY, table)
        count = BATCH_SIZE
        while count >= BATCH_SIZE:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                [count] = cursor.fetchone()
            if count:
                yield "attempt", count
