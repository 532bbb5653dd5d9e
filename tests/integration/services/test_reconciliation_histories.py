"""After any history of a task the account balances: what was planned was written down."""

from __future__ import annotations

import random

import pytest
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as configured
from hypothesis import strategies as st

from accounts.models import User
from tasks_api.domain.exceptions import TaskNotFound
from tasks_api.domain.schedules import Once
from tasks_api.models import Task
from tasks_api.services import admin_edits, pausing, removal
from tests.integration.support.reconciliation_model import TaskModel
from tests.integration.support.stored_tasks import SECOND, store_task

pytestmark = pytest.mark.django_db(transaction=True)


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=10,
    deadline=None,
    # What happens depends on the moment too, so a smaller number is no simpler case.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_sum_is_zero_after_any_history(user: User, seed: int) -> None:
    chance = random.Random(seed)
    world = TaskModel(user, chance)
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


@pytest.mark.parametrize("seed", range(4))
def test_the_sum_is_zero_after_moves_to_cells_of_lower_numbers(
    user: User, seed: int
) -> None:
    world = TaskModel(user, random.Random(seed))

    for _ in range(3):
        for verb in (world.pause, world.wait, world.resume, world.wait):
            world.draw_ids_elsewhere()
            verb()
    world.finish()

    found = world.account()
    assert (found.balance, found.differences) == (0, [])
    world.check()


class OneOffModel:
    """A one-time task, to which anything may happen."""

    def __init__(self, user: User, chance: random.Random) -> None:
        self.user, self.chance = user, chance
        at = timezone.now() + chance.uniform(-5, 90) * SECOND
        self.task = store_task(user, Once(at))

    def world(self) -> TaskModel:
        found = TaskModel.__new__(TaskModel)
        found.user, found.chance, found.task = self.user, self.chance, self.task
        found.windows, found.manual, found.is_cron = [], 0, False
        return found

    def change(self) -> None:
        at = timezone.now() + self.chance.uniform(1, 90) * SECOND
        rows = ClockedSchedule.objects.filter(periodictask=self.task.periodic_task_id)
        rows.update(clocked_time=at)
        admin_edits.sync_admin_edits([self.task.pk])


@given(st.integers(min_value=0, max_value=2**32))
@configured(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_one_off_has_one_moment_whatever_happens(user: User, seed: int) -> None:
    chance = random.Random(seed)
    one_off = OneOffModel(user, chance)
    world, story = one_off.world(), []
    ids = [str(world.task.pk)]

    def pause() -> None:
        pausing.pause_tasks(user, ids, now=timezone.now())

    def resume() -> None:
        pausing.resume_tasks(user, ids, now=timezone.now())

    for _ in range(chance.randint(3, 14)):
        steps = [pause, resume, one_off.change, world.wait, world.take]
        verb = chance.choice([*steps, world.deliver, world.rescue, world.settle])
        story.append(verb.__name__)
        try:
            verb()
        except TaskNotFound:
            break
        found = world.account()
        assert (found.balance, found.differences) == (0, []), story
        assert found.planned <= 1
    removal.remove_tasks(Task.objects.filter(pk=world.task.pk), now=timezone.now())
    world.finish()
    found = world.account()
    assert (found.balance, found.differences) == (0, []), story
