"""A model of when a task must have fired, that shares nothing with the code of tasks.

The clock is the database's, and nobody can turn it. So to let time pass, everything that
is stored about a task is moved into the past. Schedules here fire alike from any minute
on, so nothing else changes for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from django.db import connection
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask

from accounts.models import User
from scheduler_service.db import clock
from tasks_api.delivery.request import ClaimedRun, HttpResult
from tasks_api.delivery.retry import judge
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import SchedulerError
from tasks_api.domain.rules import AnyOf, Recurrence
from tasks_api.domain.schedules import Cron, Interval, Part, Schedule
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    Surface,
    TaskSpec,
)
from tasks_api.domain.states import RunState
from tasks_api.models import Run, Task
from tasks_api.scheduler import rescue
from tasks_api.services import (
    admin_edits,
    catch_ups,
    manual_runs,
    named_tasks,
    pausing,
    redrive,
    removal,
    tasks,
)
from tasks_api.services.account import Account
from tasks_api.services.reconciliation import reconcile
from tasks_api.storage import schedule_changes, stored_schedules
from tasks_api.taking.room import Room
from tasks_api.worker.record import AttemptResult, record_results
from tests.integration.support.stored_tasks import (
    SECOND,
    give_back,
    take_due,
    take_waiting,
)

TARGET = "http://127.0.0.1:9/"


DAY = timedelta(days=1)


MINUTE = timedelta(minutes=1)


job_numbers = count()


def let_pass(task: Task, span: timedelta) -> None:
    """Move all that is stored about a task into the past."""
    stored = stored_schedules.load_schedule(
        Task.objects.with_schedule().get(pk=task.pk)
    )
    # In two steps: a unique constraint looks at each row as it is moved.
    move_rows(task, span + 1000 * DAY)
    move_rows(task, -1000 * DAY)
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        start_time=F("start_time") - span, expires=F("expires") - span
    )
    if stored.once_at:
        clocked = ClockedSchedule.objects.filter(periodictask=task.periodic_task_id)
        clocked.update(clocked_time=F("clocked_time") - span)


def settle_all() -> None:
    """Make the runs of all fire times that changes cut off, or that tasks make up for."""
    while schedule_changes.settle_open_changes() or catch_ups.settle_catch_ups():
        pass


SCHEDULE_TIMES = "starts_at ends_at once_at"


def move_rows(task: Task, span: timedelta) -> None:
    with connection.cursor() as cursor:
        for table, column, columns in (
            ("tasks_api_task", "id", f"next_fire_at last_fire_at created_at ended_at replaced_at {SCHEDULE_TIMES}"),
            ("tasks_api_run", "task_id", "scheduled_for started_at finished_at wake_at"),
            ("tasks_api_schedulechange", "task_id", f"at open_from {SCHEDULE_TIMES}"),
        ):  # fmt: skip
            changed = ", ".join(
                f"{name} = {name} - make_interval(secs => %s)"
                for name in columns.split()
            )
            values = [span.total_seconds()] * len(columns.split())
            cursor.execute(
                f"UPDATE {table} SET {changed} WHERE {column} = %s",  # noqa: S608 (constants)
                [*values, task.pk],
            )


@dataclass(frozen=True)
class FiringWindow:
    """A time in which a task fires: surely inside, perhaps at its edges."""

    start: datetime
    every: timedelta
    maybe_from: datetime
    sure_from: datetime
    sure_until: datetime | None = None
    maybe_until: datetime | None = None

    def moved(self, span: timedelta) -> FiringWindow:
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


class TaskModel:
    """A task, and a model of when it must have fired that shares nothing with its code."""

    def __init__(self, user: User, chance: random.Random) -> None:
        self.user, self.chance = user, chance
        self.windows: list[FiringWindow] = []
        self.manual = 0
        # Changes have ids of about this number, once they were drawn elsewhere.
        self.id_range = 2.0**62
        self.is_cron = chance.random() < 0.4
        self.name = f"job {next(job_numbers)}" if self.is_cron else ""
        schedule, start, every = self._schedule()
        spec = self._spec(schedule)
        before = clock.read()
        if self.is_cron:
            named_tasks.upsert_task(user, spec, now=timezone.now())
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
            cron = Cron("* * * * *", seconds=seconds)
            rule = Recurrence(f"FREQ=SECONDLY;INTERVAL={step}", datetime(2020, 1, 1))  # noqa: DTZ001 (a local time)
            # The same fire times, said in three ways.
            several: AnyOf[Part] = AnyOf((Cron("*/2 * * * *"), cron))
            alike: list[Schedule] = [cron, rule, several]
            return self.chance.choice(alike), minute, every
        start = timezone.now() + self.chance.uniform(-90, 40) * SECOND
        return Interval(start, every, None), start, every

    def _open(self, start: datetime, every: timedelta, since: datetime) -> None:
        sure = start if since == start else max(start, clock.read())
        self.windows.append(FiringWindow(start, every, since, sure))

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
        pausing.pause_tasks(self.user, [str(self.task.pk)], now=timezone.now())
        self._close(before)

    def resume(self) -> None:
        before = clock.read()
        was_open = self.is_open
        pausing.resume_tasks(self.user, [str(self.task.pk)], now=timezone.now())
        if not was_open:
            last = self.windows[-1]
            self._open(last.start, last.every, before)

    def catch_up(self) -> None:
        """Resume the task, and make up for all of its pause."""
        was_open = self.is_open
        pausing.resume_tasks(
            self.user,
            [str(self.task.pk)],
            now=timezone.now(),
            catch_up=self.chance.choice([CatchUp.LATEST, CatchUp.ALL]),
        )
        if not was_open:
            last = self.windows[-1]
            assert last.sure_until is not None
            assert last.maybe_until is not None
            self.windows.append(
                FiringWindow(last.start, last.every, last.sure_until, last.maybe_until)
            )

    def change(self) -> None:
        schedule, start, every = self._schedule()
        before = clock.read()
        was_open = self.is_open
        if self.is_cron:
            last = self.windows[-1]
            named_tasks.upsert_task(self.user, self._spec(schedule), now=timezone.now())
            if was_open and every == last.every:
                return
        else:
            rows = PeriodicTask.objects.filter(pk=self.task.periodic_task_id)
            interval = IntervalSchedule.objects.create(
                every=every.seconds, period="seconds"
            )
            rows.update(interval=interval, start_time=start)
            admin_edits.sync_admin_edits([self.task.pk])
        self._close(before)
        if was_open or self.is_cron:
            self._open(start, every, before)
        else:
            after = clock.read()
            self.windows.append(
                FiringWindow(start, every, before, before, before, after)
            )

    def remove(self) -> None:
        before = clock.read()
        removal.remove_task(self.user, str(self.task.pk), now=timezone.now())
        self._close(before)

    def wait(self) -> None:
        span = timedelta(minutes=self.chance.choice([1, 1, 2, 10]))
        let_pass(self.task, span)
        self.windows = [window.moved(span) for window in self.windows]

    def take(self) -> None:
        """Take what is due, and send it or not."""
        taken = take_due(Room(places=self.chance.choice([1, 500])))
        if self.chance.random() < 0.3:
            give_back(taken)
        elif self.chance.random() < 0.6:
            self._record(taken)

    def deliver(self) -> None:
        self._record(take_waiting())

    def settle(self) -> None:
        limit = self.chance.choice([1, 3, 1000])
        schedule_changes.settle_open_changes(limit=limit)
        catch_ups.settle_catch_ups(limit=limit)

    def _record(self, taken: list[ClaimedRun]) -> None:
        # What is not recorded is lost with its worker.
        judged = [run for run in taken if self.chance.random() < 0.8]
        answers = [HttpResult(self.chance.choice([200, 500]), "", 3) for _ in judged]
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

    def rescue(self) -> None:
        rescue.rescue_runs(leases_until=clock.read())

    def fire(self) -> None:
        self.manual += (
            manual_runs.fire_task(self.task.pk, now=timezone.now()) is not None
        )

    def redrive(self) -> None:
        runs = Run.objects.filter(task=self.task, state=RunState.FAILED)
        if run := runs.first():
            try:
                redrive.redrive_run(self.user, run.pk)
            except SchedulerError:
                return
            self.manual += 1

    def step(self) -> str:
        verb = self.chance.choice(
            [
                *[self.pause, self.resume, self.change, self.rescue],
                *[self.pause, self.catch_up],
                *[self.wait, self.take, self.settle, self.deliver] * 2,
                *[self.fire, self.redrive, self.draw_ids_elsewhere],
            ]
        )
        verb()
        return verb.__name__

    def draw_ids_elsewhere(self) -> None:
        """Give changes lower ids from now on, as after a move to a cell of a lower number."""
        self.id_range /= 2
        first = self.chance.uniform(self.id_range, 1.5 * self.id_range)
        statement = "SELECT setval('tasks_api_schedulechange_id_seq', %s)"
        with connection.cursor() as cursor:
            cursor.execute(statement, [int(first)])

    def account(self) -> Account:
        return reconcile(
            self.user, self.task.pk, since=timezone.now() - DAY, until=None
        )

    def finish(self) -> None:
        while take_due() or self._is_due():
            pass
        settle_all()

    def _is_due(self) -> bool:
        now = clock.read()
        return Task.objects.filter(pk=self.task.pk, next_fire_at__lte=now).exists()

    def check(self) -> None:
        """Compare what was written down with the windows."""
        now = clock.read()
        self.finish()
        runs = Run.objects.filter(task=self.task, by_hand=False, scheduled_for__lte=now)
        recorded = set(runs.values_list("scheduled_for", flat=True))
        sure: set[datetime] = set()
        maybe: set[datetime] = set()
        for window in self.windows:
            until = min(window.sure_until or now, now)
            sure.update(window.grid(window.sure_from, until))
            until = min(window.maybe_until or now, now)
            maybe.update(window.grid(window.maybe_from, until))
        assert sure <= recorded <= maybe, (
            sorted(sure - recorded),
            sorted(recorded - maybe),
        )
