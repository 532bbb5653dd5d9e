"""Due tasks of all kinds, in pairs: the statement decides one, and Python the other."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from accounts.models import User
from tasks_api.domain.calendars import CalendarRules, OnCalendars
from tasks_api.domain.cron import Dst
from tasks_api.domain.ids import id_of_fire_time
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import (
    Cron,
    Grid,
    Interval,
    Once,
    Part,
    Schedule,
    grid_of,
)
from tasks_api.domain.specs import Misfire, Overlap, Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Run, RunIdKey, Task
from tasks_api.services import calendars, tasks
from tasks_api.storage import calendar_rules, stored_schedules
from tasks_api.taking import due_tasks, following, leases
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_shares import TenantShare
from tests.integration.support.calendars import make_calendar
from tests.integration.support.stored_tasks import HOUR, SECOND, TARGET

PAIRS = 400
# So many pairs of each kind are such that the statement decides them, whenever it runs.
PLAIN_OF_KIND = 4
MINUTE = 60 * SECOND
INSTANT = timedelta(microseconds=1)
# Spans around which a decision changes: the grace, the grace of ends, windows, and none.
EDGES = [0 * SECOND, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND]
KINDS = ["once", "seconds", "hours", "cron", "rrule", "several", "calendars"]
CRONS = [
    ("* * * * *", "*/20"),
    ("* * * * *", "0"),
    ("*/2 * * * *", "30"),
    ("*/15 * * * *", "0"),
    ("30 2 * * *", "0"),
    ("0 * * * 1-5", "0"),
    ("0 0 1 * *", "0"),
]
RRULES = [
    "FREQ=MINUTELY;BYSECOND=0,20,40",
    "FREQ=MINUTELY",
    "FREQ=HOURLY;BYMINUTE=0,15,30,45",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
    "FREQ=MONTHLY;BYDAY=1MO,-1FR",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]
DSTS = [Dst(), Dst(skips_gap=True), Dst(runs_twice=True)]
RUN_FIELDS = [
    *("scheduled_for", "state", "reason", "exclusive", "is_next", "attempt_count"),
    *("lost_count", "wake_at", "started_at", "finished_at", "covers_until", "by_hand"),
]
TASK_FIELDS = [
    *("next_fire_at", "last_fire_at", "pause_reason", "ended_at", "is_paused"),
    *("end_reason", "runs_made"),
]
OVERLAPS = [*[Overlap.ALLOW, Overlap.SKIP] * 2, Overlap.QUEUE_ONE]


@contextmanager
def one_transaction() -> Iterator[datetime]:
    """A transaction in which durable ones nest; its moment, and nothing is left of it."""
    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT now()")
            [now] = cursor.fetchone()
        yield now
    finally:
        connection.rollback()
        connection.set_autocommit(True)


class Case(NamedTuple):
    kind: str
    spec: TaskSpec
    next_fire_at: datetime
    # Whether following fire times are known, and how many of them.
    steps: int
    # A run that is there already: not over, or of the fire time itself.
    earlier: str


class CaseMaker:
    def __init__(self, seed: int, now: datetime, rules: CalendarRules) -> None:
        self._chance = random.Random(seed)
        self._now = now
        self._rules = rules

    def make(self) -> Case:
        chance = self._chance
        kind = chance.choice(KINDS)
        # A schedule and a fire time of it.
        schedule = self._schedule(kind)
        late = chance.choice([0.0, 20.0, 480.0]) * chance.random() * SECOND
        if isinstance(schedule, Interval) and chance.random() < 0.2:
            # The fire time after this one may be the present moment.
            late = schedule.every
        fires = schedule.first_from(self._now - late)
        if fires is None or fires > self._now:
            fires = self._last_of(schedule)
        grid = grid_of(schedule)
        if not isinstance(grid, Once) and grid.end:
            # No task has a next fire time after its end.
            end = max(grid.end, fires - grid.offset)
            schedule = self._with_end(schedule, end)
        spec = TaskSpec(
            Surface.TASKS,
            TARGET,
            schedule,
            "{}",
            overlap=chance.choice(OVERLAPS),
            misfire=chance.choice([Misfire.LATEST, *Misfire]),
            catchup_window=chance.choice([None, None, None, 1, 10, 3600]),
            max_runs=None if kind == "once" else chance.choice([None] * 7 + [1]),
        )
        steps = chance.choice([0, 1, 2, following.STEPS, following.STEPS])
        earlier = chance.choice(["", "", "", "", "unfinished", "same"])
        return Case(kind, spec, fires, steps, earlier)

    def make_plain(self, kind: str) -> Case:
        """A case that the statement decides: no policy asks for more, and one fire is due.

        All others may need Python, which depends on the time of day for most of them.
        """
        schedule = self._with_end(self._schedule(kind), None)
        # Of the other kinds, the statement takes any moment for a fire time.
        fires = self._now
        if isinstance(schedule, Once):
            fires = schedule.at
        elif isinstance(schedule, Interval):
            fires = self._last_on_grid(schedule)
        spec = TaskSpec(Surface.TASKS, TARGET, schedule, "{}")
        return Case(kind, spec, fires, following.STEPS, "")

    def _with_end(self, schedule: Schedule, end: datetime | None) -> Schedule:
        grid = grid_of(schedule)
        if isinstance(grid, Once):
            return schedule
        grid = replace(grid, end=end)
        is_on_calendars = isinstance(schedule, OnCalendars)
        return self._on_calendars(grid) if is_on_calendars else grid

    def _last_of(self, schedule: Schedule) -> datetime:
        """A fire time that has passed: an edge ago, on the grid or not."""
        if isinstance(schedule, Once):
            return schedule.at
        if isinstance(schedule, Interval) and self._chance.random() < 0.8:
            return self._last_on_grid(schedule)
        return self._now - self._edge()

    def _last_on_grid(self, schedule: Interval) -> datetime:
        start = schedule.start + schedule.offset
        return start + (self._now - start) // schedule.every * schedule.every

    def _edge(self) -> timedelta:
        around = self._chance.choice([-INSTANT, 0 * SECOND, INSTANT])
        return max(0 * SECOND, self._chance.choice(EDGES) + around)

    def _schedule(self, kind: str) -> Schedule:
        chance = self._chance
        if kind == "calendars":
            grid = self._schedule(
                chance.choice(["seconds", "cron", "rrule", "several"])
            )
            assert not isinstance(grid, Once | OnCalendars)
            if isinstance(grid, Cron):
                grid = replace(grid, start=None)
            return self._on_calendars(grid)
        if kind == "once":
            return Once(self._now - chance.choice([self._edge(), 40 * 24 * HOUR]))
        offset = chance.choice([0, 0, 7, 120]) * SECOND
        if kind == "cron":
            expression, seconds = chance.choice(CRONS)
            start = chance.choice([None, None, self._now - 5 * MINUTE])
            zone, dst = chance.choice(ZONES), chance.choice(DSTS)
            return Cron(expression, zone, start, self._end(offset), seconds, "*", dst, offset)  # fmt: skip
        if kind == "rrule":
            return replace(self._rrule(), end=self._end(offset), offset=offset)
        if kind == "several":
            return AnyOf(self._several(), None, self._end(offset), offset)
        every = HOUR if kind == "hours" else chance.choice([4, 7, 60, 3600, 10**8]) * SECOND  # fmt: skip
        start = self._now - self._edge() - chance.choice([0, 0, 1, 3]) * every
        return Interval(start - offset, every, self._end(offset), offset)

    def _on_calendars(self, grid: Grid) -> Schedule:
        return stored_schedules.follow_calendars(grid, self._rules)

    def _rrule(self) -> Recurrence:
        chance, dst = self._chance, self._chance.choice(DSTS)
        first = (self._now - 40 * 24 * HOUR).replace(tzinfo=None, microsecond=0)
        return Recurrence(chance.choice(RRULES), first, chance.choice(ZONES), dst=dst)

    def _several(self) -> tuple[Part, ...]:
        """Two to four schedules, of which the first is what the admin shows."""
        chance = self._chance
        dst = chance.choice(DSTS)
        kinds = chance.choices(
            ["seconds", "cron", "rrule", "once"], k=chance.randint(1, 3)
        )
        recurring = chance.choice(["seconds", "cron", "rrule"])
        made = []
        for kind in (recurring, *kinds):
            part = self._schedule(kind)
            assert not isinstance(part, AnyOf | OnCalendars)
            if not isinstance(part, Once):
                part = replace(part, offset=0 * SECOND, end=None)
            made.append(with_dst_of_part(part, dst))
        return tuple(made)

    def _end(self, offset: timedelta) -> datetime | None:
        ends = [None, None, None, self._now + HOUR, self._now, self._now - self._edge()]
        end = self._chance.choice(ends)
        return end and end - offset


def with_dst_of_part(part: Part, dst: Dst) -> Part:
    return replace(part, dst=dst) if isinstance(part, Cron | Recurrence) else part


class Comparison:
    """The same tasks twice: of a user, for the statement, and of another, for Python."""

    def __init__(self, user: User, other: User, seed: int, now: datetime) -> None:
        maker = CaseMaker(seed, now, _make_rules(user, now))
        self._now = now
        plain = [maker.make_plain(kind) for kind in KINDS * PLAIN_OF_KIND]
        self._cases = plain + [maker.make() for _ in range(PAIRS - len(plain))]
        self._key = bytes(RunIdKey.objects.get().key)
        self._of_statement = self._store(user)
        self._of_python = self._store(other)

    def take(self) -> None:
        room = Room(places=PAIRS * 200, places_each=PAIRS * 200)
        lease = leases.new_lease(leases.NO_PRESENCE)
        share = TenantShare(self._of_statement[0].tenant_id, PAIRS)
        due_tasks.take_due(room, lease, shares=[share])
        due_tasks.decide_tasks([task.pk for task in self._of_python], room, lease)

    def find_differences(self) -> list[tuple[Case, Any, Any]]:
        decided = self._outcomes(self._of_statement), self._outcomes(self._of_python)
        found = zip(self._cases, *decided, strict=True)
        return [each for each in found if each[1] != each[2]]

    def count_plain(self, kind: str) -> tuple[int, int]:
        """How many tasks of a kind the statement decided by itself, and how many not."""
        stored = Task.objects.in_bulk([task.pk for task in self._of_statement])
        plain = [
            # Python forgets the following fire times.
            stored[task.pk].following_fire_times is not None
            for case, task in zip(self._cases, self._of_statement, strict=True)
            if case.kind == kind
        ]
        return sum(plain), len(plain) - sum(plain)

    def _store(self, owner: User) -> list[Task]:
        # Created before the earliest start of them.
        created_at = self._now - 50 * 24 * HOUR
        specs = [case.spec for case in self._cases]
        ids = [new.id for new in tasks.create_tasks(owner, specs, now=created_at)]
        stored = self._read(ids)
        for case, task in zip(self._cases, stored, strict=True):
            task.next_fire_at, task.created_at = case.next_fire_at, created_at
        _count_in_hours([task for case, task in zip(self._cases, stored, strict=True) if case.kind == "hours"])  # fmt: skip
        Task.objects.bulk_update(stored, ["next_fire_at", "created_at", "interval_every", "interval_period"])  # fmt: skip
        following.plan(ids)
        stored = self._read(ids)
        for case, task in zip(self._cases, stored, strict=True):
            task.following_fire_times = (task.following_fire_times or [])[: case.steps]
            if case.earlier == "same":
                task.last_fire_at = case.next_fire_at
        Task.objects.bulk_update(stored, ["following_fire_times", "last_fire_at"])
        earlier = map(self._earlier_run, self._cases, stored)
        Run.objects.bulk_create(run for run in earlier if run)
        return stored

    def _read(self, ids: list[UUID]) -> list[Task]:
        found = Task.objects.in_bulk(ids)
        return [found[task_id] for task_id in ids]

    def _earlier_run(self, case: Case, task: Task) -> Run | None:
        if case.earlier == "unfinished":
            at, state, ended = case.next_fire_at - HOUR, RunState.RETRYING, None
        elif case.earlier == "same":
            at, state, ended = case.next_fire_at, RunState.SUCCEEDED, self._now
        else:
            return None
        return Run(
            id=id_of_fire_time(self._key, task.pk, at, task.tenant_id),
            task=task,
            tenant_id=task.tenant_id,
            scheduled_for=at,
            state=state,
            finished_at=ended,
            exclusive=case.spec.overlap != Overlap.ALLOW,
            wake_at=None if ended else self._now + HOUR,
        )

    def _outcomes(self, stored: list[Task]) -> list[Any]:
        """What became of each task: its columns, and its runs with their ids' origin."""
        ids = [task.pk for task in stored]
        enabled = dict(
            PeriodicTask.objects.filter(http_task__in=ids).values_list("pk", "enabled")
        )
        runs_of = defaultdict(list)
        for run in Run.objects.filter(task__in=ids).order_by("scheduled_for", "state"):
            is_planned = run.pk == id_of_fire_time(
                self._key, run.task_id, run.scheduled_for, run.tenant_id
            )
            shown = [getattr(run, name) for name in RUN_FIELDS]
            runs_of[run.task_id].append((is_planned, *shown))
        return [
            (
                [getattr(task, name) for name in TASK_FIELDS],
                enabled[task.periodic_task_id],
                runs_of[task.pk],
            )
            for task in self._read(ids)
        ]


def _make_rules(user: User, now: datetime) -> CalendarRules:
    """Rules that leave out some minutes of each hour around now."""
    hours = [now + number * HOUR for number in range(-3, 4)]
    ranges = [
        {"from": each.isoformat(), "to": (each + 7 * MINUTE).isoformat()}
        for each in hours
        if each != now
    ]
    made = make_calendar(user, "some", ranges=ranges)
    version = calendars.present_version(made)
    return CalendarRules(exclude=(calendar_rules.days_of(version),))


def _count_in_hours(stored: list[Task]) -> None:
    """Let the intervals be of hours, as the admin makes them."""
    hours, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
    rows = PeriodicTask.objects.filter(
        pk__in=[each.periodic_task_id for each in stored]
    )
    rows.update(interval=hours)
    for task in stored:
        task.interval_every, task.interval_period = 1, "hours"
