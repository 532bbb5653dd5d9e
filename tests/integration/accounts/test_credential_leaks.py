"""Credentials in a URL, of whatever format, reach its target and are nowhere else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import Role, Scope, User
from tasks_api.models import Run, Task
from tasks_api.worker import failure_log, flower_events
from tasks_api.worker.engine import Engine
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC
from tests.integration.support.url_credentials import (
    PASSWORD_MARK,
    all_rows_as_text,
    basic_header,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a shared secret that is long enough"


def store_by_all_formats(api: APIClient, url: Callable[[str], str]) -> None:
    """A task by each way in; `url` makes the target of each, which names the way."""

    def post(path: str, body: Any, **more: Any) -> Any:
        answer = api.post(path, body, format="json", **more)
        assert answer.status_code in {200, 201, 202}, answer.content
        return answer

    failing = {"pause_after_failures": 1, "name": "failing"}
    post("/tasks/", {**PERIODIC, "url": url("created"), **failing})
    post("/tasks/preview/", {**ONE_TIME, "url": url("preview"), "n": 1})
    bulk = [{**ONE_TIME, "url": url("bulk")}]
    post("/tasks/bulk/", bulk, HTTP_IDEMPOTENCY_KEY="once")
    changed = post("/tasks/", ONE_TIME).json()["id"]
    patched = api.patch(f"/tasks/id/{changed}", {"url": url("patched")}, format="json")
    assert patched.status_code == 200
    for name in ("created", "replaced"):
        put = {**ONE_TIME, "url": url(f"put-{name}")}
        answer = api.put("/tasks/by-name/put", put, format="json")
        assert answer.status_code in {200, 201}
    declared = {**ONE_TIME, "name": "declared", "url": url("applied")}
    for dry_run in (True, False):
        body = {"tag": "t", "tasks": [declared], "dry_run": dry_run}
        post("/tasks/apply/", body, HTTP_IDEMPOTENCY_KEY=f"{dry_run}")
    job = {"id": "job", "cron": "@daily", "payload": {}, "endpoint": url("cron-job")}
    post("/", job)
    rest = {"method": "POST", "uri": url("rest-job"), "body": {}}
    rest |= {"expected_range": "100-399"}
    post("/api/v1/jobs", {"task": rest, "schedule": "2090-01-01"})
    accounts.configure_tenant(
        "Alpha",
        callback_url=url("timers"),
        notification_url=url("notices"),
        shared_secret=SECRET,
    )
    timer = {"timestamp": "2090-01-01T00:00:00Z", "body": {}}
    named = APIClient()
    named.credentials(HTTP_SCHEDULER_SECRET=SECRET)
    assert named.post("/insert", timer, format="json").status_code == 200


WAYS = (
    "created", "bulk", "patched", "put-replaced", "applied", "cron-job", "rest-job",
    "timers", "notices",
)  # fmt: skip


def answers(reader: APIClient, admin: APIClient) -> str:
    """All that can be read of it by the API."""
    paths = ["/tasks/", "/tasks/?limit=100&cursor=", "/runs/", "/runs/?notice=true"]
    for task_id in Task.objects.values_list("pk", flat=True):
        paths += [f"/tasks/id/{task_id}", f"/tasks/{task_id}/next/"]
        paths += [f"/tasks/{task_id}/account/", f"/tasks/{task_id}/runs/"]
        paths += [f"/api/v1/jobs/{task_id}"]
    paths += [f"/tasks/by-name/{name}" for name in ("put", "declared", "failing")]
    paths += [f"/runs/{run_id}/" for run_id in Run.objects.values_list("pk", flat=True)]
    found = [reader.get(path) for path in paths]
    assert {answer.status_code for answer in found} == {200, 404}
    assert b"http://***@" in found[0].content
    audit = admin.get("/audit/?limit=1000")
    assert audit.status_code == 200
    return "\n".join(answer.content.decode() for answer in [*found, audit])


def pages(staff: Client) -> str:
    """All that the admin shows of it."""
    texts = []
    for name in (
        "tasks_api_task", "tasks_api_run", "accounts_tenant", "accounts_auditentry",
        "django_celery_beat_periodictask",
    ):  # fmt: skip
        page = reverse(f"admin:{name}_changelist")
        listed = staff.get(page)
        rows = listed.context["cl"].result_list
        change = f"admin:{name}_change"
        details = [staff.get(reverse(change, args=[row.pk])) for row in rows]
        assert {answer.status_code for answer in [listed, *details]} == {200}
        found = staff.get(page, {"q": PASSWORD_MARK})
        assert not list(found.context["cl"].result_list), name
        texts += [answer.content.decode() for answer in [listed, *details]]
    return "\n".join(texts)


def test_credentials_in_a_url_are_nowhere_but_on_the_wire(
    user: User,
    client: Client,
    client_for: ClientFor,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    settings: LazySettings,
    json_log: StringIO,
) -> None:
    settings.SCHEDULER_MIN_FREQUENCY = 3600
    host = receiver.url.removeprefix("http://")
    receiver.answer("/created", status=500)

    with transaction.atomic():
        store_by_all_formats(
            client_for(user), lambda way: f"http://ann:{PASSWORD_MARK}@{host}/{way}"
        )
        Task.objects.filter(ended_at=None).update(next_fire_at=timezone.now())
    engine.ring()
    told = recorded.wait_for(len(WAYS))
    failure_log.log_failures(told)

    arrived = {each.path: each.headers["authorization"] for each in receiver.requests}
    assert arrived == {f"/{way}": basic_header(f"ann:{PASSWORD_MARK}") for way in WAYS}
    reader = APIClient()
    reader.credentials(
        HTTP_AUTHORIZATION=f"Bearer {accounts.issue_token(user, scope=Scope.READ)}"
    )
    accounts.change_user(user, role=Role.ADMIN)
    client.force_login(User.objects.create_superuser("root", password="x"))
    for where in (
        all_rows_as_text(),
        answers(reader, client_for(user)),
        pages(client),
        flower_events.encode_events(told, "worker@here"),
        json_log.getvalue(),
        repr(list(Task.objects.all())),
    ):
        assert where
        assert PASSWORD_MARK not in where
        assert base64.b64encode(f"ann:{PASSWORD_MARK}".encode()).decode() not in where
