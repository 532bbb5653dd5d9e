"""The sums of hours stay right where their tenant has moved."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.states import RunState
from tasks_api.models import HourRollup, ReopenedHours, Run, Task
from tasks_api.moving import moves
from tasks_api.services.rollups import keep_rollups
from tasks_api.services.stats import floor_hour
from tests.integration.support.moves import ignore
from tests.integration.support.stored_runs import MINUTE, hourly_task, store_run
from tests.integration.support.stored_tasks import store_task, take_due
from tests.integration.support.two_databases import OtherDatabase

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_moment_in_a_closed_hour_is_counted_if_its_task_ended_just_before_the_move(
    other: OtherDatabase, user: User
) -> None:
    now = timezone.now()
    moment = floor_hour(now - 200 * MINUTE)
    store_run(hourly_task(user), at=moment)
    keep_rollups(now=now)
    task = store_task(user, Once(moment))
    while take_due():
        pass
    Run.objects.filter(task=task).update(
        state=RunState.SUCCEEDED, wake_at=None, lease=None, finished_at=now
    )
    Task.objects.filter(pk=task.pk).update(ended_at=now, next_fire_at=None)
    with other.here():
        # What ended before that is not looked for there any more.
        keep_rollups(now=now + timedelta(hours=1))
    assert user.tenant is not None

    moves.move_tenant(user.tenant, other.url, ignore)

    with other.here():
        keep_rollups(now=now)
        sums = HourRollup.objects.get(owner_id=user.pk, hour=moment)
        assert not ReopenedHours.objects.exists()
    assert sums.counts["runs:succeeded"] == 1
