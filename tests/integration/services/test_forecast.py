"""The forecast counts the fire times that each task shows on its own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.cron import Dst
from tasks_api.domain.exceptions import InvalidTask
from tasks_api.domain.fire_counts import Buckets
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedule_parts import with_dst
from tasks_api.domain.schedules import Cron, Interval, Once, Part, Schedule
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.models import Task
from tasks_api.services import admin_edits, forecast, pausing, removal, tasks
from tasks_api.services.coming import fire_times_of_task, schedule_of
from tasks_api.services.forecast import Division, make_forecast

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
# More than any of the tasks has in the buckets.
MAX_FIRE_TIMES = 400


def eve_of_change(month: int) -> datetime:
    """A moment of next year; the clocks of Europe change in the night after it."""
    last_day = datetime(timezone.now().year + 1, month, 31, 12, 17, 3, 250_000, UTC)
    return last_day - timedelta(days=last_day.isoweekday() % 7 + 1)


class RandomTasks:
    """Stores tasks of every kind that fire around a moment."""

    def __init__(
        self, owners: list[User], now: datetime, chance: random.Random
    ) -> None:
        self.owners, self.now, self.chance = owners, now, chance

    def store(self, size: int) -> list[Task]:
        kinds: list[Callable[[], Schedule]]
        kinds = [self.once, self.interval, self.cron, self.rule, self.several]
        return [self.store_one(self.chance.choice(kinds)()) for _ in range(size)]

    def store_one(self, schedule: Schedule) -> Task:
        owner = self.chance.choice(self.owners)
        spec = TaskSpec(
            self.chance.choice([Surface.TASKS, Surface.TASKS, Surface.REST_JOBS]),
            self.chance.choice(["http://a.example/x", "https://u:p@b.example:81?q=@c"]),
            schedule,
            "{}",
            tags=self.chance.choice([(), ("red",), ("red", "blue")]),
            spread=self.chance.choice([0, 0, 30, 4000]),
        )
        return tasks.create_task(owner, spec, now=timezone.now())

    def moment(self, first: float, last: float) -> datetime:
        return self.now + self.chance.uniform(first, last) * HOUR

    def end(self) -> datetime | None:
        return self.chance.choice([None, None, self.moment(1, 60)])

    def once(self) -> Once:
        return Once(self.moment(-2, 60))

    def interval(self) -> Interval:
        seconds = self.chance.choice([900, 1100, 3600, 7000, 86_400, 604_800])
        start = self.chance.choice([self.moment(-500, -1), self.moment(0, 40)])
        return Interval(start, timedelta(seconds=seconds), self.end())

    def cron(self) -> Cron:
        return Cron(
            self.chance.choice(
                ["30 2 * * *", "*/20 * * * *", "0 */3 * * 1-5", "15 1,2 28-31 * *"]
            ),
            self.chance.choice(["UTC", "Europe/Berlin", "Africa/Cairo"]),
            start=self.chance.choice([None, None, self.moment(-30, 30)]),
            end=self.end(),
            seconds=self.chance.choice(["0", "11,12"]),
            dst=self.chance.choice(
                [Dst(), Dst(skips_gap=True), Dst(runs_twice=True), Dst(True, True)]
            ),
        )

    def rule(self) -> Recurrence:
        return Recurrence(
            self.chance.choice(
                [
                    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
                    "FREQ=MINUTELY;INTERVAL=20",
                    "FREQ=WEEKLY;BYDAY=SA,SU;BYHOUR=1,2,3",
                ]
            ),
            self.moment(-500, 5).replace(tzinfo=None, microsecond=0),
            self.chance.choice(["UTC", "Europe/Berlin", "Africa/Cairo"]),
            start=self.chance.choice([None, None, self.moment(-30, 30)]),
            end=self.end(),
        )

    def several(self) -> Schedule:
        kinds: list[Callable[[], Part]]
        kinds = [self.interval, self.cron, self.rule, self.once]
        parts = [self.chance.choice(kinds)() for _ in range(self.chance.randint(2, 4))]
        return with_dst(AnyOf(tuple(parts), end=self.end()), Dst(runs_twice=True))


FireTimes = dict[Task, list[datetime]]


def fire_times_one_by_one(now: datetime) -> FireTimes:
    """What /tasks/{id}/next/ shows, but for one-time tasks that are late."""
    found = {}
    for task in Task.objects.alive(now).with_schedule():
        schedule = schedule_of(task)
        assert schedule is not None
        coming = fire_times_of_task(task, schedule, now, MAX_FIRE_TIMES)
        found[task] = [each.at for each in coming if each.at and each.at > now]
    return found


def count_alone(user: User, buckets: Buckets, shown: FireTimes) -> Counter[int]:
    """The sum of the fire times in each bucket, with paused ones at -1 - index."""
    found: Counter[int] = Counter()
    own = set(Task.objects.visible_to(user))
    for task in own & shown.keys():
        for at in shown[task]:
            if buckets.start <= at < buckets.end:
                index = buckets.index_of(at)
                found[index if task.periodic_task.enabled else -1 - index] += 1
    return found


def count_together(user: User, buckets: Buckets, now: datetime) -> Counter[int]:
    found = make_forecast(user, buckets, by=Division.NOTHING, now=now).all
    paused = Counter({-1 - index: size for index, size in found.paused.items()})
    return +(found.coming + paused)


@pytest.mark.parametrize("month", [3, 10], ids=["gap", "overlap"])
def test_the_sum_is_that_of_the_tasks_one_by_one(
    user: User, colleague: User, month: int
) -> None:
    now, chance = eve_of_change(month), random.Random(month)
    stored = RandomTasks([user, colleague], now, chance).store(300)
    paused = [str(task.pk) for task in stored if task.owner == user][::5]
    pausing.pause_tasks(user, paused, now=timezone.now())
    for task in [task for task in stored if task.owner == colleague][::9]:
        removal.remove_task(colleague, str(task.pk), now=timezone.now())
    PeriodicTask.objects.filter(
        http_task__in=[task.pk for task in stored[3::40]]
    ).filter(clocked=None).update(one_off=True)
    admin_edits.sync_admin_edits([task.pk for task in stored[3::40]])
    boss = accounts.change_user(colleague, role=Role.ADMIN)
    boss.reaches_tenant = True
    start = now.replace(minute=0, second=0, microsecond=0)
    shown = fire_times_one_by_one(now)

    for buckets in (
        Buckets(start, HOUR, 48),
        Buckets(start + 5 * HOUR, timedelta(minutes=17), 80),
    ):
        for each in (user, boss):
            expected = count_alone(each, buckets, shown)
            assert expected.total() > 1000
            assert count_together(each, buckets, now) == expected


def test_the_series_add_up(user: User) -> None:
    now = timezone.now()
    RandomTasks([user], now, random.Random(1)).store(60)
    buckets = Buckets(now.replace(microsecond=0), HOUR, 30)
    found = {by: make_forecast(user, buckets, by=by, now=now) for by in Division}

    everything = found[Division.NOTHING].all.coming
    hosts = dict(found[Division.HOST].labelled)
    tasks_alone = [series.coming for _, series in found[Division.TASK].labelled]

    assert {*hosts} == {"a.example", "b.example:81"}
    assert sum((series.coming for series in hosts.values()), Counter()) == everything
    assert sum(tasks_alone, Counter()) == everything
    assert {tag for tag, _ in found[Division.TAG].labelled} == {"red", "blue"}
    assert found[Division.TAG].all.coming == everything


def test_too_many_steps_are_refused(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    RandomTasks([user], now, random.Random(1)).store(30)
    buckets = Buckets(now.replace(microsecond=0), HOUR, 30)
    for limit, by, field in (
        ("MAX_STEPS", Division.NOTHING, "to"),
        ("MAX_GROUPS", Division.NOTHING, "to"),
        ("MAX_GROUPS", Division.TASK, "by"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(forecast, limit, 3)
            with pytest.raises(InvalidTask) as caught:
                make_forecast(user, buckets, by=by, now=now)
        assert caught.value.field == field
