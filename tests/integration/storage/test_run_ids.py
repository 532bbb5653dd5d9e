"""The run of a fire time has the same id however often it is made, and nobody guesses it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from tasks_api.domain.ids import (
    TENANT_BITS_RANGE,
    id_of_fire_time,
    moment_of,
    tenant_bits,
)
from tasks_api.domain.schedules import (
    Cron,
    Interval,
    Once,
    Schedule,
)
from tasks_api.domain.specs import (
    Misfire,
    Overlap,
    Surface,
    TaskSpec,
)
from tasks_api.models import Run, RunIdKey, Task
from tasks_api.services import admin_edits, manual_runs, pausing, redrive, tasks
from tasks_api.storage import run_key, schedule_changes
from tasks_api.storage.id_statements import ID_OF_FIRE_TIME
from tests.integration.support.stored_tasks import take_due

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TASK = uuid.UUID("01a1fc25-ccbb-7241-824c-01539cec9869")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOMENTS = [
    NOON,
    NOON + timedelta(microseconds=1),
    NOON + timedelta(microseconds=999_999),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.fixture
def key() -> bytes:
    return bytes(RunIdKey.objects.get().key)


def in_sql(task_id: uuid.UUID, moment: datetime, tenant_id: int) -> uuid.UUID:
    expression = ID_OF_FIRE_TIME.format(moment="at", tenant_id="of", task_id="task")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {expression} FROM (SELECT %s::timestamptz, %s::bigint, %s::uuid)"  # noqa: S608 (a constant)
            " AS row(at, of, task)",
            [moment, tenant_id, task_id],
        )
        found: uuid.UUID = cursor.fetchone()[0]
    return found


def store(owner: User, schedule: Schedule, **more: object) -> Task:
    """A task whose first fire time was some minutes ago."""
    now = timezone.now()
    spec = TaskSpec(Surface.TASKS, "http://example.com/", schedule, "{}", **more)  # type: ignore[arg-type]  # fields by name
    return tasks.create_task(owner, spec, now=now - HOUR)


def runs_of(task: Task) -> dict[datetime, uuid.UUID]:
    return dict(Run.objects.filter(task=task).values_list("scheduled_for", "pk"))


def as_in_the_backup(task: Task) -> None:
    """Put a task back to how it was before its runs, which are forgotten."""
    Run.objects.filter(task=task).delete()
    Task.objects.filter(pk=task.pk).update(
        next_fire_at=task.next_fire_at, last_fire_at=None, ended_at=None
    )


def schedule(kind: str) -> Schedule:
    start = timezone.now().replace(microsecond=0) - 5 * timedelta(minutes=1)
    schedules: dict[str, Schedule] = {
        "once": Once(start),
        "interval": Interval(start, 10 * HOUR, None),
        "intervals": Interval(start, 60 * SECOND, None),
        "cron": Cron("* * * * *", "Europe/Berlin", start, None),
    }
    return schedules[kind]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize(
    "tenant_id", [1, TENANT_BITS_RANGE, 5 * TENANT_BITS_RANGE + 77, 2**40]
)
def test_python_and_sql_agree(key: bytes, moment: datetime, tenant_id: int) -> None:
    ours = id_of_fire_time(key, TASK, moment, tenant_id)

    assert in_sql(TASK, moment, tenant_id) == ours
    assert (ours.version, ours.variant) == (7, uuid.RFC_4122)
    assert tenant_bits(ours) == tenant_id % TENANT_BITS_RANGE
    assert 0 <= moment.timestamp() - moment_of(ours) < 0.0011


def test_task_moment_and_key_each_make_another_id(key: bytes) -> None:
    others = {
        id_of_fire_time(key, TASK, NOON, 1),
        id_of_fire_time(key, TASK, NOON + timedelta(microseconds=1), 1),
        id_of_fire_time(key, uuid.uuid4(), NOON, 1),
        id_of_fire_time(bytes(32), TASK, NOON, 1),
    }

    assert len(others) == 4


def test_what_follows_from_the_key_fills_all_the_bits() -> None:
    drawn = [id_of_fire_time(bytes(32), uuid.uuid4(), NOON, 0).int for _ in range(200)]

    zeros = ones = 0
    for each in drawn:
        ones |= each
        zeros |= ~each & (2**128 - 1)
    free = (0xFFF << 64) | ((1 << 62) - TENANT_BITS_RANGE)
    assert ones & zeros == free


@pytest.mark.parametrize("kind", ["once", "interval", "intervals", "cron"])
@pytest.mark.parametrize("overlap", [Overlap.ALLOW, Overlap.SKIP, Overlap.QUEUE_ONE])
def test_a_fire_time_that_is_made_again_has_the_same_id(
    user: User, kind: str, overlap: Overlap
) -> None:
    task = store(user, schedule(kind), overlap=overlap, misfire=Misfire.ALL)
    take_due()
    first = runs_of(task)
    as_in_the_backup(task)

    take_due()

    again = runs_of(task)
    assert first
    assert {at: again[at] for at in first} == first


def test_what_a_change_cut_off_has_the_same_id_as_its_run(
    user: User, key: bytes
) -> None:
    task = store(user, schedule("intervals"))
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    while schedule_changes.settle_open_changes():
        pass

    settled = runs_of(task)
    assert settled
    for moment, run_id in settled.items():
        assert run_id == id_of_fire_time(key, task.pk, moment, task.tenant_id)


@pytest.mark.parametrize("kind", ["once", "interval", "cron"])
def test_a_run_that_is_there_already_is_passed_over(user: User, kind: str) -> None:
    task = store(user, schedule(kind))
    take_due()
    before = runs_of(task)
    Task.objects.filter(pk=task.pk).update(next_fire_at=task.next_fire_at)

    assert take_due() == []

    assert runs_of(task) == before
    upcoming = Task.objects.get(pk=task.pk).next_fire_at
    assert upcoming is None or upcoming > timezone.now()


def test_a_one_off_that_is_edited_away_and_back_has_one_run(user: User) -> None:
    passed = timezone.now() - 5 * SECOND
    task = store(user, Once(passed), overlap=Overlap.SKIP)
    manual_runs.run_now(user, str(task.pk), surface=Surface.TASKS, now=timezone.now())
    assert take_due() == []
    before = runs_of(task)
    assert Run.objects.get(task=task, scheduled_for=passed).state == "skipped"
    later = TaskSpec(Surface.TASKS, "http://example.com/", Once(passed + HOUR), "{}")
    tasks.change_task(user, task, later, now=timezone.now())

    clocked = Task.objects.with_schedule().get(pk=task.pk).periodic_task.clocked
    clocked.clocked_time = passed
    clocked.save()
    admin_edits.sync_admin_edits([task.pk])

    assert take_due() == []
    assert runs_of(task) == before


def test_runs_by_hand_and_redrives_are_random(user: User, key: bytes) -> None:
    task = store(user, schedule("interval"))
    take_due()
    Run.objects.filter(task=task).update(
        state="failed", lease=None, wake_at=None, finished_at=timezone.now()
    )
    [failed] = runs_of(task).values()

    by_hand = manual_runs.run_now(
        user, str(task.pk), surface=Surface.TASKS, now=timezone.now()
    )
    [again] = redrive.redrive_run(user, failed).run_ids

    for run in Run.objects.filter(pk__in=[by_hand, again]):
        at = run.scheduled_for
        assert run.pk != id_of_fire_time(key, task.pk, at, task.tenant_id)


def test_the_key_is_made_once(key: bytes) -> None:
    run_key.create_run_key(using="default")

    assert bytes(RunIdKey.objects.get().key) == key
    assert len(key) == 32


@pytest.mark.parametrize("kind", ["once", "cron"])
def test_without_a_key_ids_are_random_and_tasks_fire(user: User, kind: str) -> None:
    RunIdKey.objects.all().delete()
    task = store(user, schedule(kind))

    take_due()

    first = runs_of(task)
    assert first
    as_in_the_backup(task)
    take_due()
    assert set(runs_of(task).values()).isdisjoint(first.values())


@pytest.mark.parametrize("kind", ["once", "interval", "cron"])
def test_a_fire_time_whose_id_another_run_has_is_not_lost(
    user: User, kind: str
) -> None:
    task = store(user, schedule(kind))
    take_due()
    before = runs_of(task)
    # As nothing but a coincidence of 54 bits would do it.
    Run.objects.filter(task=task).update(
        scheduled_for=F("scheduled_for") - timedelta(days=1), exclusive=False
    )
    Task.objects.filter(pk=task.pk).update(next_fire_at=task.next_fire_at)

    assert take_due()

    assert before.keys() <= runs_of(task).keys()
