"""The timers surface: one-off timers, a set of crons, and the secret that names a tenant."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Tenant
from tasks_api.api.timers.views import task_id, timer_id
from tasks_api.domain.ids import id_for, new_id
from tasks_api.models import Run, Task

ENDPOINT = "http://example.com/sched"
SECRET = "XXXXXX"
TIMER = {"timestamp": "2090-04-15T14:17:00-07:00", "body": {"foo": "bar"}}
CRONS = [
    {"id": "hello_world", "spec": "30 * * * * *"},
    {"id": "hello_world_2", "spec": "0 * * * * *"},
]


def client(secret: str) -> APIClient:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_SCHEDULER_SECRET=secret)
    return api


@pytest.fixture
def timers(db: None, settings: LazySettings) -> APIClient:
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = False
    accounts.configure_tenant("Alpha", callback_url=ENDPOINT, shared_secret=SECRET)
    return client(SECRET)


@pytest.fixture
def beta_api(db: None) -> APIClient:
    accounts.configure_tenant("Beta", callback_url=ENDPOINT, shared_secret="other")
    return client("other")


def post_json(api: APIClient, path: str, body: Any) -> Any:
    return api.post(path, body, format="json")


def names() -> set[str]:
    alive = Task.objects.filter(ended_at=None).exclude(name="")
    return set(alive.values_list("name", flat=True))


def test_a_timer_is_stored_under_an_id_of_its_own(timers: APIClient) -> None:
    answer = post_json(timers, "/insert", TIMER)

    task = Task.objects.get()
    [new] = answer.json().values()
    assert (answer.status_code, list(answer.json())) == (200, ["id"])
    assert len(new) == 25
    assert task.pk == task_id(new)
    assert json.loads(task.body) == {"id": new, "cron_id": "", "body": {"foo": "bar"}}
    assert task.next_fire_at == datetime(2090, 4, 15, 21, 17, tzinfo=UTC)
    assert (task.tenant.name, task.owner.name) == ("Alpha", "timers")


@pytest.mark.parametrize("body", [None, "text", 1.10, [1], {}, {"ü": {"b": [None]}}])
def test_a_body_may_be_anything(timers: APIClient, body: object) -> None:
    assert post_json(timers, "/insert", {**TIMER, "body": body}).status_code == 200

    assert json.loads(Task.objects.get().body)["body"] == body


def test_a_body_may_be_left_out(timers: APIClient) -> None:
    assert (
        post_json(timers, "/insert", {"timestamp": "2090-01-01T00:00:00Z"}).status_code
        == 200
    )

    assert json.loads(Task.objects.get().body)["body"] is None


@pytest.mark.parametrize(
    "moment", ["2021-04-15T14:17:00-07:00", "0001-01-01T00:00:00Z"]
)
def test_the_past_is_due_at_once(timers: APIClient, moment: str) -> None:
    before = timezone.now()

    assert (
        post_json(timers, "/insert", {**TIMER, "timestamp": moment}).status_code == 200
    )

    due = Task.objects.get().next_fire_at
    assert due is not None
    assert before <= due <= timezone.now()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"body": {}},
        {"timestamp": None},
        {"timestamp": 1618521420},
        {"timestamp": "10"},
        {"timestamp": "tomorrow"},
        {"timestamp": "2090-02-30T00:00:00Z"},
        {"timestamp": ["2090-01-01T00:00:00Z"]},
    ],
)
def test_a_timer_needs_a_moment(timers: APIClient, body: object) -> None:
    answer = post_json(timers, "/insert", body)

    assert answer.status_code == 400
    assert "timestamp" in answer.content.decode()
    assert answer["Content-Type"].startswith("text/plain")
    assert not Task.objects.exists()


def test_a_timer_is_cancelled(timers: APIClient) -> None:
    new = post_json(timers, "/insert", TIMER).json()["id"]

    answer = post_json(timers, "/delete", {"id": new})

    assert (answer.status_code, answer.content) == (200, b"")
    assert Task.objects.get().ended_at is not None


@pytest.mark.parametrize(
    "unknown",
    ["", "x", "cknjdu2k300153zugmucamxxo", "c" + "z" * 24, "c" + "é" * 24, str(uuid.UUID(int=7))],
)  # fmt: skip
def test_cancelling_what_is_not_there_is_silent(
    timers: APIClient, unknown: str
) -> None:
    post_json(timers, "/insert", TIMER)

    answer = post_json(timers, "/delete", {"id": unknown})

    assert (answer.status_code, answer.content) == (200, b"")
    assert Task.objects.get().ended_at is None


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": 7}, {"id": ["x"]}, []])
def test_an_id_is_a_string(timers: APIClient, body: object) -> None:
    assert post_json(timers, "/delete", body).status_code == 400


def test_a_foreign_timer_is_not_cancelled(
    timers: APIClient, beta_api: APIClient
) -> None:
    new = post_json(timers, "/insert", TIMER).json()["id"]

    assert post_json(beta_api, "/delete", {"id": new}).status_code == 200

    assert Task.objects.get().ended_at is None


def test_the_crons_are_replaced_as_a_set(
    timers: APIClient, beta_api: APIClient
) -> None:
    post_json(beta_api, "/cron", {"jobs": [{"id": "theirs", "spec": "@daily"}]})
    post_json(timers, "/cron", {"jobs": CRONS})
    kept = Task.objects.get(name="hello_world")

    new = [
        CRONS[0],
        {"id": "hello_world_2", "spec": "@hourly"},
        {"id": "3", "spec": "@every 90s"},
    ]
    answer = post_json(timers, "/cron", {"jobs": new})

    assert (answer.status_code, answer.content) == (200, b"")
    assert names() == {"theirs", "hello_world", "hello_world_2", "3"}
    changed = Task.objects.get(name="hello_world_2", ended_at=None)
    assert (changed.periodic_task.crontab.minute, changed.cron_seconds) == ("0", "")
    # What stays as it is stays in its place.
    assert Task.objects.get(name="hello_world") == kept
    assert json.loads(kept.body) == {"id": "", "cron_id": "hello_world"}
    assert (kept.cron_seconds, kept.misfire) == ("30", "skip")


def test_every_counts_from_when_it_was_set(timers: APIClient) -> None:
    before = timezone.now()
    post_json(timers, "/cron", {"jobs": [{"id": "a", "spec": "@every 90s"}]})

    first = Task.objects.get().next_fire_at

    post_json(timers, "/cron", {"jobs": [{"id": "a", "spec": "@every 90s"}]})
    assert first is not None
    assert timedelta(seconds=90) <= first - before <= timedelta(seconds=95)
    assert Task.objects.get().next_fire_at == first


def test_a_zone_may_stand_before_the_expression(timers: APIClient) -> None:
    spec = "CRON_TZ=Asia/Kathmandu 30 6 * * *"
    post_json(timers, "/cron", {"jobs": [{"id": "a", "spec": spec}]})

    due = Task.objects.get().next_fire_at
    assert due is not None
    # Kathmandu is 5:45 ahead.
    assert (due.hour, due.minute) == (0, 45)


def test_an_empty_set_clears(timers: APIClient) -> None:
    post_json(timers, "/insert", TIMER)
    post_json(timers, "/cron", {"jobs": CRONS})

    assert post_json(timers, "/cron", {"jobs": []}).status_code == 200

    assert names() == set()
    # Timers are no crons.
    assert Task.objects.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "jobs"),
        ([], "object"),
        ({"jobs": None}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"jobs": "x"}, "jobs"),
        ({"jobs": [*CRONS, 7]}, "jobs[2]"),
        ({"jobs": [*CRONS, {"id": "x"}]}, "jobs[2].spec"),
        ({"jobs": [*CRONS, {"spec": "@daily"}]}, "jobs[2].id"),
        ({"jobs": [*CRONS, {"id": "", "spec": "@daily"}]}, "jobs[2].id"),
        ({"jobs": [*CRONS, {"id": "hello_world", "spec": "@daily"}]}, "jobs[2].id"),
        ({"jobs": [{"id": "x", "spec": "* * *"}]}, "jobs[0].spec"),
        ({"jobs": [{"id": "x", "spec": "CRON_TZ=Mars/Base * * * * *"}]}, "jobs[0].spec"),
        ({"jobs": [{"id": "x", "spec": "@every 0s"}]}, "jobs[0].spec"),
        ({"jobs": [{"id": "x", "spec": None}]}, "jobs[0].spec"),
    ],
)  # fmt: skip
def test_a_bad_entry_leaves_the_old_set(
    timers: APIClient, body: object, named: str
) -> None:
    post_json(timers, "/cron", {"jobs": CRONS})

    answer = post_json(timers, "/cron", body)

    assert answer.status_code == 400
    assert named in answer.content.decode()
    assert names() == {"hello_world", "hello_world_2"}


def test_ten_thousand_crons_are_replaced_by_ten_thousand(timers: APIClient) -> None:
    def crons(prefix: str) -> dict[str, Any]:
        return {
            "jobs": [
                {"id": f"{prefix}{n}", "spec": f"{n % 60} {n % 24} * * {n % 7}"}
                for n in range(10_000)
            ]
        }

    assert post_json(timers, "/cron", crons("a")).status_code == 200
    assert post_json(timers, "/cron", crons("b")).status_code == 200

    assert Task.objects.filter(ended_at=None).count() == 10_000
    assert not Task.objects.filter(ended_at=None, name__startswith="a").exists()


@pytest.mark.parametrize("path", ["/insert", "/delete", "/cron"])
@pytest.mark.parametrize("secret", ["", "wrong", "xxxxxx", " XXXXXX x"])
def test_a_wrong_secret_opens_nothing(
    timers: APIClient, path: str, secret: str
) -> None:
    answer = client(secret).post(path, {}, format="json")

    assert (answer.status_code, answer.content) == (401, b"Unauthorized")
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/insert", "/delete", "/cron"])
def test_no_secret_opens_nothing(
    timers: APIClient, path: str, settings: LazySettings
) -> None:
    # A tenant without a secret is not the tenant of those who send none.
    Tenant.objects.create(name="Secretless")
    settings.SCHEDULER_ANONYMOUS_TENANT = "Secretless"

    assert APIClient().post(path, {}, format="json").status_code == 401


@pytest.mark.parametrize("path", ["/insert", "/delete", "/cron"])
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods_are_not_allowed(
    timers: APIClient, path: str, method: str
) -> None:
    assert getattr(timers, method)(path).status_code == 405


def test_a_tenant_without_an_endpoint_sets_no_timers(db: None) -> None:
    accounts.configure_tenant("Alpha", shared_secret=SECRET)

    answers = [
        post_json(client(SECRET), "/insert", TIMER),
        post_json(client(SECRET), "/cron", {"jobs": CRONS}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert all("endpoint" in answer.content.decode() for answer in answers)
    assert not Task.objects.exists()


def test_the_environment_gives_the_default_tenant(
    transactional_db: None, settings: LazySettings
) -> None:
    settings.SECRET, settings.ENDPOINT = "from-the-environment", ENDPOINT

    for _ in range(2):
        call_command("migrate", verbosity=0)

    assert (
        post_json(client("from-the-environment"), "/insert", TIMER).status_code == 200
    )
    assert Task.objects.get().tenant.name == "default"


@given(st.integers(0, 2**48 - 1))
def test_ids_are_as_good_as_those_they_stand_for(milliseconds: int) -> None:
    moment = datetime.fromtimestamp(min(milliseconds, 253402300799999) / 1000, tz=UTC)

    task = id_for(moment, 0)

    assert task_id(timer_id(task)) == task


def test_ids_are_different() -> None:
    assert len({timer_id(new_id()) for _ in range(1000)}) == 1000


def test_a_set_that_goes_takes_its_waiting_runs_along(timers: APIClient) -> None:
    post_json(timers, "/cron", {"jobs": CRONS})
    task = Task.objects.get(name="hello_world")
    past = timezone.now() - timedelta(minutes=1)
    run = Run.objects.create(
        id=new_id(), task=task, tenant=task.tenant, scheduled_for=past, wake_at=past
    )

    post_json(timers, "/cron", {"jobs": []})

    run.refresh_from_db()
    assert run.state == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_a_large_set_does_not_read_a_table_for_each_of_its_crons(
    timers: APIClient,
) -> None:
    def sequential_scans() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT seq_scan FROM pg_stat_user_tables"
                " WHERE relname = 'django_celery_beat_periodictask'"
            )
            return int(cursor.fetchone()[0])

    def replace(*names: str) -> None:
        jobs = [{"id": name, "spec": "0 0 * * *"} for name in names]
        assert post_json(timers, "/cron", {"jobs": jobs}).status_code == 200

    # A small table, whose foreign keys this session has made plans for.
    replace("a")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE django_celery_beat_periodictask")
    for name in "bcdefghij":
        replace(name)
    before = sequential_scans()

    replace(*[f"c{number}" for number in range(2000)])

    assert sequential_scans() - before < 100
