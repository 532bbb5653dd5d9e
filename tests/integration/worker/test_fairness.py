"""A tenant's flood delays that tenant, and waits in its tasks until there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.utils import timezone

from accounts import services as accounts
from accounts.models import User
from accounts.services import configure_tenant
from scheduler_service.db.statements import with_limit
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import Run, Task
from tasks_api.taking import due_tasks, leases, tenant_shares, tenant_statements
from tasks_api.taking.room import Room
from tasks_api.taking.tenant_shares import MAX_TENANTS, TenantShares
from tasks_api.worker.engine import Engine
from tests.integration.conftest import ResultLog
from tests.integration.support.polls import (
    analyze_tables,
    count_pages,
    store_past_tasks,
    truncate_tables,
)
from tests.integration.support.stored_tasks import HOUR, store_task, take_due
from tests.integration.support.transport_doubles import Gate, RawServer
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


def flood(owner: User, count: int, url: str = "http://127.0.0.1:9/") -> None:
    for _ in range(count):
        store_task(owner, Once(timezone.now() - HOUR), url)


def runs_of(owner: User) -> int:
    return Run.objects.filter(tenant=owner.tenant).count()


def take_batches(room: Room) -> list[Counter[int]]:
    """Take all that is due in batches, as a worker does; the tenants of each batch."""
    shares = TenantShares(tenant_statements.TENANTS_OF_TASKS)
    batches: list[Counter[int]] = []
    while not batches or shares.is_full:
        chosen = shares.choose(room)
        taken = due_tasks.take_due(
            room, leases.new_lease(leases.NO_PRESENCE), shares=chosen
        )
        shares.note_batch(chosen, room, due=taken.due, left=taken.left)
        batches.append(Counter(run.tenant_id for run in taken.runs))
    return batches


def test_of_what_is_due_each_tenant_gets_its_share(user: User, stranger: User) -> None:
    flood(user, 40)
    for _ in range(8):
        store_task(stranger, Once(timezone.now()))

    first, second, third, *rest = take_batches(Room(places=10))

    # The first batch finds out that more is due than it takes.
    assert first == {user.tenant_id: 10}
    assert second == {user.tenant_id: 5, stranger.tenant_id: 5}
    assert third == {user.tenant_id: 5, stranger.tenant_id: 3}
    assert [batch.total() for batch in rest] == [10, 10, 0]
    assert (runs_of(user), runs_of(stranger)) == (40, 8)


def test_tenants_of_a_flood_are_found_without_reading_it(
    user: User, stranger: User
) -> None:
    truncate_tables()
    store_past_tasks(user, 2000)
    store_past_tasks(stranger, 10)
    analyze_tables()

    find_tenants = with_limit(tenant_statements.TENANTS_OF_TASKS.in_turn, MAX_TENANTS)

    assert count_pages(find_tenants, {"after": 0}) < 50


def test_tenants_with_due_tasks_are_found_among_many_without(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_shares, "MAX_TENANTS", 2)
    monkeypatch.setattr(tenant_shares, "MAX_ROWS", 2)
    for number in range(9):
        later = accounts.provision_user(f"Later {number}", "lea")
        store_task(later, Once(timezone.now() + HOUR))
    flooding = accounts.provision_user("Zeta", "zoe")
    flood(flooding, 20)
    store_task(accounts.provision_user("Omega", "oz"), Once(timezone.now()))

    first, second, *rest = take_batches(Room(places=6))

    assert first == {flooding.tenant_id: 6}
    # Whose task came due a moment ago has its share at once.
    assert len(second) == 2
    assert sum(batch.total() for batch in (first, second, *rest)) == 21
    # Nothing is due for two looks at tenants in turn, and so the last batch is empty.
    assert all(rest[:-1])


def test_in_turns_each_tenant_has_its_share(
    user: User, stranger: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_shares, "MAX_TENANTS", 3)
    monkeypatch.setattr(tenant_shares, "MAX_ROWS", 1)
    owners = [accounts.provision_user(f"Tenant {number}", "ann") for number in range(9)]
    for owner in owners:
        flood(owner, 9)

    batches = take_batches(Room(places=2))

    taken = sum(batches[1:10], Counter())
    # After nine batches of two, no tenant has waited for its second turn.
    assert len(taken) == 9
    assert sum(batch.total() for batch in batches) == 81


def test_a_batch_takes_no_more_of_a_tenant_than_it_has_room_for(
    user: User, stranger: User
) -> None:
    flood(user, 40)
    store_task(stranger, Once(timezone.now()))

    room = Room(places=10, places_each=3)
    shares = TenantShares(tenant_statements.TENANTS_OF_TASKS).divide(room)

    assert dict(shares) == {user.tenant_id: 3, stranger.tenant_id: 3}
    taken = due_tasks.take_due(
        room, leases.new_lease(leases.NO_PRESENCE), shares=shares
    )
    assert Counter(run.tenant_id for run in taken.runs) == {
        user.tenant_id: 3,
        stranger.tenant_id: 1,
    }


def test_what_has_no_room_makes_no_run_and_stays_due(user: User) -> None:
    flood(user, 40)

    assert len(take_due(Room(places=10, places_each=4))) == 4

    assert runs_of(user) == 4
    assert Task.objects.filter(next_fire_at__lte=timezone.now()).count() == 36
    assert len(take_due(Room(places=10, places_each=4))) == 4


def test_a_share_holds_what_is_not_plain_too(user: User) -> None:
    for _ in range(15):
        store_task(user, Interval(timezone.now() - 10 * HOUR, HOUR))
    Task.objects.update(next_fire_at=timezone.now() - 3 * HOUR)

    take_batches(Room(places=10))

    assert Run.objects.filter(state="running").count() == 15
    assert Run.objects.filter(state="missed").count() >= 30


@pytest.fixture
def short_lease(settings: LazySettings) -> None:
    """An engine looks after what it has four times in a lease."""
    settings.SCHEDULER_LEASE = 1.0


@pytest.fixture
def two_at_once(user: User) -> None:
    assert user.tenant is not None
    configure_tenant(user.tenant.name, max_in_flight=2)


def test_a_worker_has_so_many_of_a_tenant_under_way(
    user: User, settings: LazySettings, engine: Engine, held: Gate, recorded: ResultLog
) -> None:
    settings.SCHEDULER_MAX_PER_TENANT = 3
    hanging = RawServer(held)
    flood(user, 5, hanging.url)

    engine.ring()
    held.wait_for(3)
    engine.ring()

    with pytest.raises(AssertionError):
        held.wait_for(4, timeout=1.5)
    # The others wait in their tasks, where any worker with room finds them.
    assert runs_of(user) == 3
    held.open()
    recorded.wait_for(5)
    assert held.most == 3
    hanging.close()


def test_a_tenant_may_have_a_number_of_its_own(
    user: User,
    two_at_once: None,
    short_lease: None,
    engine: Engine,
    held: Gate,
    recorded: ResultLog,
) -> None:
    hanging = RawServer(held)
    flood(user, 5, hanging.url)

    engine.ring()

    held.wait_for(2)
    with pytest.raises(AssertionError):
        held.wait_for(3, timeout=1.5)
    # What is configured is soon followed.
    assert user.tenant is not None
    configure_tenant(user.tenant.name, max_in_flight=0)
    held.wait_for(5)
    held.open()
    recorded.wait_for(5)
    hanging.close()


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
    engine.ring()
    receiver.wait_for(5)
    flood(stranger, 20, receiver.url + "/quick")
    engine.ring()

    recorded.wait_for(32)

    paths = [request.path for request in receiver.requests]
    assert paths.count("/slow") == 12
    # Those that came later did not wait for the flood to be over.
    assert paths[-1] == "/slow"
    assert not Run.objects.exclude(state="succeeded").exists()


def test_a_tenant_has_so_many_under_way_of_its_tasks_and_waiting_runs_together(
    user: User, settings: LazySettings, engine: Engine, held: Gate, recorded: ResultLog
) -> None:
    settings.SCHEDULER_MAX_PER_TENANT = 3
    hanging = RawServer(held)
    with transaction.atomic():
        flood(user, 4, hanging.url)
        leases.undo_take(take_due()[0].lease)
        flood(user, 4, hanging.url)

    engine.ring()
    held.wait_for(3)

    states = Run.objects.values_list("state", flat=True)
    assert Counter(states) == {"running": 3, "pending": 4}
    held.open()
    recorded.wait_for(8)
    hanging.close()


@pytest.fixture
def twenty_places(settings: LazySettings) -> None:
    settings.SCHEDULER_MAX_IN_FLIGHT = 20
    settings.SCHEDULER_MAX_PER_TENANT = 10


@pytest.fixture
def held() -> Iterator[Gate]:
    """What a target does that answers nobody yet."""
    held = Gate()
    yield held
    held.open()


@pytest.mark.parametrize("is_one_batch", [False, True])
def test_two_floods_leave_places_to_a_third_tenant(
    user: User,
    stranger: User,
    receiver: Receiver,
    twenty_places: None,
    engine: Engine,
    held: Gate,
    recorded: ResultLog,
    *,
    is_one_batch: bool,
) -> None:
    hanging = RawServer(held)
    with transaction.atomic() if is_one_batch else nullcontext():
        for owner in (user, stranger):
            flood(owner, 10, hanging.url)
            engine.ring()
    engine.ring()
    held.wait_for(18)
    flood(accounts.provision_user("Gamma", "gil"), 1, receiver.url + "/quick")

    engine.ring()

    assert recorded.wait_for(1)[0].run.url == receiver.url + "/quick"
    held.open()
    recorded.wait_for(21)
    hanging.close()
