"""Tasks by declaration: what a plan says is what is done, all of it or nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import ClockedSchedule
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from tasks_api.models import Task
from tests.conftest import ClientFor
from tests.integration.support.tasks_surface import (
    ONE_TIME,
    PERIODIC,
    actions_of,
    apply_tasks,
    created,
    error,
)

A = {**PERIODIC, "name": "a"}


B = {**ONE_TIME, "name": "b"}


def stored_tasks() -> list[tuple[Any, ...]]:
    rows = Task.objects.order_by("pk").select_related("periodic_task")
    return [
        (row.pk, row.version, row.ended_at, row.next_fire_at, row.periodic_task.enabled)
        for row in rows
    ]


def test_a_list_is_made_and_made_again_without_a_change(api: APIClient) -> None:
    first = apply_tasks(api, [A, {**B, "paused": True}])
    before = stored_tasks()
    second = apply_tasks(api, [A, {**B, "paused": True}])

    assert actions_of(first) == {"a": "create", "b": "create"}
    assert actions_of(second) == {"a": "keep", "b": "keep"}
    assert stored_tasks() == before
    shown = api.get("/tasks/?tag=web").json()["tasks"]
    assert [task["name"] for task in shown] == ["a", "b"]
    assert [task["next_run_datetime"] for task in shown] == [
        "2090-12-05 08:00:00",
        None,
    ]
    assert second.json()["counts"]["keep"] == 2


def test_each_task_is_created_changed_paused_resumed_deleted_or_kept(
    api: APIClient,
) -> None:
    names = ["changed", "paused", "resumed", "kept", "deleted"]
    tasks = {name: {**PERIODIC, "name": name} for name in names}
    tasks["resumed"]["paused"] = True
    apply_tasks(api, list(tasks.values()))
    tasks["changed"] |= {"frequency": 7200, "tags": ["x"]}
    tasks["paused"]["paused"] = True
    tasks["resumed"]["paused"] = False
    del tasks["deleted"]
    tasks["created"] = {**ONE_TIME, "name": "created"}

    planned = apply_tasks(api, list(tasks.values()), dry_run=True).json()
    done = apply_tasks(api, list(tasks.values()), plan=planned["plan"])

    assert actions_of(done) == {
        "changed": "change",
        "paused": "pause",
        "resumed": "resume",
        "kept": "keep",
        "created": "create",
        "deleted": "delete",
    }
    by_name = {step["name"]: step for step in done.json()["tasks"]}
    assert by_name["changed"]["changes"] == {
        "frequency": {"from": 3601, "to": 7200},
        "tags": {"from": ["web"], "to": ["web", "x"]},
    }
    assert by_name["changed"]["fire_times_before"][1] == "2090-12-05T09:00:01Z"
    assert by_name["changed"]["fire_times_after"][1] == "2090-12-05T10:00:00Z"
    assert by_name["paused"]["fire_times_after"] == []
    assert by_name["paused"]["changes"] == {"paused": {"from": False, "to": True}}
    assert by_name["created"]["fire_times_after"] == ["2090-12-05T08:00:00Z"]
    assert by_name["deleted"]["fire_times_after"] == []
    # The plan said the same, but for the id that it could not know.
    for step in (*planned["tasks"], *done.json()["tasks"]):
        step["id"] = None
    assert planned["tasks"] == done.json()["tasks"]


def test_a_dry_run_stores_nothing(api: APIClient) -> None:
    apply_tasks(api, [A, B])
    before, entries = stored_tasks(), AuditEntry.objects.count()

    planned = apply_tasks(
        api, [{**A, "frequency": 7200}, {**B, "name": "c"}], dry_run=True
    )

    assert actions_of(planned) == {"a": "change", "c": "create", "b": "delete"}
    assert planned.json()["tasks"][1]["id"] is None
    assert stored_tasks() == before
    assert AuditEntry.objects.count() == entries


def test_a_plan_that_is_another_one_by_now_is_not_applied(api: APIClient) -> None:
    apply_tasks(api, [A])
    tasks = [{**A, "frequency": 7200}]
    plan = apply_tasks(api, tasks, dry_run=True).json()["plan"]
    task = api.get("/tasks/by-name/a").json()
    api.post(f"/tasks/{task['id']}/pause/")
    before = stored_tasks()

    stale = apply_tasks(api, tasks, plan=plan)
    other = apply_tasks(api, [A], plan=plan)

    assert stale.status_code == other.status_code == 412
    assert stale.json() == error("The plan is another one now; look at it again")
    assert stored_tasks() == before


def test_what_was_changed_elsewhere_shows_in_the_plan(api: APIClient) -> None:
    apply_tasks(api, [{**A, "paused": False}])
    task = api.get("/tasks/by-name/a").json()
    api.patch(f"/tasks/id/{task['id']}", {"post_data": {"x": 1}}, format="json")
    api.post(f"/tasks/{task['id']}/pause/")

    [step] = apply_tasks(api, [{**A, "paused": False}], dry_run=True).json()["tasks"]

    assert step["action"] == "change"
    assert step["changes"]["post_data"]["from"] == {"x": 1}
    assert step["changes"]["paused"] == {"from": True, "to": False}


def test_other_values_of_headers_are_a_change_that_nobody_is_shown(
    api: APIClient,
) -> None:
    apply_tasks(api, [{**A, "headers": {"X-Key": "one"}}])

    same = apply_tasks(api, [{**A, "headers": {"X-Key": "one"}}])
    slower = apply_tasks(
        api, [{**A, "headers": {"X-Key": "one"}, "timeout_seconds": 9}]
    )
    other = apply_tasks(api, [{**A, "headers": {"X-Key": "two"}, "timeout_seconds": 9}])

    assert actions_of(same) == {"a": "keep"}
    assert list(slower.json()["tasks"][0]["changes"]) == ["timeout_seconds"]
    redacted = {"X-Key": "[redacted]"}
    assert other.json()["tasks"][0]["changes"] == {
        "headers": {"from": redacted, "to": redacted}
    }


def test_a_bad_task_in_a_list_changes_nothing(api: APIClient) -> None:
    apply_tasks(api, [A])
    before = stored_tasks()

    answer = apply_tasks(
        api, [{**B, "url": "ftp://x"}, {**B, "name": "c", "frequency": "x"}]
    )

    assert answer.status_code == 400
    [bad] = answer.json()["error"]["tasks"]
    assert (bad["index"], bad["field"]) == (0, "url")
    assert stored_tasks() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tag": ""}, "tag"),
        ({"tag": 7}, "tag"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": None}, "tasks"),
        ({"tasks": [7]}, "body"),
        ({"tasks": [{}]}, "name"),
        ({"tasks": [A, A]}, "name"),
        ({"tasks": [{**A, "paused": 1}]}, "paused"),
        ({"tasks": [{**A, "tags": "x"}]}, "tags"),
        ({"dry_run": 1}, "dry_run"),
        ({"plan": 1}, "plan"),
    ],
)
def test_what_cannot_be_read_is_named(
    api: APIClient, changes: dict[str, Any], field: str
) -> None:
    answer = api.post("/tasks/apply/", {"tag": "x", "tasks": [], **changes}, "json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_what_is_over_is_nothing_to_do(api: APIClient) -> None:
    past = {**ONE_TIME, "name": "past", "run_datetime": "2020-01-01T00:00:00Z"}

    answer = apply_tasks(api, [past])

    assert actions_of(answer) == {"past": "over"}
    assert not Task.objects.exists()


def test_a_task_of_that_name_joins_and_one_of_a_colleague_does_not(
    api: APIClient, colleague: User, client_for: ClientFor
) -> None:
    mine = created(api, A)
    created(client_for(colleague), {**B, "tags": ["web"]})

    joined = apply_tasks(api, [A])
    taken = apply_tasks(api, [A, B])

    assert joined.json()["tasks"][0]["changes"] == {
        "tags": {"from": None, "to": ["web"]}
    }
    assert joined.json()["tasks"][0]["id"] == mine["id"]
    assert taken.status_code == 403
    assert taken.json()["error"]["tasks"][0]["index"] == 1
    assert Task.objects.filter(ended_at=None).count() == 2


def test_the_tag_of_another_user_is_another_tag(
    api: APIClient, stranger: User, client_for: ClientFor
) -> None:
    apply_tasks(api, [A])

    assert actions_of(apply_tasks(client_for(stranger), [])) == {}
    assert actions_of(apply_tasks(client_for(stranger), [A])) == {"a": "create"}


def test_the_log_names_what_was_done(api: APIClient) -> None:
    apply_tasks(api, [A, B])
    apply_tasks(api, [{**A, "frequency": 7200}, {**B, "name": "c", "paused": True}])
    apply_tasks(api, [{**A, "frequency": 7200}, {**B, "name": "c", "paused": True}])

    logged = AuditEntry.objects.order_by("at", "pk").values_list("action", flat=True)

    found = [action for action in logged if action.startswith("task.")]
    assert sorted(found) == [
        "task.change",
        "task.create",
        "task.create",
        "task.pause",
        "task.remove",
    ]


def test_a_request_repeated_under_its_key_is_done_once(api: APIClient) -> None:
    plan = apply_tasks(api, [A], dry_run=True).json()["plan"]
    body = {"tag": "web", "tasks": [A], "plan": plan}

    first, second = [
        api.post("/tasks/apply/", body, "json", headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]

    assert first.json() == second.json()
    assert actions_of(second) == {"a": "create"}


MANY_CHANGES: list[dict[str, Any]] = [
    {},
    {"paused": True},
    {"url": "http://example.com/other", "tags": ["x"]},
    {"frequency": 7200},
    {"task_type": "one_time", "run_datetime": "2090-12-05 08:00:00"},
]


@pytest.mark.parametrize("changes", MANY_CHANGES)
def test_many_tasks_cost_as_many_statements_as_few(
    api: APIClient, changes: dict[str, Any]
) -> None:
    def statements(count: int) -> int:
        tasks = [{**PERIODIC, "name": str(n)} for n in range(count)]
        apply_tasks(api, tasks)
        with CaptureQueriesContext(connection) as made:
            answer = apply_tasks(api, [{**task, **changes} for task in tasks])
        assert set(actions_of(answer).values()) < {"keep", "pause", "change"}
        return len(made)

    # Those that the first one makes are there for the others.
    statements(1)
    assert statements(3) == statements(30)


def test_one_time_tasks_are_moved_with_their_moments(api: APIClient) -> None:
    tasks = [{**ONE_TIME, "name": str(n)} for n in range(3)]
    apply_tasks(api, tasks)
    moments = ClockedSchedule.objects.count()

    moved = [{**task, "run_datetime": "2091-01-01T00:00:00Z"} for task in tasks]
    assert set(actions_of(apply_tasks(api, moved)).values()) == {"change"}
    again = apply_tasks(api, moved)

    assert set(actions_of(again).values()) == {"keep"}
    shown = api.get("/tasks/?tag=web").json()["tasks"]
    assert {task["next_run_datetime"] for task in shown} == {"2091-01-01 00:00:00"}
    assert ClockedSchedule.objects.count() == moments


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_it_once(user: User, client_for: ClientFor) -> None:
    tasks = [{**PERIODIC, "name": f"task {n}"} for n in range(20)]
    clients = [client_for(user) for _ in range(4)]
    start = threading.Barrier(len(clients))

    def declare(api: APIClient) -> Any:
        try:
            start.wait(timeout=10)
            return apply_tasks(api, tasks)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(declare, clients))

    counts = [answer.json()["counts"] for answer in answers]
    assert sorted(count["create"] for count in counts) == [0, 0, 0, 20]
    assert sorted(count["keep"] for count in counts) == [0, 20, 20, 20]
    assert Task.objects.count() == 20
