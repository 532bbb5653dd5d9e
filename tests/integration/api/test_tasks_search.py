"""The list of tasks finds parts of names, hosts and tags, and shows last outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts import encryption
from accounts import services as accounts
from accounts.models import Role, User
from tasks_api.domain.guard import host_of
from tasks_api.domain.states import RunState
from tasks_api.services import listing
from tasks_api.storage.task_columns import HOST
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_runs import hourly_task, store_run

pytestmark = pytest.mark.django_db(transaction=True)

SECRET_URL = "https://ann:hunter2@Api.Example.com:8443/tok?x=@hunter3#@hunter4"


def found(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [task["id"] for task in answer.json()["tasks"]]


def test_a_search_finds_parts_of_names_hosts_and_tags_in_any_case(
    api: APIClient, make_task: MakeTask, stranger: User
) -> None:
    named = make_task(name="Reports/Nightly Österreich")
    tagged = make_task(tags=("billing", "EU-west"))
    hosted = make_task(url=encryption.seal_url(SECRET_URL))
    make_task(stranger, name="nightly", url="https://api.example.com/")

    assert found(api.get("/tasks/?search=nightly")) == [str(named.pk)]
    assert found(api.get("/tasks/?search=ÖSTER")) == [str(named.pk)]
    assert found(api.get("/tasks/?search=u-W")) == [str(tagged.pk)]
    assert found(api.get("/tasks/?search=API.example.com:84")) == [str(hosted.pk)]
    assert found(api.get("/tasks/?search=nothing")) == []
    assert found(api.get("/tasks/?search=%25")) == []
    assert found(api.get("/tasks/?search=billing&tag=EU-west")) == [str(tagged.pk)]
    assert found(api.get("/tasks/?search=billing&state=paused")) == []


@pytest.mark.parametrize("text", ["ann", "hunter", "tok", "https", "@", "enc"])
def test_a_search_finds_no_secret_of_a_url(
    api: APIClient, make_task: MakeTask, text: str
) -> None:
    make_task(url=encryption.seal_url(SECRET_URL))
    make_task(url=SECRET_URL)

    assert found(api.get("/tasks/", {"search": text})) == []


@pytest.mark.parametrize(
    "url",
    [
        SECRET_URL,
        encryption.seal_url(SECRET_URL),
        "http://a.example",
        "http://a@b@c.example:1/@d",
        "http://[::1]:80?@x",
        "",
    ],
)
def test_the_host_in_sql_is_that_of_the_guard(make_task: MakeTask, url: str) -> None:
    task = make_task(url=url)
    with connection.cursor() as cursor:
        statement = (
            f"SELECT coalesce({HOST}, '') FROM tasks_api_task task WHERE id = %s"  # noqa: S608 (a constant)
        )
        cursor.execute(statement, [task.pk])
        assert cursor.fetchone() == (host_of(url),)


def test_a_search_reads_a_bounded_number_of_tasks_at_once(
    api: APIClient, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_task(name=f"job {number}") for number in range(9)]
    monkeypatch.setattr(listing, "MAX_ROWS_SEARCHED", 4)

    answer = api.get("/tasks/?search=job+8")
    pages = 1
    while answer.json()["next_cursor"]:
        assert found(answer) == []
        answer = api.get(f"/tasks/?search=job+8&cursor={answer.json()['next_cursor']}")
        pages += 1

    assert found(answer) == [str(made[8].pk)]
    assert pages == 3


@pytest.mark.parametrize(
    "query", ["search=", "search=%00", "outcomes=51", "outcomes=x"]
)
def test_a_bad_search_is_refused(api: APIClient, query: str) -> None:
    answer = api.get(f"/tasks/?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


def test_a_list_shows_the_last_outcomes_of_each_task(
    api: APIClient, user: User, colleague: User, client_for: ClientFor
) -> None:
    many, none = hourly_task(user), hourly_task(user)
    runs = [store_run(many, ago=ago, state=RunState.SUCCEEDED) for ago in range(1, 25)]
    boss = client_for(accounts.change_user(colleague, role=Role.ADMIN))

    plain = api.get("/tasks/").json()["tasks"]
    shown = api.get("/tasks/?outcomes=20").json()["tasks"]
    paged = boss.get("/tasks/?outcomes=2&owner=all&cursor=").json()["tasks"]

    assert all("outcomes" not in task for task in plain)
    assert [run["run_id"] for run in shown[0]["outcomes"]] == [
        str(run.pk) for run in runs[:20]
    ]
    assert {run["state"] for run in shown[0]["outcomes"]} == {"succeeded"}
    assert (shown[1]["id"], shown[1]["outcomes"]) == (str(none.pk), [])
    assert len(paged[0]["outcomes"]) == 2


def test_outcomes_take_one_statement_for_a_page(api: APIClient, user: User) -> None:
    for _ in range(5):
        store_run(hourly_task(user), ago=3)
    api.get("/tasks/?outcomes=20")

    counts = []
    for query in ("", "?outcomes=20"):
        with CaptureQueriesContext(connection) as captured:
            api.get(f"/tasks/{query}")
        counts.append(len(captured))

    assert counts[1] == counts[0] + 1


def test_outcomes_that_were_read_can_be_sent_back(
    api: APIClient, make_task: MakeTask
) -> None:
    task = make_task()
    store_run(task)
    [shown] = api.get("/tasks/?outcomes=1").json()["tasks"]

    answer = api.patch(f"/tasks/id/{task.pk}", shown, format="json")

    assert len(shown["outcomes"]) == 1
    assert answer.status_code == 200, answer.json()
