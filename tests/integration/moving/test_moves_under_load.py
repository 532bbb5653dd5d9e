"""While workers deliver on both sides, each fire time of a moving tenant has one run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from tasks_api.delivery.retry import Succeed
from tasks_api.domain.schedules import Interval
from tasks_api.domain.specs import Misfire
from tasks_api.models import Run, Task
from tasks_api.moving import moves
from tests.conftest import MakeTask, tenant_of
from tests.integration.support.moves import ignore
from tests.integration.support.stored_tasks import take_due, take_waiting
from tests.integration.support.tenant_steps import record
from tests.integration.support.two_databases import OtherDatabase, other_database

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)
# Fire times before the move and after it, at one a second.
FIRE_TIMES = 3

FireTime = tuple[UUID, datetime]


class Worker:
    """Takes and records in a thread, and knows what it has delivered."""

    def __init__(self, place: Callable[[], AbstractContextManager[None]]) -> None:
        self.delivered: Counter[FireTime] = Counter()
        self._place, self._changed = place, threading.Condition()
        self._stopping, self._errors = threading.Event(), []  # type: ignore[var-annotated]  # of any kind
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._place():
                while not self._stopping.wait(0.02):
                    runs = take_due() + take_waiting()
                    if runs:
                        record(runs, Succeed())
                    with self._changed:
                        self.delivered.update(
                            (run.task_id, run.scheduled_for) for run in runs
                        )
                        self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 (the test reports it)
            self._errors.append(error)
        finally:
            connection.close()

    def wait_for(self, task_id: UUID, count: int) -> None:
        """Wait until a task was delivered for so many fire times."""

        def enough() -> bool:
            of_task = [key for key in self.delivered if key[0] == task_id]
            return bool(self._errors) or len(of_task) >= count

        with self._changed:
            assert self._changed.wait_for(enough, timeout=30)
        assert self._errors == []

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=30)
        assert self._errors == []


@pytest.fixture
def other(transactional_db: None) -> Iterator[OtherDatabase]:
    with other_database() as found:
        yield found


@pytest.fixture
def every_second(make_task: MakeTask, settings: LazySettings) -> Callable[[User], Task]:
    settings.SCHEDULER_MIN_FREQUENCY = 1

    def make(owner: User) -> Task:
        schedule = Interval(timezone.now() + SECOND, SECOND)
        task = make_task(owner, schedule=schedule)
        # Each fire time that passes during the move gets its run afterwards.
        Task.objects.filter(pk=task.pk).update(misfire=Misfire.ALL)
        return task

    return make


@contextmanager
def workers(other: OtherDatabase) -> Iterator[tuple[Worker, Worker]]:
    pair = Worker(nullcontext), Worker(other.here)
    try:
        yield pair
    finally:
        for worker in pair:
            worker.stop()


def test_each_fire_time_has_one_run_over_both_sides(
    other: OtherDatabase,
    user: User,
    stranger: User,
    every_second: Callable[[User], Task],
) -> None:
    moved = [every_second(user) for _ in range(3)]
    staying = every_second(stranger)
    with workers(other) as (here, there):
        here.wait_for(moved[0].pk, FIRE_TIMES)
        moves.move_tenant(tenant_of(user), other.url, ignore)
        there.wait_for(moved[0].pk, FIRE_TIMES)
        here.wait_for(staying.pk, 2 * FIRE_TIMES)

    delivered = here.delivered + there.delivered
    assert set(delivered.values()) == {1}
    for task in moved:
        times = sorted(at for task_id, at in delivered if task_id == task.pk)
        assert times == [times[0] + number * SECOND for number in range(len(times))]
        with other.here():
            stored = Run.objects.filter(task=task, state="succeeded")
            assert sorted(stored.values_list("scheduled_for", flat=True)) == times
    assert not [key for key in there.delivered if key[0] == staying.pk]
