"""A tenant's flood delays that tenant, and the reason for a wait is on the run."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.models import User
from accounts.services import configure_tenant
from tasks_api import dispatch
from tasks_api.delivery import leases
from tasks_api.delivery.engine import Engine
from tasks_api.models import Run, Task
from tasks_api.schedules import Interval, Once
from tests.integration.conftest import Recorded
from tests.integration.test_dispatch import HOUR, SECOND, store
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def flood(owner: User, count: int, url: str = "http://127.0.0.1:9/") -> None:
    for _ in range(count):
        store(owner, Once(timezone.now() - HOUR), url)


def runs_of(owner: User) -> int:
    return Run.objects.filter(tenant=owner.tenant).count()


def test_of_what_is_due_each_tenant_gets_its_share(user: User, stranger: User) -> None:
    flood(user, 40)
    for _ in range(3):
        store(stranger, Once(timezone.now()))

    assert len(dispatch.dispatch_due(limit=10).run_ids) == 5 + 3
    assert (runs_of(user), runs_of(stranger)) == (5, 3)

    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert runs_of(user) == 40


def test_what_waits_of_a_tenant_is_bounded(
    user: User, stranger: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_WAITING = 12
    flood(user, 40)
    store(stranger, Once(timezone.now() + SECOND / 4))

    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert (runs_of(user), runs_of(stranger)) == (12, 1)

    # It goes on as they are begun.
    begun = Run.objects.filter(tenant=user.tenant).values_list("pk", flat=True)[:7]
    assert len(leases.claim(list(begun)).claimed) == 7
    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert runs_of(user) == 19


def test_a_share_holds_what_is_not_plain_too(user: User) -> None:
    for _ in range(15):
        store(user, Interval(timezone.now() - 10 * HOUR, HOUR))
    Task.objects.update(next_fire_at=timezone.now() - 3 * HOUR)

    while dispatch.dispatch_due(limit=10).is_full:
        pass

    assert Run.objects.filter(state="pending").count() == 15
    assert Run.objects.filter(state="missed").count() >= 30


def test_a_worker_holds_so_many_of_a_tenant(
    user: User, stranger: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_PER_TENANT = 3
    flood(user, 6)
    flood(stranger, 2)
    run_ids = dispatch.dispatch_due().run_ids
    assert user.tenant_id is not None

    claimed, crowded = leases.claim(run_ids, held={user.tenant_id: 1})

    assert sorted(run.tenant_id for run in claimed) == sorted(
        [user.tenant_id] * 2 + [stranger.tenant_id] * 2
    )
    assert {(c.tenant_id, c.limit) for c in crowded} == {(user.tenant_id, 3)}
    waiting = Run.objects.filter(pk__in=[c.run_id for c in crowded])
    assert {run.reason for run in waiting} == {
        "Waits: its tenant has as many requests under way as it may."
    }
    # Its reason is gone when its turn has come.
    [again] = leases.claim([crowded[0].run_id]).claimed
    assert Run.objects.get(pk=again.run_id).reason == ""


def test_a_tenant_may_have_a_number_of_its_own(user: User) -> None:
    assert user.tenant is not None
    configure_tenant(user.tenant.name, max_in_flight=2)
    flood(user, 5)

    claimed, crowded = leases.claim(dispatch.dispatch_due().run_ids)

    assert (len(claimed), len(crowded)) == (2, 3)
    configure_tenant(user.tenant.name, max_in_flight=0)
    assert len(leases.claim([c.run_id for c in crowded]).claimed) == 3


def test_a_flood_of_slow_requests_lets_others_pass(
    user: User,
    stranger: User,
    receiver: Receiver,
    engine: Engine,
    recorded: Recorded,
    settings: LazySettings,
) -> None:
    settings.SCHEDULER_MAX_PER_TENANT = 5
    receiver.answer("/slow", delay=1)
    flood(user, 12, receiver.url + "/slow")
    engine.accept(dispatch.dispatch_due().run_ids)
    receiver.wait_for(5)
    flood(stranger, 20, receiver.url + "/quick")
    engine.accept(dispatch.dispatch_due().run_ids)

    recorded.wait_for(32)

    paths = [request.path for request in receiver.requests]
    assert paths.count("/slow") == 12
    # Those that came later did not wait for the flood to be over.
    assert paths[-1] == "/slow"
    assert not Run.objects.exclude(state="succeeded").exists()
