"""The account of a task: what was planned is what was written down, whatever happened.

The clock is the database's, and nobody can turn it. So to let time pass, everything that
is stored about a task is moved into the past. Schedules here fire alike from any minute
on, so nothing else changes for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery.request import HttpResult as Answer
from tasks_api.delivery.retry import judge
from tasks_api.domain.exceptions import InvalidTask, SchedulerError, TaskNotFound
from tasks_api.domain.ids import id_for
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
)
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    Surface,
    TaskSpec,
)
from tasks_api.domain.states import RunState
from tasks_api.models import Run, ScheduleChange, Task
from tasks_api.scheduler import dispatch, rescue
from tasks_api.services import reconciliation as accounts
from tasks_api.services import redrive, tasks
from tasks_api.services.reconciliation import Account, Outcome, account
from tasks_api.storage import beat_tables, schedule_changes
from tasks_api.worker import leases
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.test_dispatch import SECOND, in_threads, states, store

pytestmark = pytest.mark.django_db(transaction=True)

TARGET = "http://127.0.0.1:9/"
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
names = count()


def let_pass(task: Task, span: timedelta) -> None:
    """Move all that is stored about a task into the past."""
    stored = beat_tables.stored_of(Task.objects.with_schedule().get(pk=task.pk))
    moved = [moved_plan(plan, span) for plan in plans_of(task)]
    # In two steps: a unique constraint looks at each row as it is moved.
    move(task, span + 1000 * DAY)
    move(task, -1000 * DAY)
    Task.objects.filter(pk=task.pk).update(planned_from=moved[0])
    rows = ScheduleChange.objects.filter(task=task).order_by("pk")
    for row, plan in zip(rows, moved[1:], strict=True):
        ScheduleChange.objects.filter(pk=row.pk).update(plan=plan)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        start_time=F("start_time") - span, expires=F("expires") - span
    )
    if stored.clocked_time:
        clocked = ClockedSchedule.objects.filter(periodictask=task.periodic_task_id)
        clocked.update(clocked_time=F("clocked_time") - span)


def move(task: Task, span: timedelta) -> None:
    with connection.cursor() as cursor:
        for table, column, columns in (
            ("tasks_api_task", "id", "next_fire_at last_fire_at created_at ended_at replaced_at"),
            ("tasks_api_run", "task_id", "scheduled_for started_at finished_at wake_at"),
            ("tasks_api_schedulechange", "task_id", "at open_from"),
        ):  # fmt: skip
            changed = ", ".join(f"{name} = {name} - %s" for name in columns.split())
            values = [span] * len(columns.split())
            cursor.execute(
                f"UPDATE {table} SET {changed} WHERE {column} = %s",  # noqa: S608 (constants)
                [*values, task.pk],
            )


def plans_of(task: Task) -> list[str]:
    now = Task.objects.values_list("planned_from", flat=True).get(pk=task.pk)
    before = ScheduleChange.objects.filter(task=task).order_by("pk")
    return [now, *before.values_list("plan", flat=True)]


def moved_plan(plan: str, span: timedelta) -> str:
    fields = plan.split("|")
    for name in ("start_time", "expires", "clocked_time"):
        place = beat_tables.Stored._fields.index(name)
        if fields[place]:
            fields[place] = str(int(fields[place]) - span // timedelta(microseconds=1))
    return "|".join(fields)


@dataclass(frozen=True)
class Window:
    """A time in which a task fires: surely inside, perhaps at its edges."""

    start: datetime
    every: timedelta
    maybe_from: datetime
    sure_from: datetime
    sure_until: datetime | None = None
    maybe_until: datetime | None = None

    def moved(self, span: timedelta) -> Window:
        return replace(
            self,
            start=self.start - span,
            maybe_from=self.maybe_from - span,
            sure_from=self.sure_from - span,
            sure_until=self.sure_until and self.sure_until - span,
            maybe_until=self.maybe_until and self.maybe_until - span,
        )

    def grid(self, first: datetime, last: datetime) -> Iterator[datetime]:
        at = self.start
        while at <= last:
            if at >= first:
                yield at
            at += self.every


class World:
    """A task, and a model of when it must have fired that shares nothing with its code."""

    def __init__(self, user: User, chance: random.Random) -> None:
        self.user, self.chance = user, chance
        self.windows: list[Window] = []
        self.manual = 0
        self.is_cron = chance.random() < 0.4
        self.name = f"job {next(names)}" if self.is_cron else ""
        schedule, start, every = self._schedule()
        spec = self._spec(schedule)
        before = clock.read()
        if self.is_cron:
            tasks.put_task(user, spec, now=timezone.now())
            self.task = Task.objects.get(name=self.name)
        else:
            self.task = tasks.create_task(user, spec, now=timezone.now())
        self._open(start, every, before if self.is_cron else start)

    def _spec(self, schedule: Schedule) -> TaskSpec:
        surface = Surface.CRON_JOBS if self.is_cron else Surface.TASKS
        return TaskSpec(
            surface,
            TARGET,
            schedule,
            "{}",
            name=self.name,
            misfire=self.chance.choice(list(Misfire)),
            overlap=self.chance.choice(list(Overlap)),
        )

    def _schedule(self) -> tuple[Schedule, datetime, timedelta]:
        """With its first moment of a grid, which a cron has from every minute on."""
        step = self.chance.choice([5, 10, 20, 30])
        every = timedelta(seconds=step)
        if self.is_cron:
            seconds = f"*/{step}"
            minute = (timezone.now() - 2 * DAY).replace(second=0, microsecond=0)
            return Cron("* * * * *", seconds=seconds), minute, every
        start = timezone.now() + self.chance.uniform(-90, 40) * SECOND
        return Interval(start, every, None), start, every

    def _open(self, start: datetime, every: timedelta, since: datetime) -> None:
        sure = start if since == start else max(start, clock.read())
        self.windows.append(Window(start, every, since, sure))

    def _close(self, before: datetime) -> None:
        last = self.windows[-1]
        if last.sure_until is None:
            self.windows[-1] = replace(
                last, sure_until=before, maybe_until=clock.read()
            )

    @property
    def is_open(self) -> bool:
        return bool(self.windows) and self.windows[-1].sure_until is None

    def pause(self) -> None:
        before = clock.read()
        tasks.pause_tasks(self.user, [str(self.task.pk)], now=timezone.now())
        self._close(before)

    def resume(self) -> None:
        before = clock.read()
        was_open = self.is_open
        tasks.resume_tasks(self.user, [str(self.task.pk)], now=timezone.now())
        if not was_open:
            last = self.windows[-1]
            self._open(last.start, last.every, before)

    def change(self) -> None:
        schedule, start, every = self._schedule()
        before = clock.read()
        was_open = self.is_open
        if self.is_cron:
            last = self.windows[-1]
            tasks.put_task(self.user, self._spec(schedule), now=timezone.now())
            if was_open and every == last.every:
                return
        else:
            rows = PeriodicTask.objects.filter(pk=self.task.periodic_task_id)
            interval = IntervalSchedule.objects.create(
                every=every.seconds, period="seconds"
            )
            rows.update(interval=interval, start_time=start)
            tasks.adopt_edits([self.task.pk])
        self._close(before)
        if was_open or self.is_cron:
            self._open(start, every, before)
        else:
            self.windows.append(Window(start, every, before, before, before, before))

    def remove(self) -> None:
        before = clock.read()
        tasks.remove_task(self.user, str(self.task.pk), now=timezone.now())
        self._close(before)

    def wait(self) -> None:
        span = timedelta(minutes=self.chance.choice([1, 1, 2, 10]))
        let_pass(self.task, span)
        self.windows = [window.moved(span) for window in self.windows]

    def dispatch(self) -> None:
        dispatch.dispatch_due(limit=self.chance.choice([2, 1000]))

    def settle(self) -> None:
        schedule_changes.settle(limit=self.chance.choice([1, 3, 1000]))

    def deliver(self) -> None:
        runs = Run.objects.filter(task=self.task, state=RunState.PENDING)
        claimed = leases.claim(list(runs.values_list("pk", flat=True)))
        # What is not recorded is lost with its worker.
        judged = [run for run in claimed if self.chance.random() < 0.8]
        answers = [Answer(self.chance.choice([200, 500]), "", 3) for _ in judged]
        if judged:
            record_results(
                [
                    AttemptResult(
                        run,
                        answer,
                        judge(answer, run, now=timezone.now()),
                        timezone.now(),
                    )
                    for run, answer in zip(judged, answers, strict=True)
                ]
            )

    def wake(self) -> None:
        rescue.wake_due(leases_until=clock.read())

    def fire(self) -> None:
        self.manual += tasks.fire_task(self.task.pk, now=timezone.now()) is not None

    def redrive(self) -> None:
        runs = Run.objects.filter(task=self.task, state=RunState.FAILED)
        if run := runs.first():
            try:
                redrive.again(self.user, run.pk)
            except SchedulerError:
                return
            self.manual += 1

    def step(self) -> str:
        verb = self.chance.choice(
            [
                *[self.pause, self.resume, self.change, self.wake],
                *[self.wait, self.dispatch, self.settle, self.deliver] * 2,
                *[self.fire, self.redrive],
            ]
        )
        verb()
        return verb.__name__

    def account(self) -> Account:
        return account(self.user, self.task.pk, since=timezone.now() - DAY, until=None)

    def finish(self) -> None:
        while dispatch.dispatch_due().run_ids or self._is_due():
            pass
        while schedule_changes.settle():
            pass

    def _is_due(self) -> bool:
        now = clock.read()
        return Task.objects.filter(pk=self.task.pk, next_fire_at__lte=now).exists()

    def check(self) -> None:
        """Compare what was written down with the windows."""
        now = clock.read()
        self.finish()
        runs = Run.objects.filter(task=self.task, by_hand=False, scheduled_for__lte=now)
        recorded = set(runs.values_list("scheduled_for", flat=True))
        sure, maybe = set(), set()
        for window in self.windows:
            until = min(window.sure_until or now, now)
            sure.update(window.grid(window.sure_from, until))
            until = min(window.maybe_until or now, now)
            maybe.update(window.grid(window.maybe_from, until))
        assert sure <= recorded <= maybe, (
            sorted(sure - recorded),
            sorted(recorded - maybe),
        )


@pytest.fixture
def far_ahead(settings: LazySettings) -> None:
    """Let beats look far ahead, so that changes meet runs that were made too early."""
    settings.SCHEDULER_LOOK_AHEAD = 8.0


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=10,
    deadline=None,
    # What happens depends on the moment too, so a smaller number is no simpler case.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_sum_is_zero_after_any_history(
    user: User, far_ahead: None, seed: int
) -> None:
    chance = random.Random(seed)
    world = World(user, chance)
    story = []

    for _ in range(chance.randint(4, 25)):
        story.append(world.step())
        found = world.account()
        assert (found.balance, found.differences) == (0, []), story
        assert found.manual == world.manual, story
    if chance.random() < 0.5:
        world.remove()
    world.wait()
    world.check()

    found = world.account()
    assert (found.balance, found.differences) == (0, []), story
    if world.is_open:
        world.remove()


class OneOff:
    """A one-time task, to which anything may happen."""

    def __init__(self, user: User, chance: random.Random) -> None:
        self.user, self.chance = user, chance
        at = timezone.now() + chance.uniform(-5, 90) * SECOND
        self.task = store(user, Once(at))

    def world(self) -> World:
        found = World.__new__(World)
        found.user, found.chance, found.task = self.user, self.chance, self.task
        found.windows, found.manual, found.is_cron = [], 0, False
        return found

    def change(self) -> None:
        at = timezone.now() + self.chance.uniform(1, 90) * SECOND
        rows = ClockedSchedule.objects.filter(periodictask=self.task.periodic_task_id)
        rows.update(clocked_time=at)
        tasks.adopt_edits([self.task.pk])


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_one_off_has_one_moment_whatever_happens(
    user: User, far_ahead: None, seed: int
) -> None:
    chance = random.Random(seed)
    one_off = OneOff(user, chance)
    world, story = one_off.world(), []
    ids = [str(world.task.pk)]

    def pause() -> None:
        tasks.pause_tasks(user, ids, now=timezone.now())

    def resume() -> None:
        tasks.resume_tasks(user, ids, now=timezone.now())

    for _ in range(chance.randint(3, 14)):
        steps = [pause, resume, one_off.change, world.wait, world.dispatch]
        verb = chance.choice([*steps, world.deliver, world.wake, world.settle])
        story.append(verb.__name__)
        try:
            verb()
        except TaskNotFound:
            break
        found = world.account()
        assert (found.balance, found.differences) == (0, []), story
        assert found.planned <= 1
    tasks.remove_tasks(Task.objects.filter(pk=world.task.pk), now=timezone.now())
    world.finish()
    found = world.account()
    assert (found.balance, found.differences) == (0, []), story


def past_task(user: User) -> Task:
    """Ten minutes old, with a fire time every minute of them; nobody was there."""
    start = timezone.now() - 10 * MINUTE + 30 * SECOND
    return store(user, Interval(start, MINUTE, None))


def of(task: Task) -> Account:
    return account(task.owner, task.pk, since=None, until=None)


def settled(task: Task) -> list[str]:
    while schedule_changes.settle():
        pass
    return states(task)


def pause(task: Task) -> None:
    tasks.pause_tasks(task.owner, [str(task.pk)], now=timezone.now())


def test_a_pause_after_a_downtime_leaves_a_run_for_every_fire_time(user: User) -> None:
    task = past_task(user)

    pause(task)
    before = of(task)

    assert settled(task) == ["missed"] * 9 + ["cancelled"]
    assert before.outcomes == {Outcome.UNDER_WAY: 10}
    assert of(task).outcomes == {Outcome.MISSED: 9, Outcome.CANCELLED: 1}
    newest = Run.objects.latest("scheduled_for")
    assert newest.reason == "The task was paused before anybody fired it."


def test_a_removal_after_a_downtime_leaves_a_run_for_every_fire_time(
    user: User,
) -> None:
    task = past_task(user)

    tasks.remove_task(user, str(task.pk), now=timezone.now())

    assert settled(task) == ["missed"] * 9 + ["cancelled"]
    assert of(task).balance == 0


def test_an_edit_that_nobody_announced_leaves_a_run_for_every_fire_time(
    user: User,
) -> None:
    task = past_task(user)
    every = IntervalSchedule.objects.create(every=7, period="hours")
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(interval=every)

    dispatch.dispatch_due()

    assert settled(task) == ["missed"] * 9 + ["cancelled"]
    assert [change.what for change in of(task).changes] == ["edited"]
    assert of(task).balance == 0


def test_a_change_by_its_owner_leaves_a_run_for_every_fire_time(user: User) -> None:
    task = past_task(user)
    start = timezone.now() - 10 * MINUTE
    spec = TaskSpec(Surface.TASKS, TARGET, Interval(start, 7 * SECOND, None), "{}")

    tasks.change_task(
        user,
        str(task.pk),
        lambda _: spec,
        surface=Surface.TASKS,
        now=timezone.now(),
    )
    let_pass(task, MINUTE)
    dispatch.dispatch_due()

    assert settled(task)[:10] == ["missed"] * 9 + ["cancelled"]
    assert (of(task).balance, of(task).differences) == (0, [])


def test_a_long_downtime_is_settled_in_bites(user: User) -> None:
    task = past_task(user)
    pause(task)

    turns = [schedule_changes.settle(limit=4) for _ in range(4)]

    assert turns == [True, True, False, False]
    assert states(task) == ["missed"] * 9 + ["cancelled"]
    assert not ScheduleChange.objects.exclude(open_from=None).exists()


def test_many_beats_settle_without_waiting_for_each_other(user: User) -> None:
    tasks = [past_task(user) for _ in range(8)]
    for task in tasks:
        pause(task)

    in_threads(4, schedule_changes.settle)
    while schedule_changes.settle():
        pass

    assert Run.objects.count() == 80


def test_a_one_off_that_was_due_is_cancelled_by_its_removal(user: User) -> None:
    task = store(user, Once(timezone.now() - MINUTE))

    tasks.remove_task(user, str(task.pk), now=timezone.now())

    assert settled(task) == ["cancelled"]
    assert of(task).outcomes == {Outcome.CANCELLED: 1}


def test_a_one_off_that_waits_in_a_pause_is_cancelled_by_its_removal(
    user: User,
) -> None:
    due, later = (
        store(user, Once(timezone.now() + moment)) for moment in (-MINUTE, MINUTE)
    )
    ids = [str(due.pk), str(later.pk)]
    tasks.pause_tasks(user, ids, now=timezone.now())
    assert of(due).planned == 0

    for task_id in ids:
        tasks.remove_task(user, task_id, now=timezone.now())

    assert settled(due) == ["cancelled"]
    assert of(due).outcomes == {Outcome.CANCELLED: 1}
    assert settled(later) == []
    assert of(later).planned == 0


def test_closing_takes_the_same_number_of_statements_for_any_number_of_tasks(
    user: User, django_assert_num_queries
) -> None:
    tasks = [past_task(user) for _ in range(30)]

    with transaction.atomic(), django_assert_num_queries(1):
        schedule_changes.close([task.pk for task in tasks], ScheduleChange.What.PAUSED)


def test_spread_fire_times_are_accounted_for_through_a_pause(user: User) -> None:
    start = timezone.now() - 10 * MINUTE
    every = Interval(start, MINUTE, None)
    spec = TaskSpec(Surface.TASKS, TARGET, every, "{}", spread=50)
    task = tasks.create_task(user, spec, now=start)
    offset = Task.objects.get(pk=task.pk).spread_offset * SECOND
    pause(task)
    settled(task)

    tasks.resume_tasks(user, [str(task.pk)], now=timezone.now())
    let_pass(task, 5 * MINUTE)
    dispatch.dispatch_due()

    found = account(user, task.pk, since=start - DAY, until=None)
    assert fire_times(task)[0] == start - 5 * MINUTE + offset
    assert (found.planned, found.balance, found.differences) == (
        Run.objects.filter(scheduled_for__lte=found.until).count(),
        0,
        [],
    )


def test_a_run_that_is_gone_is_named(user: User) -> None:
    task = past_task(user)
    dispatch.dispatch_due()
    lost = Run.objects.filter(task=task).order_by("scheduled_for")[4]
    Run.objects.filter(pk=lost.pk).delete()

    found = of(task)

    [difference] = found.differences
    assert difference.kind == "missing"
    assert difference.scheduled_for == lost.scheduled_for
    assert (found.planned, found.balance, found.missing) == (10, 1, 1)


def test_a_run_that_nobody_planned_is_named(user: User) -> None:
    task = past_task(user)
    dispatch.dispatch_due()
    at = timezone.now() - 5 * MINUTE
    state, ended = RunState.SUCCEEDED, timezone.now()
    extra = Run.objects.create(
        id=id_for(at, task.tenant_id), task=task, tenant=task.tenant, scheduled_for=at, state=state, finished_at=ended
    )  # fmt: skip

    found = of(task)

    [difference] = found.differences
    assert (difference.kind, difference.run_id) == ("unplanned", extra.pk)
    assert (found.planned, found.balance, found.unplanned) == (10, 0, 1)


def test_runs_by_hand_stand_beside_the_plan(user: User) -> None:
    task = past_task(user)
    dispatch.dispatch_due()

    tasks.fire_task(task.pk, now=timezone.now())

    assert (of(task).planned, of(task).manual, of(task).balance) == (10, 1, 0)


def test_parts_of_a_time_add_up_to_the_whole(user: User) -> None:
    task = past_task(user)
    dispatch.dispatch_due()
    cuts = [task.created_at - timedelta(hours=1), *fire_times(task)[3:7:3], None]

    parts = [
        account(user, task.pk, since=since, until=until).planned
        for since, until in pairwise(cuts)
    ]

    assert parts == [3, 3, 4]


def fire_times(task: Task) -> list[datetime]:
    runs = Run.objects.filter(task=task).order_by("scheduled_for")
    return list(runs.values_list("scheduled_for", flat=True))


def test_too_much_at_once_is_refused(user: User, monkeypatch) -> None:
    monkeypatch.setattr(accounts, "MOST", 9)
    task = past_task(user)
    dispatch.dispatch_due()

    with pytest.raises(InvalidTask, match="more than 9 fire times"):
        of(task)


@pytest.mark.parametrize("name", ["from", "to"])
def test_nothing_is_said_about_what_was_pruned(user: User, name: str) -> None:
    task = past_task(user)
    moment = {"since" if name == "from" else "until": datetime(1, 1, 1, tzinfo=UTC)}

    with pytest.raises(InvalidTask, match=f"{name} is before"):
        account(user, task.pk, **{"since": None, "until": None, **moment})


def test_the_account_of_a_foreign_task_is_not_found(user: User, stranger: User) -> None:
    task = past_task(user)

    with pytest.raises(TaskNotFound):
        account(stranger, task.pk, since=None, until=None)
