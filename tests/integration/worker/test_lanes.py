"""Runs of a lane start at its pace, in their order, and none is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.schedules import Once
from tasks_api.domain.specs import Surface, TaskSpec
from tasks_api.domain.states import RunState
from tasks_api.models import Lane, Run, Task
from tasks_api.services import tasks
from tasks_api.worker.engine import Engine
from tests.conftest import tenant_of
from tests.integration.conftest import ResultLog
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def make_lane(user: User, **given: object) -> Lane:
    return Lane.objects.create(tenant=tenant_of(user), name="crm", **given)


def store_tasks(
    user: User, url: str, count: int, *, late: timedelta = timedelta()
) -> list[Task]:
    """Tasks of lane crm that are due at the same time, which are many in a moment."""
    now = timezone.now()
    at = now - late + timedelta(seconds=0.5)
    specs = [
        TaskSpec(Surface.TASKS, f"{url}/{n}", Once(at), "{}", lane_name="crm")
        for n in range(count)
    ]
    return list(tasks.create_tasks(user, specs, now=now))


def starts_of(recorded: ResultLog, count: int) -> list[float]:
    return sorted(item.started_at.timestamp() for item in recorded.wait_for(count))


def count_in_fullest_window(starts: list[float], seconds: float) -> int:
    return max(
        sum(first <= each <= first + seconds for each in starts) for first in starts
    )


def test_no_second_has_more_starts_than_the_rate(
    user: User, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    make_lane(user, rate_limit=20, rate_per="second")
    store_tasks(user, receiver.url, 50)
    engine.ring()

    starts = starts_of(recorded, 50)

    assert count_in_fullest_window(starts, 1) <= 20
    assert count_in_fullest_window([each.at for each in receiver.requests], 1) <= 20
    # At 18.2 a second.
    assert starts[-1] - starts[0] < 4
    assert set(Run.objects.values_list("state", flat=True)) == {RunState.SUCCEEDED}
    assert {run.attempt_count for run in Run.objects.all()} == {1}
