"""Credentials in a URL reach its target, and are shown and stored in clear nowhere."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import transaction
from rest_framework.test import APIClient

from accounts import encryption
from accounts.models import User
from tasks_api.models import Run, Task
from tasks_api.worker.engine import Engine
from tests.conftest import ClientFor
from tests.integration.conftest import ResultLog
from tests.integration.support.due_tasks import create_due_task, use_secret_keys
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    PERIODIC,
    actions_of,
    apply_tasks,
    created,
)
from tests.integration.support.url_credentials import (
    PASSWORD_MARK,
    URL_AS_SHOWN,
    URL_WITH_CREDENTIALS,
    all_rows_as_text,
    basic_header,
)
from tests.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)


SECRET = "a shared secret that is long enough"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL_WITH_CREDENTIALS, URL_AS_SHOWN),
        ("HTTP://sch_0123@Example.com", "HTTP://***@Example.com"),
        ("http://:@example.com/", "http://***@example.com/"),
        ("http://us%EF%BC%83er:p!$'*@example.com/", "http://***@example.com/"),
        ("http://a:b@[2606:4700::1111]:8/?q=x@y#z@", "http://***@[2606:4700::1111]:8/?q=x@y#z@"),
        ("http://example.com/a@b", "http://example.com/a@b"),
        ("http://example.com?a=http://u:p@h/", "http://example.com?a=http://u:p@h/"),
    ],
)  # fmt: skip
def test_only_the_credentials_of_a_url_are_hidden(
    api: APIClient, url: str, shown: str
) -> None:
    assert created(api, {**ONE_TIME, "url": url})["url"] == shown

    stored = Task.objects.get().url
    assert (stored == url) is (shown == url)
    assert encryption.open_url(stored) == url


def test_a_header_of_its_own_takes_the_place_of_credentials_in_the_url(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    url = receiver.url.replace("://", "://ann:p%40ss@")
    create_due_task(local, f"{url}/job", headers={"authorization": "Bearer own"})
    create_due_task(local, f"{url}/other")

    engine.ring()
    recorded.wait_for(2)

    sent_with = {r.path: r.headers["authorization"] for r in receiver.requests}
    assert sent_with == {"/job": "Bearer own", "/other": basic_header("ann:p@ss")}


# What was read can be sent back.


@pytest.mark.parametrize("way", ["patch", "put", "apply"])
def test_a_task_that_is_sent_back_as_it_was_shown_keeps_its_credentials(
    api: APIClient, way: str
) -> None:
    apply_tasks(api, [{**PERIODIC, "name": "a", "url": URL_WITH_CREDENTIALS}])
    before = Task.objects.get()
    shown = {**api.get("/tasks/by-name/a").json(), "post_data": {"new": 1}}
    del shown["next_run_datetime"]

    send_back(api, way, shown)

    after = Task.objects.get()
    assert (after.url, after.version) == (before.url, before.version + 1)
    assert json.loads(after.body) == {"new": 1}
    assert encryption.open_url(after.url) == URL_WITH_CREDENTIALS


def send_back(api: APIClient, way: str, task: dict[str, Any]) -> Any:
    if way == "patch":
        return api.patch(f"/tasks/id/{task['id']}", task, format="json")
    if way == "put":
        return api.put("/tasks/by-name/a", task, format="json")
    body = {name: value for name, value in task.items() if name != "id"}
    return apply_tasks(api, [body])


@pytest.mark.parametrize("way", ["patch", "put", "apply"])
def test_hidden_credentials_do_not_follow_to_another_url(
    api: APIClient, way: str
) -> None:
    apply_tasks(api, [{**PERIODIC, "name": "a", "url": URL_WITH_CREDENTIALS}])
    shown = api.get("/tasks/by-name/a").json()
    before = all_rows_as_text()

    answer = send_back(api, way, {**shown, "url": "https://***@evil.example/"})

    assert answer.status_code == 400
    assert "has *** in the place of its credentials" in str(answer.json())
    assert "url" in str(answer.json())
    assert all_rows_as_text() == before


@pytest.mark.parametrize("way", ["put", "apply"])
def test_the_same_credentials_again_are_no_change_and_others_are(
    api: APIClient, way: str
) -> None:
    task = {**PERIODIC, "name": "a", "url": URL_WITH_CREDENTIALS}
    apply_tasks(api, [task])
    before = Task.objects.get()

    same = send_back(api, way, {**task, "tags": ["web"]})
    unchanged = Task.objects.get()
    other = URL_WITH_CREDENTIALS.replace(PASSWORD_MARK, "other")
    planned = apply_tasks(api, [{**task, "url": other}], dry_run=True)
    send_back(api, way, {**task, "tags": ["web"], "url": other})

    assert same.status_code == 200
    assert (unchanged.url, unchanged.version) == (before.url, before.version)
    assert actions_of(planned) == {"a": "change"}
    [step] = planned.json()["tasks"]
    assert step["changes"] == {"url": {"from": URL_AS_SHOWN, "to": URL_AS_SHOWN}}
    assert encryption.open_url(Task.objects.get().url) == other


def test_a_change_of_something_else_leaves_the_credentials(api: APIClient) -> None:
    task = created(api, {**ONE_TIME, "url": URL_WITH_CREDENTIALS})
    before = Task.objects.get().url

    api.patch(f"/tasks/id/{task['id']}", {"post_data": {"x": 1}}, format="json")

    assert Task.objects.get().url == before


# What is refused.

REDACTED_IN: dict[str, tuple[str, str, Any]] = {
    "tasks": ("/tasks/", "url", {**ONE_TIME}),
    "cron jobs": ("/", "endpoint", {"id": "a", "cron": "@daily", "payload": {}}),
}


@pytest.mark.parametrize("way", REDACTED_IN)
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://***@example.com/", "has *** in the place"),
        (f"http://ann:{PASSWORD_MARK}@127.0.0.1/", "Loopback"),
        (f"http://ann:{PASSWORD_MARK}@exa mple.com/", "white space"),
        (f"http://ann:{PASSWORD_MARK}%00@example.com/", "control character"),
        (f"ftp://ann:{PASSWORD_MARK}@example.com/", "absolute"),
        (f"http://ann:{PASSWORD_MARK}@b@example.com/", "absolute"),
        (f"http://ann:{PASSWORD_MARK}@example.com:99999/", "port"),
        (f"http://ann:{PASSWORD_MARK}@example.com/{'x' * 3000}", "longer"),
    ],
)  # fmt: skip
def test_a_url_that_is_refused_is_not_repeated(
    api: APIClient, json_log: StringIO, way: str, url: str, why: str
) -> None:
    path, field, body = REDACTED_IN[way]

    answer = api.post(path, {**body, field: url}, format="json")

    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert why in answer.content.decode()
    assert (
        PASSWORD_MARK
        not in answer.content.decode() + all_rows_as_text() + json_log.getvalue()
    )


def test_hidden_credentials_are_no_target_of_a_rest_job(api: APIClient) -> None:
    task = {"method": "GET", "uri": "http://***@e.org/", "body": {}}
    job = {"task": {**task, "expected_range": "200-299"}, "schedule": "now"}

    answer = api.post("/api/v1/jobs", job, format="json")

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (400, "task.uri")


def test_a_run_whose_credentials_cannot_be_opened_fails_with_that_reason(
    local: APIClient,
    receiver: Receiver,
    engine: Engine,
    recorded: ResultLog,
    settings: LazySettings,
) -> None:
    url = receiver.url.replace("://", "://ann:never-sent@") + "/job"
    with transaction.atomic():
        task = create_due_task(local, url, is_periodic=True)
        use_secret_keys(settings, "a-key-that-knows-nothing", [])

    engine.ring()
    recorded.wait_for(1)
    shown = local.get(f"/tasks/id/{task.pk}").json()
    kept = local.patch(f"/tasks/id/{task.pk}", {"url": shown["url"]}, format="json")
    other = local.patch(f"/tasks/id/{task.pk}", {"url": url}, format="json")

    assert Run.objects.get().reason == (
        "could not be built: SECRET_KEY does not open the credentials in its URL"
    )
    assert receiver.requests == []
    assert kept.status_code == 400
    assert "cannot be read any more; give it anew" in str(kept.json())
    assert other.status_code == 200


def test_a_target_that_is_gone_ends_its_task_though_its_url_was_sealed_anew(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    receiver.answer("/job", status=410, delay=0.5)
    url = receiver.url.replace("://", f"://ann:{PASSWORD_MARK}@") + "/job"
    task = create_due_task(local, url, retry={}, is_periodic=True)
    engine.ring()
    receiver.wait_for(1)
    Task.objects.filter(pk=task.pk).update(url=encryption.seal_url(url))

    recorded.wait_for(1)

    task.refresh_from_db()
    assert task.end_reason == "gone (HTTP 410)"


@pytest.fixture
def local(user: User, client_for: ClientFor, settings: LazySettings) -> APIClient:
    """Alpha's user, who may have targets on loopback called."""
    settings.SCHEDULER_ALLOW_PRIVATE_TARGETS = True
    settings.SCHEDULER_MIN_FREQUENCY = 4
    return client_for(user)


def test_what_looks_like_ciphertext_is_sealed_like_anything_else(
    local: APIClient, receiver: Receiver, engine: Engine, recorded: ResultLog
) -> None:
    """Or whoever came by a ciphertext could have it opened, and sent to themselves."""
    stolen = encryption.encrypt("the secret of somebody else")
    receiver.answer("/job")
    create_due_task(local, receiver.url.replace("://", f"://{stolen}@") + "/job")

    engine.ring()
    recorded.wait_for(1)

    [request] = receiver.wait_for(1)
    assert request.headers["authorization"] == basic_header(f"{stolen}:")
