"""A tenant's flood delays that tenant, and the reason for a wait is on the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts import services as accounts
from accounts.models import User
from accounts.services import configure_tenant
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import Run, Task
from tasks_api.scheduler import dispatch
from tasks_api.worker import leases
from tasks_api.worker.engine import Engine
from tests.acceptance.harness import eventually
from tests.integration.conftest import ResultLog
from tests.integration.support.stored_tasks import HOUR, SECOND, store_task
from tests.integration.support.transport_doubles import Gate, RawServer
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def flood(owner: User, count: int, url: str = "http://127.0.0.1:9/") -> None:
    for _ in range(count):
        store_task(owner, Once(timezone.now() - HOUR), url)


def runs_of(owner: User) -> int:
    return Run.objects.filter(tenant=owner.tenant).count()


def test_of_what_is_due_each_tenant_gets_its_share(user: User, stranger: User) -> None:
    flood(user, 40)
    for _ in range(3):
        store_task(stranger, Once(timezone.now()))

    assert len(dispatch.dispatch_due(limit=10).run_ids) == 5 + 3
    assert (runs_of(user), runs_of(stranger)) == (5, 3)

    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert runs_of(user) == 40


def test_waiting_runs_of_a_tenant_are_bounded(
    user: User, stranger: User, settings: LazySettings
) -> None:
    settings.SCHEDULER_MAX_WAITING = 12
    flood(user, 40)
    store_task(stranger, Once(timezone.now() + SECOND / 4))

    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert (runs_of(user), runs_of(stranger)) == (12, 1)

    # It goes on as they are begun.
    begun = Run.objects.filter(tenant=user.tenant).values_list("pk", flat=True)[:7]
    assert len(leases.claim(list(begun))) == 7
    while dispatch.dispatch_due(limit=10).is_full:
        pass
    assert runs_of(user) == 19


def test_a_share_holds_what_is_not_plain_too(user: User) -> None:
    for _ in range(15):
        store_task(user, Interval(timezone.now() - 10 * HOUR, HOUR))
    Task.objects.update(next_fire_at=timezone.now() - 3 * HOUR)

    while dispatch.dispatch_due(limit=10).is_full:
        pass

    assert Run.objects.filter(state="pending").count() == 15
    assert Run.objects.filter(state="missed").count() >= 30


@pytest.fixture
def short_lease(settings: LazySettings) -> None:
    """An engine looks after what it has four times in a lease."""
    settings.SCHEDULER_LEASE = 1.0


@pytest.fixture
def two_at_once(user: User) -> None:
    assert user.tenant is not None
    configure_tenant(user.tenant.name, max_in_flight=2)


def explained(count: int) -> set[str]:
    """The reasons of the runs that wait, once so many have one."""
    waiting = Run.objects.filter(state="pending").exclude(reason="")
    eventually(lambda: waiting.count() == count)
    return set(waiting.values_list("reason", flat=True))


@pytest.fixture
def held() -> Iterator[Gate]:
    """What a target does that answers nobody yet."""
    held = Gate()
    yield held
    held.open()


@pytest.fixture
def hanging(held: Gate) -> Iterator[RawServer]:
    started = RawServer(held)
    yield started
    started.close()


def test_a_worker_has_so_many_of_a_tenant_under_way(
    user: User,
    settings: LazySettings,
    short_lease: None,
    engine: Engine,
    held: Gate,
    hanging: RawServer,
    recorded: ResultLog,
) -> None:
    settings.SCHEDULER_MAX_PER_TENANT = 3
    flood(user, 5, hanging.url)

    engine.accept(dispatch.dispatch_due().run_ids)

    assert explained(2) == {
        "Waits: its tenant has as many requests under way as it may."
    }
    held.wait_for(3)
    assert held.most == 3
    held.open()
    recorded.wait_for(5)
    # The reason is gone when its turn has come.
    assert not Run.objects.exclude(reason="").exists()


def test_a_tenant_may_have_a_number_of_its_own(
    user: User,
    two_at_once: None,
    short_lease: None,
    engine: Engine,
    held: Gate,
    hanging: RawServer,
    recorded: ResultLog,
) -> None:
    flood(user, 5, hanging.url)

    engine.accept(dispatch.dispatch_due().run_ids)

    explained(3)
    held.wait_for(2)
    assert held.most == 2
    # What is configured is followed, while the first requests are under way.
    assert user.tenant is not None
    configure_tenant(user.tenant.name, max_in_flight=0)
    held.wait_for(5)
    held.open()
    recorded.wait_for(5)


def test_a_flood_of_slow_requests_lets_others_pass(
    user: User,
    stranger: User,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
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


@pytest.fixture
def twenty_places(settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_IN_FLIGHT = 20
    settings.SCHEDULER_MAX_PER_TENANT = 10


def test_two_floods_leave_places_to_a_third_tenant(
    user: User,
    stranger: User,
    receiver: Receiver,
    twenty_places: None,
    engine: Engine,
    held: Gate,
    hanging: RawServer,
    recorded: ResultLog,
) -> None:
    for owner in (user, stranger):
        flood(owner, 15, hanging.url)
        engine.accept(dispatch.dispatch_due().run_ids)
    held.wait_for(18)
    flood(accounts.provision_user("Gamma", "gil"), 1, receiver.url + "/quick")

    engine.accept(dispatch.dispatch_due().run_ids)

    assert recorded.wait_for(1)[0].run.url == receiver.url + "/quick"
    held.open()
    recorded.wait_for(31)
