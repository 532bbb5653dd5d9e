"""Whatever is edited, repeated, paused, backfilled or redriven, no two runs have one id."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.backfills import Which
from tasks_api.domain.catch_up import CatchUp
from tasks_api.domain.exceptions import SchedulerError
from tasks_api.domain.schedules import Cron, Interval, Once, Schedule
from tasks_api.domain.specs import Misfire, Overlap, Surface, TaskSpec
from tasks_api.models import Run, Task
from tasks_api.services import (
    admin_edits,
    backfill,
    catch_ups,
    manual_runs,
    pausing,
    redrive,
    tasks,
)
from tasks_api.services.backfill import WantedSlots
from tasks_api.storage import schedule_changes
from tasks_api.storage.run_statements import insert_into_history
from tests.integration.support.stored_tasks import (
    HOUR,
    SECOND,
    TARGET,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = 60
# Ends the requests that are under way: some succeed, and some fail.
_FINISH = """
    WITH ended AS (
        DELETE FROM tasks_api_run_live run WHERE state = 'running' RETURNING run.*
    ) {insert}
""".replace(
    "{insert}",
    insert_into_history(
        "ended", state="CASE WHEN random() < 0.5 THEN 'failed' ELSE 'succeeded' END"
    ),
)
_REPEATED = """
    SELECT id::text FROM tasks_api_run GROUP BY id HAVING count(*) > 1
    UNION ALL
    SELECT task_id || ' at ' || scheduled_for FROM tasks_api_run WHERE NOT by_hand
    GROUP BY task_id, scheduled_for HAVING count(*) > 1
"""


class Life:
    """A user's tasks, and what may happen to them, in any order."""

    def __init__(self, user: User, seed: int) -> None:
        self._user = user
        self._chance = random.Random(seed)
        self._began = timezone.now() - 5 * timedelta(minutes=1)
        for overlap in Overlap:
            for schedule in self._schedules():
                spec = self._spec(schedule, overlap)
                tasks.create_task(user, spec, now=timezone.now() - HOUR)

    def _schedules(self) -> list[Schedule]:
        return [
            Once(self._began),
            Interval(self._began, 60 * SECOND),
            Cron("* * * * *", "Europe/Berlin", self._began),
        ]

    def _spec(self, schedule: Schedule, overlap: Overlap) -> TaskSpec:
        return TaskSpec(
            Surface.TASKS,
            TARGET,
            schedule,
            "{}",
            overlap=overlap,
            misfire=self._chance.choice(list(Misfire)),
        )

    def _some_task(self) -> Task:
        return self._chance.choice(list(Task.objects.with_schedule().order_by("pk")))

    def take(self) -> None:
        take_due()
        take_waiting()

    def finish(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_FINISH)

    def repeat(self) -> None:
        """Make a task due again at a fire time that has its run."""
        task = self._some_task()
        fired = Run.objects.filter(task=task, by_hand=False)
        moments = list(fired.values_list("scheduled_for", flat=True).order_by("pk"))
        if moments and task.ended_at is None and task.last_fire_at is not None:
            at = min(self._chance.choice(moments), task.last_fire_at)
            Task.objects.filter(pk=task.pk).update(next_fire_at=at)

    def edit(self) -> None:
        task = self._some_task()
        schedule = self._chance.choice(
            [
                Once(timezone.now() + HOUR),
                Interval(self._began, 30 * SECOND),
                *self._schedules()[1:],
            ]
        )
        overlap = self._chance.choice(list(Overlap))
        spec = self._spec(schedule, overlap)
        tasks.change_task(self._user, task, spec, now=timezone.now())

    def edit_in_the_admin(self) -> None:
        """Move a one-time task to where it was before, or elsewhere."""
        task = self._some_task()
        if (clocked := task.periodic_task.clocked) is not None:
            clocked.clocked_time = self._chance.choice(
                [self._began, self._began + SECOND, timezone.now() + HOUR]
            )
            clocked.save()
        admin_edits.sync_admin_edits([task.pk])

    def pause(self) -> None:
        ids = [str(self._some_task().pk)]
        pausing.pause_tasks(self._user, ids, now=timezone.now())

    def resume(self) -> None:
        ids = [str(self._some_task().pk)]
        catch_up = self._chance.choice(list(CatchUp))
        pausing.resume_tasks(self._user, ids, now=timezone.now(), catch_up=catch_up)

    def settle(self) -> None:
        while schedule_changes.settle_open_changes() or catch_ups.settle_catch_ups():
            pass

    def backfill(self) -> None:
        wanted = WantedSlots(since=self._began, which=self._chance.choice(WHICH))
        backfill.backfill_task(self._user, self._some_task().pk, wanted)

    def run_now(self) -> None:
        task_id, now = str(self._some_task().pk), timezone.now()
        manual_runs.run_now(self._user, task_id, surface=Surface.TASKS, now=now)

    def redrive(self) -> None:
        failed = Run.objects.filter(state__in=["failed", "missed", "skipped"])
        if run := failed.order_by("?").first():
            redrive.redrive_run(self._user, run.pk)

    def live(self) -> None:
        happens: list[Callable[[], None]] = [
            *[self.take, self.finish, self.repeat, self.edit_in_the_admin] * 2,
            *(self.edit, self.pause, self.resume, self.settle),
            *(self.backfill, self.run_now, self.redrive),
        ]
        for _ in range(OPERATIONS):
            with suppress(SchedulerError):
                self._chance.choice(happens)()
            assert find_repeated() == []


WHICH = list(Which)


def find_repeated() -> list[str]:
    """The ids of several runs, and fire times that have several."""
    with connection.cursor() as cursor:
        cursor.execute(_REPEATED)
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize("seed", range(6))
def test_no_id_and_no_fire_time_has_two_runs(user: User, seed: int) -> None:
    life = Life(user, seed)

    life.live()

    assert Run.objects.count() > 20
