"""A tenant stores and asks for no more than its quotas allow, and is told what is left."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import request_counts, services
from accounts.models import Plan, Tenant, User
from scheduler_service.db import clock
from tasks_api.models import Message, Task
from tasks_api.storage import day_counts
from tests.integration.support.threads import run_in_threads
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db

URL = "https://api.example.com/hooks/a"


def one_time(**more: Any) -> dict[str, Any]:
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    return {"task_type": "one_time", "run_datetime": at, "url": URL, **more}


def set_quotas(tenant: Tenant, **quotas: Any) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(**quotas)


@pytest.fixture
def caller(user: User) -> APIClient:
    return client_with_token(user)


def rest_job() -> dict[str, Any]:
    task = {"method": "POST", "uri": URL, "body": {"a": 1}, "expected_range": "200-299"}
    return {"task": task, "schedule": one_time()["run_datetime"]}


def cron_job(name: str) -> dict[str, Any]:
    return {"id": name, "endpoint": URL, "cron": "0 * * * *", "payload": {"a": 1}}


def test_no_more_tasks_are_stored_than_the_quota(
    caller: APIClient, alpha: Tenant, stranger: User
) -> None:
    set_quotas(alpha, max_tasks=3)
    two = {"tasks": [one_time(name="a"), one_time(name="b")]}
    assert caller.post("/tasks/bulk/", two, format="json").status_code == 201

    refused = [
        caller.post("/tasks/bulk/", {"tasks": [one_time(), one_time()]}, format="json"),
        caller.post(
            "/tasks/apply/",
            {"tag": "t", "tasks": [one_time(name="c"), one_time(name="d")]},
            format="json",
        ),
    ]

    for answer in refused:
        assert answer.status_code == 403
        error = answer.json()["error"]
        assert (error["code"], error["limit"]) == ("quota_exceeded", "tasks")
        assert "Retry-After" not in answer
    assert Task.objects.count() == 2
    third = caller.put("/tasks/by-name/c/", one_time(), format="json")
    assert third.status_code == 201
    change = caller.put("/tasks/by-name/c/", one_time(method="PUT"), format="json")
    assert change.status_code == 200
    assert client_with_token(stranger).post("/tasks/", one_time(), format="json")
    caller.delete(third["Location"])
    assert caller.post("/tasks/", one_time(), format="json").status_code == 201


def test_every_format_refuses_in_its_own_shape(
    caller: APIClient, alpha: Tenant
) -> None:
    services.configure_tenant(
        alpha.name, callback_url=URL, shared_secret="a secret of many characters"
    )
    caller.post("/tasks/", one_time(), format="json")
    caller.post("/", cron_job("there"), format="json")
    set_quotas(alpha, max_tasks=2)
    secret: dict[str, Any] = {"HTTP_SCHEDULER_SECRET": "a secret of many characters"}

    texts = [
        caller.post("/", cron_job("new"), format="json"),
        caller.post(
            "/insert",
            {"timestamp": one_time()["run_datetime"], "body": 1},
            format="json",
            **secret,
        ),
        caller.post(
            "/cron",
            {"jobs": [{"id": "a", "spec": "@daily"}]},
            format="json",
            **secret,
        ),
    ]
    job = caller.post("/api/v1/jobs", rest_job(), format="json")

    for answer in texts:
        assert (answer.status_code, b"2 tasks" in answer.content) == (403, True)
        assert answer["Content-Type"].startswith("text/plain")
    assert job.status_code == 403
    assert "2 tasks" in job.json()["message"]
    assert Task.objects.count() == 2
    # What is there may be replaced.
    assert caller.post("/", cron_job("there"), format="json").status_code == 202


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_time_do_not_squeeze_in(
    caller: APIClient, alpha: Tenant
) -> None:
    set_quotas(alpha, max_tasks=5)

    answers = run_in_threads(
        8, partial(caller.post, "/tasks/", one_time(), format="json")
    )

    assert sorted(each.status_code for each in answers) == [201] * 5 + [403] * 3
    assert Task.objects.count() == 5


def test_a_payload_is_no_larger_than_the_quota(
    caller: APIClient, alpha: Tenant
) -> None:
    set_quotas(alpha, max_payload_bytes=30)
    large = {"a": "x" * 30}
    small = caller.post("/tasks/", one_time(post_data={}), format="json")["Location"]
    message = {"id": "a", "queue": "q", "timeout": 1, "payload": large}

    answers = [
        caller.post("/tasks/", one_time(post_data=large), format="json"),
        caller.patch(small, {"post_data": large}, format="json"),
        caller.post("/", {**cron_job("a"), "payload": large}, format="json"),
        caller.post("/enqueue", message, format="json"),
        caller.post("/enqueue/batch", [message], format="json"),
    ]

    assert [each.status_code for each in answers] == [403] * 5
    assert Task.objects.count() == 1
    assert not Message.objects.exists()


def test_requests_beyond_the_minutes_quota_wait_for_the_next(
    caller: APIClient, alpha: Tenant, user: User
) -> None:
    set_quotas(alpha, max_requests_per_minute=3)

    answers = [caller.get("/tasks/") for _ in range(5)]

    # The minute may change before any of them.
    statuses = [each.status_code for each in answers]
    assert statuses in (
        [200, 200, 200, 429, 429],
        [200, 200, 200, 200, 429],
        [200] * 5,
        [200, 200, 200, 429, 200],
    )
    first, last = answers[0], answers[3]
    assert first["RateLimit-Policy"] == '"tenant";q=3;w=60'
    assert first["RateLimit"].startswith('"tenant";r=2;t=')
    if last.status_code == 429:
        assert 1 <= int(last["Retry-After"]) <= 60
        assert last["RateLimit"].startswith('"tenant";r=0;t=')
        error = last.json()["error"]
        assert (error["code"], error["limit"]) == (
            "quota_exceeded",
            "requests_per_minute",
        )
        assert error["until"]


def test_who_has_no_quota_gets_no_headers(caller: APIClient) -> None:
    answer = caller.get("/tasks/")

    assert "RateLimit" not in answer
    assert "RateLimit-Policy" not in answer


def test_a_lost_redis_closes_no_door(
    caller: APIClient, alpha: Tenant, settings: LazySettings
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    set_quotas(alpha, max_requests_per_minute=1000)

    answers = [caller.get("/tasks/") for _ in range(3)]

    assert [each.status_code for each in answers] == [200] * 3
    assert answers[2]["RateLimit"].startswith('"tenant";r=99')
    assert request_counts.count_request(["x"], request_counts.minute_of(clock.now()))


def test_usage_names_each_quota(caller: APIClient, alpha: Tenant) -> None:
    plan = Plan.objects.create(name="starter", max_tasks=10, max_runs_per_day=50)
    set_quotas(alpha, plan=plan, max_tasks=20, max_requests_per_minute=100)
    caller.post("/tasks/", one_time(), format="json")
    day_counts.add_runs({alpha.pk: 7})

    shown = caller.get("/usage/").json()

    assert shown["plan"] == "starter"
    assert shown["token"] is None
    quotas = {each.pop("quota"): each for each in shown["quotas"]}
    assert quotas["tasks"] == {"limit": 20, "used": 1, "resets_at": None}
    runs = quotas["runs_per_day"]
    assert (runs["limit"], runs["used"]) == (50, 7)
    assert runs["resets_at"].endswith("T00:00:00Z")
    assert quotas["payload_bytes"] == {"limit": None, "used": None, "resets_at": None}
    assert quotas["requests_per_minute"]["limit"] == 100
    assert quotas["requests_per_minute"]["used"] >= 1


def test_who_stores_a_task_is_told_that_its_runs_will_wait(
    caller: APIClient, alpha: Tenant
) -> None:
    set_quotas(alpha, max_runs_per_day=5)
    first = caller.post("/tasks/", one_time(), format="json")
    day_counts.add_runs({alpha.pk: 5})

    answers = [
        caller.post("/tasks/", one_time(), format="json"),
        caller.post("/", cron_job("a"), format="json"),
        caller.post("/api/v1/jobs", rest_job(), format="json"),
    ]

    assert "X-Quota-Warning" not in first
    for answer in answers:
        assert answer.status_code < 300
        assert answer["X-Quota-Warning"].startswith("runs_per_day: 5 of 5 used")


def test_a_command_gives_a_tenant_a_plan(alpha: Tenant) -> None:
    Plan.objects.create(name="starter", max_tasks=7)

    services.configure_tenant(alpha.name, plan="starter")
    alpha.refresh_from_db()
    assert alpha.plan is not None
    assert alpha.plan.name == "starter"
    with pytest.raises(services.AccountError, match="no plan other"):
        services.configure_tenant(alpha.name, plan="other")
    call_command("configure_tenant", alpha.name, plan="")
    alpha.refresh_from_db()
    assert alpha.plan is None
