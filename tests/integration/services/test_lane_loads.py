"""What recurs in a lane is read in groups, and is what its tasks bring one by one."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.calendars import (
    MIN_MOVING_INTERVAL,
    CalendarChoice,
    OnExcluded,
)
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.lines import DAY, Horizon, Load, moments_of
from tasks_api.domain.rules import AnyOf, make_recurrence
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Schedule,
    fire_times_between,
    least_interval,
    with_offset,
)
from tasks_api.domain.specs import Admit, Surface, TaskSpec
from tasks_api.models import Lane, Task
from tasks_api.services import lane_loads, pausing, tasks
from tasks_api.services.coming import schedule_of
from tests.integration.support.calendars import make_calendar

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
FIRST = datetime(2020, 1, 1)  # noqa: DTZ001 (a local time)
RULE = "FREQ=DAILY;INTERVAL=2;BYHOUR=4,17;BYMINUTE=30;BYSECOND=0"
CRONS = ["30 2 * * *", "*/20 * * * *", "0 */3 * * 1-5", "15 1,2 28-31 * *"]


def random_spec(chance: random.Random, now: datetime) -> TaskSpec:
    start = (now + chance.uniform(-500, 40) * HOUR).replace(microsecond=0)
    end = start + chance.uniform(500, 700) * HOUR if chance.random() < 0.3 else None
    every = chance.choice([900, 1100, 3600, 7000, 86_400, 604_800])
    cron = Cron(
        chance.choice(CRONS),
        chance.choice(["UTC", "Europe/Berlin", "Africa/Cairo"]),
        start=start if chance.random() < 0.5 else None,
        end=end,
    )
    interval = Interval(start, every * SECOND, end)
    rule = make_recurrence(RULE, FIRST, "Europe/Berlin")
    part = replace(cron, start=None, end=None)
    schedules: list[Schedule] = [
        cron,
        interval,
        replace(rule, start=start),
        AnyOf((part, rule), start, end),
    ]
    schedule = chance.choice(schedules)
    surface = chance.choice([Surface.TASKS, Surface.CRON_JOBS])
    choice = random_choice(chance, schedule) if surface == Surface.TASKS else None
    return TaskSpec(
        surface,
        "http://crm.example/",
        schedule,
        "{}",
        lane_name="crm",
        spread=chance.choice([0, 0, 30, 600]),
        admit=Admit.ANYWAY,
        calendars=choice,
    )


def random_choice(chance: random.Random, schedule: Schedule) -> CalendarChoice | None:
    moves = least_interval(schedule) >= MIN_MOVING_INTERVAL
    return chance.choice(
        [
            None,
            CalendarChoice(exclude=("days",)),
            CalendarChoice(only=("days", "spans")),
            CalendarChoice(
                exclude=("spans",),
                on_excluded=chance.choice(
                    list(OnExcluded) if moves else [OnExcluded.SKIP]
                ),
            ),
            CalendarChoice(hold=("days",), pace="1/second"),
        ]
    )


def make_calendars(user: User, now: datetime) -> None:
    """Store calendars that have parts of the coming days."""
    days = [(now + number * DAY).date().isoformat() for number in (1, 4, 5)]
    spans = [
        {
            "from": (now + (day * 24 + 5) * HOUR).isoformat(timespec="seconds"),
            "to": (now + (day * 24 + 16) * HOUR).isoformat(timespec="seconds"),
        }
        for day in range(8)
    ]
    make_calendar(user, "days", "Europe/Berlin", dates=days)
    make_calendar(user, "spans", ranges=spans)


def moments_by_window(
    loads: list[Load], since: datetime, until: datetime
) -> Counter[tuple[int, datetime]]:
    found: Counter[tuple[int, datetime]] = Counter()
    for load in loads:
        for at in moments_of(load.with_window(0), Horizon(since, until, since)):
            moment = since + timedelta(microseconds=at)
            found[load.window, moment.replace(microsecond=0)] += load.size
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_lane_brings_what_its_tasks_bring_one_by_one(user: User, seed: int) -> None:
    chance, now = random.Random(seed), timezone.now()
    assert user.tenant
    lane = Lane.objects.create(tenant=user.tenant, name="crm", rate_limit=1)
    make_calendars(user, now)
    for _ in range(80):
        # Calendars may leave nothing of a schedule that ends soon.
        with suppress(InvalidTask):
            tasks.create_task(user, random_spec(chance, now), now=now)
    paused = Task.objects.filter(surface=Surface.TASKS)[:10]
    pausing.pause_tasks(user, [str(task.pk) for task in paused], now=now)
    # Windows that began before the present are read roughly.
    since, until = now.replace(microsecond=0) + 2 * HOUR, now + 3 * DAY

    loads = lane_loads.read_lane(lane.pk, since=now, now=now)

    expected: Counter[tuple[int, datetime]] = Counter()
    for task in Task.objects.with_schedule():
        schedule = schedule_of(task)
        assert schedule is not None
        if task.spread:
            schedule = with_offset(schedule, 0)
        for at in fire_times_between(schedule, since, until - timedelta.resolution):
            expected[task.spread, at.replace(microsecond=0)] += 1
    assert moments_by_window(loads, since, until) == expected
