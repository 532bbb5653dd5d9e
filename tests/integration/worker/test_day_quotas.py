"""The runs of a tenant that has used up its day wait for the next one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.models import Plan, Tenant, User
from accounts.services import DeliveryLimits, load_delivery_limits
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import DayCount, Run, Task
from tasks_api.storage import day_counts
from tasks_api.taking import due_tasks, leases, waiting_runs
from tasks_api.taking.room import Room
from tasks_api.worker.day_quotas import DayQuotas
from tests.conftest import tenant_of
from tests.integration.support.stored_tasks import (
    SECOND,
    give_back,
    run_states,
    store_task,
    take_due,
    take_waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quotas(alpha: Tenant) -> dict[int, int]:
    Tenant.objects.filter(pk=alpha.pk).update(max_runs_per_day=3)
    return {alpha.pk: 3}


def take(quotas: dict[int, int], counts: DayQuotas | None = None) -> int:
    """Take as a worker does; returns how many runs."""
    counts = counts or DayQuotas()
    room = counts.limit(Room(), quotas)
    taken = take_due(room)
    counts.add(taken, quotas)
    waiting = take_waiting(room.after(taken))
    counts.add(waiting, quotas)
    counts.write()
    return len(taken) + len(waiting)


def store_due(user: User, count: int) -> None:
    for _ in range(count):
        store_task(user, Once(timezone.now() - SECOND))


def test_a_quota_is_that_of_the_tenant_or_of_its_plan(
    alpha: Tenant, beta: Tenant
) -> None:
    plan = Plan.objects.create(name="starter", max_runs_per_day=50)
    Tenant.objects.filter(pk=alpha.pk).update(plan=plan)
    both = [alpha.pk, beta.pk]
    assert load_delivery_limits(both) == {alpha.pk: DeliveryLimits(None, 50)}
    Tenant.objects.update(max_runs_per_day=7)
    Tenant.objects.filter(pk=beta.pk).update(max_in_flight=2)

    assert load_delivery_limits(both) == {
        alpha.pk: DeliveryLimits(None, 7),
        beta.pk: DeliveryLimits(2, 7),
    }
    assert load_delivery_limits([beta.pk + 1000]) == load_delivery_limits([]) == {}


@pytest.mark.parametrize("waits", [False, True])
def test_a_worker_leaves_a_tenant_with_limits_until_it_knows_them(
    user: User, stranger: User, quotas: dict[int, int], *, waits: bool
) -> None:
    store_due(user, 2)
    store_due(stranger, 2)
    if waits:
        give_back(take_due())
    asking = Room(asks_for_limits=True)
    take_some = waiting_runs.take_waiting if waits else due_tasks.take_due

    first = take_some(asking, leases.new_lease(leases.NO_PRESENCE))
    known = asking._replace(places_of={tenant_of(user).pk: 100})
    second = take_some(known, leases.new_lease(leases.NO_PRESENCE))

    assert {run.tenant_id for run in first.runs} == {stranger.tenant_id}
    assert (first.left, first.unknown) == (2, frozenset({tenant_of(user).pk}))
    assert {run.tenant_id for run in second.runs} == {user.tenant_id}
    assert second.unknown == frozenset()


def test_no_more_runs_begin_in_a_day_than_the_quota(
    user: User, stranger: User, quotas: dict[int, int]
) -> None:
    store_due(user, 5)
    store_due(stranger, 5)

    assert take(quotas) == 8
    assert take(quotas) == 0

    held = Run.objects.filter(state="pending")
    assert {run.tenant_id for run in held} == {user.tenant_id}
    assert held.count() == 2
    tomorrow = timezone.now().replace(
        hour=0, minute=0, second=0, microsecond=0
    ) + timedelta(days=1)
    for run in held:
        assert run.wake_at == tomorrow
        assert run.reason == (
            f"Waits for the quota of runs a day until {tomorrow:%Y-%m-%d} 00:00 UTC."
        )
    DayCount.objects.update(day=F("day") - timedelta(days=1))
    held.update(wake_at=timezone.now() - SECOND)
    assert take(quotas) == 2


def test_a_count_of_yesterday_holds_nothing_today(
    user: User, quotas: dict[int, int]
) -> None:
    store_due(user, 1)
    yesterday = timezone.now().date() - timedelta(days=1)
    room = Room(over_quota=list(quotas), quota_day=yesterday)

    assert len(take_due(room)) == 1


def test_several_workers_count_together(user: User, quotas: dict[int, int]) -> None:
    store_due(user, 6)
    one, other = DayQuotas(), DayQuotas()
    room = one.limit(Room(), quotas)
    one.add(take_due(room._replace(places=2)), quotas)
    one.write()

    assert take(quotas, other) == 1
    assert day_counts.read_runs(quotas).runs == {user.tenant_id: 3}


def test_retries_count_no_more(user: User, quotas: dict[int, int]) -> None:
    store_due(user, 3)
    assert take(quotas) == 3
    Run.objects.update(state="retrying", lease=None, wake_at=timezone.now())

    assert take(quotas) == 3
    assert day_counts.read_runs(quotas).runs == {user.tenant_id: 3}


def test_a_recurring_task_goes_on_by_its_policy(
    user: User, quotas: dict[int, int]
) -> None:
    day_counts.add_runs({tenant_of(user).pk: 3})
    task = store_task(user, Interval(timezone.now() - 25 * SECOND, 10 * SECOND))

    assert take(quotas) == 0

    assert run_states(task) == ["missed", "missed", "pending"]
    task.refresh_from_db()
    assert task.next_fire_at is not None
    assert task.next_fire_at > timezone.now()


def test_what_waits_beyond_measure_is_missed(
    user: User, quotas: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_api.services.waiting_limits.MAX_WAITING_OF_TENANT", 2)
    day_counts.add_runs({tenant_of(user).pk: 3})
    store_due(user, 4)

    assert take(quotas) == 0

    states = sorted(Run.objects.values_list("state", flat=True))
    assert states == ["missed", "missed", "pending", "pending"]
    assert "quota" in Run.objects.filter(state="missed")[0].reason


def test_without_quotas_nothing_is_read_or_written(
    user: User, django_assert_num_queries: object
) -> None:
    counts = DayQuotas()
    room = Room()

    assert counts.limit(room, {}) is room
    counts.add(due_tasks.take_due(room, leases.new_lease(0)).runs, {})
    counts.write()
    assert not DayCount.objects.exists()
    assert not Task.objects.exists()
