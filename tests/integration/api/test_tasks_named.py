"""Tasks by the names that their owners gave them: put, read, removed, and free again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import connections
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import User
from tasks_api.models import Task
from tasks_api.services import admin_edits
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.tasks_surface import ONE_TIME, PERIODIC, created, error

TAKEN = error("A task with this name exists already")


def path(name: str) -> str:
    return f"/tasks/by-name/{quote(name, safe='')}"


def test_a_name_and_tags_are_shown_as_they_were_given(api: APIClient) -> None:
    shown = created(api, {**ONE_TIME, "name": "daily", "tags": ["b", "a", "b"]})

    assert (shown["name"], shown["tags"]) == ("daily", ["b", "a"])


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": 7},
        {"name": "x" * 256},
        {"tags": "a"},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": ["x" * 101]},
        {"tags": [str(n) for n in range(51)]},
        {"tags": {"a": 1}},
    ],
)
def test_bad_names_and_tags_are_refused(
    api: APIClient, fields: dict[str, object]
) -> None:
    answer = api.post("/tasks/", {**ONE_TIME, **fields}, format="json")

    [name] = fields
    message = answer.json()["error"]["message"]
    assert answer.status_code == 400
    assert message.startswith(f"Invalid value of {name}.")


def test_a_name_is_for_one_living_task_of_the_tenant(
    api: APIClient, colleague: User, stranger: User, client_for: ClientFor
) -> None:
    body = {**ONE_TIME, "name": "one"}
    first = created(api, body)

    again = api.post("/tasks/", body, format="json")
    of_colleague = client_for(colleague).post("/tasks/", body, format="json")
    of_stranger = client_for(stranger).post("/tasks/", body, format="json")
    api.delete(f"/tasks/{first['id']}")
    after = api.post("/tasks/", body, format="json")

    assert (again.status_code, again.json()) == (409, TAKEN)
    assert (of_colleague.status_code, of_stranger.status_code) == (409, 201)
    assert after.status_code == 201


NAMES = ["daily", "a/b", "a//b/", "50%", "%2F", "ä ☃ 𝄞", "id", "a\nb", "a?b#c", " "]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_put_read_and_removed_by_any_name(api: APIClient, name: str) -> None:
    # A slash at the end is the path's, unless there is one more.
    at = path(name) + ("/" if name.endswith("/") else "")

    new = api.put(at, PERIODIC, format="json")
    again = api.put(at, {**PERIODIC, "frequency": 7200}, format="json")
    read = api.get(at)
    removed = api.delete(at)

    assert (new.status_code, again.status_code) == (201, 200)
    assert new.json()["name"] == name
    assert again.json() == {**new.json(), "frequency": 7200}
    assert again["Location"] == new["Location"] == f"/tasks/{new.json()['id']}"
    assert (read.status_code, read.json()) == (200, again.json())
    assert removed.json() == {"message": "Task has been removed successfully"}
    assert api.get(at).status_code == 404


def test_a_put_that_says_the_same_changes_nothing(
    api: APIClient, make_task: MakeTask
) -> None:
    new = api.put(path("a"), PERIODIC, format="json")

    again = api.put(path("a"), PERIODIC, format="json")

    assert (again.status_code, again["ETag"]) == (200, new["ETag"])


def test_a_put_may_say_a_start_that_has_passed_if_it_is_the_same(
    api: APIClient,
) -> None:
    api.put(path("a"), PERIODIC, format="json")
    start = timezone.now() - timedelta(hours=1)
    Task.objects.get().periodic_task.__class__.objects.update(start_time=start)
    admin_edits.sync_admin_edits([Task.objects.get().pk])
    body = {**PERIODIC, "start_datetime": start.isoformat()}

    same = api.put(path("a"), {**body, "post_data": {"b": 2}}, format="json")
    other = api.put(
        path("a"),
        {**body, "start_datetime": (start - timedelta(hours=1)).isoformat()},
        format="json",
    )

    assert (same.status_code, other.status_code) == (200, 400)
    assert same.json()["post_data"] == {"b": 2}


def test_a_paused_task_that_is_put_stays_paused(api: APIClient) -> None:
    task = api.put(path("a"), PERIODIC, format="json").json()
    api.post(f"/tasks/{task['id']}/pause/")

    again = api.put(path("a"), {**PERIODIC, "frequency": 7200}, format="json")

    assert again.json()["next_run_datetime"] is None
    assert again.json()["frequency"] == 7200


def test_a_put_of_an_every_expression_keeps_its_grid(api: APIClient) -> None:
    body = {"task_type": "periodic", "cron": "@every 2h", "url": "http://a.example/"}
    new = api.put(path("a"), body, format="json")

    again = api.put(path("a"), body, format="json")

    assert (again.json(), again["ETag"]) == (new.json(), new["ETag"])


def test_a_name_belongs_to_its_owner(
    api: APIClient, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    make_task(colleague, name="hers")

    put = api.put(path("hers"), PERIODIC, format="json")
    read, removed = api.get(path("hers")), api.delete(path("hers"))

    assert (put.status_code, read.status_code, removed.status_code) == (403, 404, 403)


def test_a_path_names_the_same_task_as_its_body(api: APIClient) -> None:
    same = api.put(path("a"), {**PERIODIC, "name": "a"}, format="json")
    other = api.put(path("a"), {**PERIODIC, "name": "b"}, format="json")

    assert (same.status_code, other.status_code) == (201, 400)


def test_a_nul_in_a_path_is_refused(api: APIClient) -> None:
    answers = [
        getattr(api, method)("/tasks/by-name/a%00") for method in ("get", "delete")
    ]
    answers.append(api.put("/tasks/by-name/a%00", PERIODIC, format="json"))

    assert {answer.status_code for answer in answers} == {400}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(10) as pool:
        yield pool


@pytest.mark.django_db(transaction=True)
def test_a_hundred_puts_of_a_name_at_once_make_one_task(
    user: User, api: APIClient, threads: ThreadPoolExecutor
) -> None:
    authorization = f"Bearer {accounts.issue_token(user)}"

    def put(number: int) -> int:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=authorization)
        body = {**PERIODIC, "post_data": {"n": number}}
        try:
            return int(client.put(path("one"), body, format="json").status_code)
        finally:
            connections.close_all()

    statuses = sorted(threads.map(put, range(100)))

    assert statuses == [200] * 99 + [201]
    assert Task.objects.count() == 1
    assert api.get("/tasks/").json()["count"] == 1
