"""Many tenants are frozen at once: what fires soon is put aside, and the rest is fenced."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts.models import AuditEntry, OwnCell, SplitStage, Tenant, User
from tasks_api.delivery.retry import RetryAfter
from tasks_api.domain.schedules import Interval, Once
from tasks_api.models import Run, Task
from tasks_api.moving import many_tenants, splitting
from tasks_api.moving.errors import MoveRefused
from tasks_api.scheduler.other_cells import UrgentTasks
from tasks_api.services import pausing
from tasks_api.services.pausing import Hold
from tasks_api.taking import isolation, leases
from tasks_api.taking.room import Room
from tests.conftest import MakeTask, tenant_of
from tests.integration.support.moves import ignore
from tests.integration.support.stored_tasks import store_task, take_due
from tests.integration.support.tenant_steps import record

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def fence() -> Iterator[None]:
    many_tenants.set_fence(is_on=True)
    yield
    many_tenants.set_fence(is_on=False)


def freeze(*users: User) -> list[int]:
    """Freeze the tenants of users, as a split does."""
    tenants = [tenant_of(user).pk for user in users]
    own = OwnCell.objects.create(
        name="here", split_id=uuid4(), splits_to="there", tenants=tenants
    )
    assert own.split_id
    with transaction.atomic():
        many_tenants.freeze(tenants, "the cell there", own.split_id)
    return tenants


def own_split() -> UUID:
    split_id = OwnCell.objects.get().split_id
    assert split_id
    return split_id


def thaw(tenants: list[int]) -> None:
    with transaction.atomic():
        many_tenants.thaw(tenants, "tenant.thaw")


def fire_times() -> dict[object, datetime | None]:
    return dict(Task.objects.values_list("pk", "next_fire_at"))


def test_what_could_fire_soon_is_put_aside_and_comes_back(
    user: User, stranger: User, colleague: User, make_task: MakeTask
) -> None:
    soon = make_task(user, schedule=Once(timezone.now() + 20 * SECOND))
    later = make_task(colleague, schedule=Once(timezone.now() + HOUR))
    paused = make_task(user, schedule=Interval(timezone.now() + HOUR, HOUR))
    hold = Hold(until=timezone.now() + 30 * SECOND)
    pausing.pause_tasks(user, [str(paused.pk)], now=timezone.now(), hold=hold)
    other = make_task(stranger, schedule=Once(timezone.now() + 20 * SECOND))
    make_task(user, schedule=Interval(timezone.now() - SECOND, HOUR))
    record(take_due(), RetryAfter("HTTP 500", 0))
    before = fire_times()

    tenants = freeze(user)
    many_tenants.put_urgent_aside(ignore)

    parked = set(Task.objects.filter(is_parked=True).values_list("pk", flat=True))
    assert parked >= {soon.pk, paused.pk}
    assert not parked & {later.pk, other.pk}
    assert set(Run.objects.values_list("stage", flat=True)) == {"parked"}
    thaw(tenants)
    assert fire_times() == before
    assert set(Run.objects.values_list("stage", flat=True)) == {"live"}
    assert not Task.objects.filter(is_parked=True).exists()
    actions = AuditEntry.objects.filter(tenant=tenants[0]).order_by("id")
    assert list(actions.values_list("action", flat=True))[-2:] == [
        "tenant.freeze",
        "tenant.thaw",
    ]


@pytest.mark.usefixtures("fence")
def test_the_fence_lets_no_task_of_a_frozen_tenant_fire(
    user: User, stranger: User, make_task: MakeTask
) -> None:
    # As if time had passed, and nobody had put them aside.
    past = timezone.now() - SECOND
    mine = [
        make_task(user, schedule=schedule)
        for schedule in (Once(past), Interval(past, HOUR))
    ]
    theirs = make_task(stranger, schedule=Interval(past, HOUR))
    freeze(user)
    before = fire_times()

    with pytest.raises(DatabaseError, match="lives in another cell"):
        take_due()
    lease = leases.new_lease(leases.NO_PRESENCE)
    taken = isolation.take_due(Room(), lease)

    assert {run.task_id for run in taken.runs} == {theirs.pk}
    for task in mine:
        task.refresh_from_db()
        assert task.next_fire_at == before[task.pk]
        assert (task.is_paused, task.pause_reason) == (False, "")
    assert not Run.objects.filter(task__in=mine).exists()


@pytest.mark.usefixtures("fence")
def test_the_fence_lets_all_others_fire(user: User, make_task: MakeTask) -> None:
    task = make_task(user, schedule=Interval(timezone.now() - SECOND, HOUR))

    assert [run.task_id for run in take_due()] == [task.pk]


def test_a_beat_puts_aside_what_fires_soon_while_a_cell_is_split(
    user: User, make_task: MakeTask, settings: LazySettings
) -> None:
    settings.SCHEDULER_CELL = "here"
    task = make_task(user, schedule=Once(timezone.now() + 20 * SECOND))
    freeze(user)
    split_id = own_split()
    OwnCell.objects.update(split_id=None)
    UrgentTasks().keep_aside()
    task.refresh_from_db()
    assert not task.is_parked

    OwnCell.objects.update(split_id=split_id, stage=SplitStage.READY)
    UrgentTasks().keep_aside()

    task.refresh_from_db()
    assert task.is_parked


def test_in_a_copy_the_others_are_put_aside_with_their_runs(
    user: User, stranger: User, make_task: MakeTask
) -> None:
    mine = make_task(user, schedule=Once(timezone.now() + 20 * SECOND))
    make_task(stranger, schedule=Interval(timezone.now() - SECOND, HOUR))
    # The worker is in the other cell.
    take_due()
    tenants = freeze(user)

    many_tenants.put_others_aside(tenants, "the cell here", own_split())
    thaw(tenants)

    mine.refresh_from_db()
    theirs = tenant_of(stranger)
    theirs.refresh_from_db()
    assert not mine.is_parked
    assert mine.next_fire_at is not None
    assert theirs.moved_at is not None
    assert theirs.moves_to == "the cell here"
    assert not Run.objects.filter(stage="live").exists()
    assert Tenant.objects.get(pk=tenants[0]).frozen_at is None
    call_command("forget_moved_tenant", "--all", "--yes")
    assert list(Tenant.objects.values_list("pk", flat=True)) == tenants
    assert not Run.objects.exists()


def test_half_of_a_cell_is_chosen_by_tasks(user: User, stranger: User) -> None:
    for owner, count in ((user, 3), (stranger, 1)):
        for _ in range(count):
            store_task(owner, Once(timezone.now() + HOUR))

    assert [
        (each.id, each.tasks)
        for each in splitting.choose_half()
        if each.tasks  # the default tenant has none
    ] == [(tenant_of(stranger).pk, 1)]


def test_a_split_is_refused_in_a_sentence(user: User, settings: LazySettings) -> None:
    plan = splitting.Plan("there", "postgresql://x@127.0.0.1:1/x", [])
    with pytest.raises(MoveRefused, match="Say which tenants go"):
        splitting.split_cell(plan, ignore)
    some = plan._replace(tenants=[tenant_of(user).pk])
    with pytest.raises(MoveRefused, match="Set SCHEDULER_CELL"):
        splitting.split_cell(some, ignore)
    with pytest.raises(MoveRefused, match="not being split"):
        splitting.abort_split(None, ignore)
    with pytest.raises(CommandError, match="Say the standby"):
        call_command("split_cell", "there", "--half")
    assert Tenant.objects.get(pk=tenant_of(user).pk).frozen_at is None
