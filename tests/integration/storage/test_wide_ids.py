"""Tasks are created, fire and are deleted when 32 bits of ids are used up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from tasks_api.models import Run, Task
from tasks_api.services import admin_edits
from tasks_api.storage import retention
from tasks_api.worker.engine import Engine
from tests.conftest import MakeTask
from tests.integration.conftest import ResultLog
from tests.integration.support import many_rows
from tests.integration.support.due_tasks import create_due_task
from tests.integration.support.narrow_ids import (
    FIRST_WIDE_ID,
    draw_wide_ids,
)
from tests.integration.support.stored_tasks import take_and_count
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

CRON = {"task_type": "periodic", "cron": "17 4 * * *", "url": "http://a.example/"}
KINDS: dict[str, dict[str, Any]] = {
    "one_time": ONE_TIME,
    "interval": PERIODIC,
    "cron": CRON,
}
# What is counted by a person's action, and never for a task, a fire or a request. The
# migrations of allauth, which are not ours to change, count the people who sign in so.
COUNTED_BY_PEOPLE = {
    "account_emailaddress",
    "account_emailconfirmation",
    "auth_group",
    "auth_permission",
    "django_admin_log",
    "django_content_type",
    "socialaccount_socialaccount",
    "socialaccount_socialapp",
    "socialaccount_socialtoken",
}


NAMED = {**CRON, "name": "nightly"}
AT = "2090-01-01T03:00:00Z"
# Each way of creating tasks: the method, the path, the body, and how many it creates.
WAYS: dict[str, tuple[str, str, Any, int]] = {
    "one by one": ("post", "/tasks/", ONE_TIME, 1),
    "many": ("post", "/tasks/bulk/", {"tasks": [ONE_TIME, PERIODIC, CRON]}, 3),
    "by name": ("put", "/tasks/by-name/nightly", CRON, 1),
    "declared": ("post", "/tasks/apply/", {"tag": "x", "tasks": [NAMED]}, 1),
    "cron job": (
        "post",
        "/",
        {
            "id": "daily",
            "cron": "0 3 * * *",
            "endpoint": "http://a.example/",
            "payload": {},
        },
        1,
    ),
    "timer": ("post", "/insert", {"timestamp": AT, "body": {}}, 1),
    "crons of timers": (
        "post",
        "/cron",
        {"jobs": [{"id": "a", "spec": "0 3 * * *"}]},
        1,
    ),
    "rest job": (
        "post",
        "/api/v1/jobs",
        {
            "task": {
                "method": "POST",
                "uri": "http://a.example/",
                "body": {},
                "expected_range": "200-299",
            },
            "schedule": AT,
        },
        1,
    ),
}


@pytest.fixture(autouse=True)
def _wide_ids(db: None) -> None:
    draw_wide_ids()


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


def ids_of(task_id: str) -> list[int]:
    """The ids of a task's periodic task and of its schedule."""
    row = Task.objects.select_related("periodic_task").get(pk=task_id).periodic_task
    ids = [row.pk, row.interval_id, row.crontab_id, row.clocked_id]
    return [each for each in ids if each is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_task_of_any_kind_lives_with_wide_ids(
    api: APIClient, kind: str, other: str
) -> None:
    task_id = created(api, KINDS[kind])["id"]
    assert len(ids_of(task_id)) == 2
    assert min(ids_of(task_id)) >= FIRST_WIDE_ID

    assert [task["id"] for task in api.get("/tasks/").json()["tasks"]] == [task_id]
    for verb in ("pause", "resume"):
        assert api.post(f"/tasks/{task_id}/{verb}/").status_code == 200
    timing = {
        name: value
        for name, value in KINDS[other].items()
        if name not in ("url", "post_data")
    }
    edited = api.patch(f"/tasks/id/{task_id}", timing, format="json")
    assert edited.status_code == 200, edited.json()
    assert min(ids_of(task_id)) >= FIRST_WIDE_ID
    assert api.post(f"/tasks/{task_id}/run/").status_code == 202
    assert api.delete(f"/tasks/id/{task_id}").status_code == 200
    assert Task.objects.get().ended_at is not None


@pytest.mark.parametrize("way", WAYS)
def test_tasks_of_every_surface_have_wide_ids(api: APIClient, way: str) -> None:
    method, path, body, count = WAYS[way]
    accounts.configure_tenant(
        "Alpha", callback_url="http://a.example/", shared_secret="s3cret"
    )

    secret = {"HTTP_SCHEDULER_SECRET": "s3cret"} if path in ("/insert", "/cron") else {}
    answer = getattr(api, method)(path, body, format="json", **secret)

    assert answer.status_code in (200, 201, 202), answer.content
    stored = Task.objects.values_list("pk", flat=True)
    assert len(stored) == count
    for task_id in stored:
        assert len(ids_of(str(task_id))) == 2
        assert min(ids_of(str(task_id))) >= FIRST_WIDE_ID


def test_copies_of_the_benchmarks_have_wide_ids(make_task: MakeTask) -> None:
    many_rows.store_copies(make_task(), 3)

    assert Task.objects.count() == 4
    for task_id in Task.objects.values_list("pk", flat=True):
        assert min(ids_of(str(task_id))) >= FIRST_WIDE_ID


@pytest.mark.parametrize("is_periodic", [False, True])
def test_a_task_with_wide_ids_fires_and_is_forgotten(
    api: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    is_periodic: bool,
) -> None:
    task = create_due_task(api, receiver.url, is_periodic=is_periodic)

    engine.ring()
    recorded.wait_for(1)

    # The last counts are written when a worker stops.
    engine.stop(grace=5)
    row = PeriodicTask.objects.get(pk=task.periodic_task_id)
    assert (row.total_run_count, row.enabled) == (1, is_periodic)
    api.delete(f"/tasks/id/{task.pk}")
    # A task may go only in the round after that of its runs.
    for _ in range(2):
        retention.prune(now=timezone.now() + timedelta(days=1000))
    assert not Run.objects.exists()
    assert not Task.objects.exists()
    assert not PeriodicTask.objects.filter(pk=row.pk).exists()
    assert not ClockedSchedule.objects.exists()


def test_a_cron_with_wide_ids_counts_its_fires(user: User, api: APIClient) -> None:
    task_id = created(api, CRON)["id"]
    Task.objects.filter(pk=task_id).update(next_fire_at=timezone.now())

    take_and_count()

    assert Task.objects.get(pk=task_id).periodic_task.total_run_count == 1


def test_the_admin_shows_and_edits_tasks_with_wide_ids(
    staff: Client, make_task: MakeTask
) -> None:
    task = make_task()
    every = IntervalSchedule.objects.create(every=2, period="hours")
    pages = (
        ["tasks_api_task", task.pk],
        ["django_celery_beat_periodictask", task.periodic_task_id],
    )

    for page, pk in pages:
        assert staff.get(reverse(f"admin:{page}_changelist")).status_code == 200
        assert staff.get(reverse(f"admin:{page}_change", args=[pk])).status_code == 200
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        clocked=None, one_off=False, interval=every
    )
    admin_edits.sync_admin_edits([task.pk])

    task.refresh_from_db()
    assert (task.interval_every, task.interval_period) == (2, "hours")


def test_an_edit_to_a_kind_that_cannot_be_computed_is_followed(
    make_task: MakeTask,
) -> None:
    task = make_task()
    sun = SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13)
    assert sun.pk >= FIRST_WIDE_ID
    PeriodicTask.objects.filter(pk=task.periodic_task_id).update(
        clocked=None, one_off=False, solar=sun
    )

    admin_edits.sync_admin_edits([task.pk])

    task.refresh_from_db()
    assert (task.solar_id, task.next_fire_at) == (sun.pk, None)


def test_a_task_is_changed_more_often_than_32_bits_count(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task()
    Task.objects.update(version=2**31 - 1)

    for name in ("a", "b"):
        answer = api.patch(f"/tasks/id/{task.pk}", {"name": name}, format="json")
        assert answer.status_code == 200, answer.json()
    for verb in ("pause", "resume"):
        assert api.post(f"/tasks/{task.pk}/{verb}/").status_code == 200

    task.refresh_from_db()
    assert task.version == 2**31 + 3


def test_no_table_that_grows_with_the_load_draws_narrow_ids() -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT table_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type IN ('integer', 'smallint')
                AND (is_identity = 'YES' OR column_default LIKE 'nextval%')
            UNION
            SELECT replace(sequencename, '_id_seq', '') FROM pg_sequences
            WHERE data_type <> 'bigint'::regtype
        """)
        narrow = {name for (name,) in cursor.fetchall()}

    assert narrow == COUNTED_BY_PEOPLE
