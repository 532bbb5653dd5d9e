"""Many tasks are changed by one request, as its plan says: all of them or none."""

from __future__ import annotations

import copy
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from tasks_api.api.tasks.request_fields import open_headers
from tasks_api.domain.request_options import parse_options
from tasks_api.domain.specs import RequestOptions
from tasks_api.models import Task
from tasks_api.services import task_selection
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.tasks_surface import created
from tests.integration.support.threads import is_a_lock_awaited, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

BILLING = {"tag": "billing"}
CRON = {"task_type": "periodic", "cron": "0 6 * * *"}


def change(api: APIClient, wanted: dict[str, Any], **body: Any) -> Any:
    request = {"filter": BILLING, "set": wanted, **body}
    return api.post("/tasks/change/", request, format="json")


def apply_change(api: APIClient, wanted: dict[str, Any], **body: Any) -> Any:
    """Plan a change and do it; the answer."""
    plan = change(api, wanted, dry_run=True, **body)
    assert plan.status_code == 200, plan.content
    done = change(api, wanted, hash=plan.json()["hash"], **body)
    if done.status_code == 200:
        assert done.json()["tasks"] == plan.json()["tasks"]
    return done


def headers_of(task_id: str) -> dict[str, str]:
    stored = Task.objects.get(pk=task_id).request
    options = parse_options(stored) if stored else RequestOptions()
    return open_headers(options) if options.sealed_values else {}


def make(api: APIClient, name: str, **fields: Any) -> str:
    body = {**CRON, "url": "https://a.example/x?y#z", "tags": ["billing"]}
    return str(created(api, {**body, "name": name, **fields})["id"])


def test_one_secret_is_replaced_in_all_tasks_that_keep_the_others(
    api: APIClient,
) -> None:
    ids = [
        make(api, "one", headers={"X-Key": "old", "X-Other": "kept"}),
        make(api, "two", headers={"x-key": "older"}),
        make(api, "three"),
    ]
    other = make(api, "other", tags=["else"], headers={"X-Key": "old"})

    answer = apply_change(api, {"set_headers": {"X-Key": "n3w"}})

    assert answer.status_code == 200
    assert [headers_of(each) for each in ids] == [
        {"X-Key": "n3w", "X-Other": "kept"},
        {"x-key": "n3w"},
        {"X-Key": "n3w"},
    ]
    assert headers_of(other) == {"X-Key": "old"}
    shown = answer.json()
    assert (shown["count"], shown["changed"]) == (3, 3)
    redacted = {"X-Key": "[redacted]", "X-Other": "[redacted]"}
    assert shown["tasks"][0]["changes"] == {
        "headers": {"from": redacted, "to": redacted}
    }
    # Wherever it is written down, the secret is not.
    entry = AuditEntry.objects.get(action="task.change")
    for text in (answer.content.decode(), json.dumps(entry.changes)):
        assert "n3w" not in text
        assert "old" not in text


def test_a_null_removes_a_header(api: APIClient) -> None:
    task = make(api, "one", headers={"X-Key": "old", "X-Other": "kept"})

    apply_change(api, {"set_headers": {"x-KEY": None}})
    assert headers_of(task) == {"X-Other": "kept"}
    apply_change(api, {"set_headers": {"X-Other": None, "X-Unknown": None}})
    assert headers_of(task) == {}


def test_fields_of_a_patch_and_parts_of_fields_change_together(api: APIClient) -> None:
    first, second = make(api, "one"), make(api, "two", tags=["billing", "slow"])

    answer = apply_change(
        api,
        {
            "timeout_seconds": 7,
            "retry": {"max_attempts": 3},
            "misfire": "skip",
            "expected_status": "200-299",
            "spread": 60,
            "add_tags": ["eu", "billing"],
            "remove_tags": ["slow"],
            "url_host": "b.example:8443",
        },
    )

    assert answer.status_code == 200, answer.content
    for task_id in (first, second):
        shown = api.get(f"/tasks/{task_id}").json()
        assert shown["url"] == "https://b.example:8443/x?y#z"
        assert shown["tags"] == ["billing", "eu"]
        assert shown["timeout_seconds"] == 7
        assert shown["misfire"] == "skip"
        assert shown["retry"]["max_attempts"] == 3
        assert shown["spread"] == 60
    assert api.get("/tasks/", {"tag": "slow"}).json()["tasks"] == []
    assert len(api.get("/tasks/", {"tag": "eu"}).json()["tasks"]) == 2


def test_what_is_so_already_is_not_written(api: APIClient) -> None:
    first, second = make(api, "one", timeout_seconds=7), make(api, "two")
    before = Task.objects.get(pk=first).version

    answer = apply_change(api, {"timeout_seconds": 7})

    assert (answer.json()["count"], answer.json()["changed"]) == (2, 1)
    assert [task["id"] for task in answer.json()["tasks"]] == [second]
    assert Task.objects.get(pk=first).version == before
    assert AuditEntry.objects.get(action="task.change").changes == {
        "filter": [None, BILLING],
        "count": [None, 1],
    }


def test_a_plan_changes_nothing(api: APIClient) -> None:
    make(api, "one", headers={"X-Key": "old"})
    before = list(Task.objects.values())

    assert change(api, {"set_headers": {"X-Key": "n3w"}}, dry_run=True).json()[
        "dry_run"
    ]

    assert list(Task.objects.values()) == before
    assert not AuditEntry.objects.filter(action="task.change").exists()


def test_a_change_takes_the_hash_of_its_plan(api: APIClient) -> None:
    task = make(api, "one")
    wanted = {"timeout_seconds": 7}
    plan = change(api, wanted, dry_run=True).json()["hash"]

    assert "Missing key: hash" in change(api, wanted).content.decode()
    assert change(api, {"timeout_seconds": 8}, hash=plan).status_code == 409
    api.patch(f"/tasks/{task}", {"spread": 5}, format="json")
    assert change(api, wanted, hash=plan).status_code == 409
    assert "timeout_seconds" not in api.get(f"/tasks/{task}").json()


def test_firing_does_not_change_a_plan(api: APIClient) -> None:
    make(api, "one")
    plan = change(api, {"timeout_seconds": 7}, dry_run=True).json()["hash"]
    Task.objects.update(last_fire_at=timezone.now())

    assert change(api, {"timeout_seconds": 7}, hash=plan).status_code == 200


def test_a_change_that_is_invalid_for_one_task_refuses_all(api: APIClient) -> None:
    make(api, "url")
    queue = make(api, "queue", url=None, queue="jobs")
    wanted = {"retry": {"max_attempts": 2}, "add_tags": ["x"]}

    answer = change(api, wanted, dry_run=True)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert [task["id"] for task in error["tasks"]] == [queue]
    assert error["tasks"][0]["field"] == "retry"
    assert "queue: Invalid value of retry" in error["message"]
    assert api.get("/tasks/", {"tag": "x"}).json()["tasks"] == []


def test_hidden_credentials_do_not_move_to_another_host(api: APIClient) -> None:
    make(api, "one", url="https://ann:s3cret@a.example/x")

    answer = change(api, {"url_host": "evil.example"}, dry_run=True)

    assert answer.status_code == 400
    assert "credentials" in answer.json()["error"]["message"]
    assert "s3cret" not in answer.content.decode()


def test_an_answer_is_replayed_with_its_key(api: APIClient) -> None:
    make(api, "one")
    body: dict[str, Any] = {"filter": BILLING, "set": {"timeout_seconds": 7}}
    plan = api.post("/tasks/change/", {**body, "dry_run": True}, format="json").json()
    body["hash"] = plan["hash"]

    answers = [
        api.post("/tasks/change/", body, format="json", HTTP_IDEMPOTENCY_KEY="k")
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


def test_too_many_tasks_are_refused(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_selection, "MAX_TASKS", 2)
    for index in range(3):
        make(api, f"task {index}")

    answer = change(api, {"timeout_seconds": 7}, dry_run=True)

    assert answer.status_code == 400
    assert "narrow it" in answer.json()["error"]["message"]


def test_tasks_of_others_are_not_found(
    api: APIClient, colleague: User, make_task: MakeTask
) -> None:
    make_task(colleague, tags=("billing",))

    assert change(api, {"timeout_seconds": 7}, dry_run=True).json()["count"] == 0


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "an object with a field to change"),
        ([], "an object with a field to change"),
        (None, "an object with a field to change"),
        ({"name": "a"}, "Unknown field: set.name"),
        ({"paused": True}, "Unknown field: set.paused"),
        ({"timeout": 7}, "Did you mean set.timeout_seconds?"),
        ({"headers": {}, "set_headers": {}}, "either set_headers or headers"),
        ({"tags": [], "add_tags": []}, "either add_tags or tags"),
        ({"url": "https://a.example/", "url_host": "b"}, "either url_host or url"),
        ({"set_headers": []}, "set_headers"),
        ({"set_headers": {"X-Key": 7}}, "set_headers"),
        ({"set_headers": {"X-Key": "[redacted]"}}, "instead of a value"),
        ({"set_headers": {"X Key": "a"}}, "has a name that is not a header's"),
        ({"set_headers": {"Host": "a"}}, "which the service sets itself"),
        ({"set_headers": {"X-Key": "a\r\nb"}}, "printable ASCII"),
        ({"set_headers": {"X-A": "1", "x-a": "2"}}, "set_headers"),
        ({"add_tags": "a"}, "add_tags"),
        ({"add_tags": [""]}, "tags"),
        ({"remove_tags": [7]}, "remove_tags"),
        ({"url_host": ""}, "url"),
        ({"url_host": 7}, "url_host"),
        ({"url_host": "a.example/b"}, "url_host"),
        ({"url_host": "ann:x@a.example"}, "url_host"),
        ({"url_host": "127.0.0.1"}, "url"),
        ({"url_host": "169.254.169.254"}, "url"),
        ({"url": "ftp://a.example"}, "url"),
        ({"timeout_seconds": "long"}, "timeout_seconds"),
        ({"dst": {"gap": "x"}}, "dst"),
    ],
)
def test_a_wrong_change_is_named_and_nothing_changes(
    api: APIClient, wanted: Any, message: str
) -> None:
    make(api, "one", headers={"X-Key": "old"})
    before = list(Task.objects.values())

    answer = change(api, wanted, dry_run=True)

    assert answer.status_code == 400, answer.content
    assert message in answer.json()["error"]["message"]
    assert list(Task.objects.values()) == before


def test_two_changes_at_once_are_done_one_after_the_other(
    api: APIClient, user: User, client_for: ClientFor
) -> None:
    for index in range(20):
        make(api, f"task {index}", headers={"X-Key": "old"})
    wanted = {"set_headers": {"X-Key": "n3w"}, "add_tags": ["done"]}
    plan = change(api, wanted, dry_run=True).json()["hash"]

    statuses = run_in_threads(
        2, lambda: change(client_for(user), wanted, hash=plan).status_code
    )

    assert sorted(statuses) == [200, 409]
    assert Task.objects.filter(version=2).count() == 20


def test_a_change_that_dies_midway_leaves_nothing(
    api: APIClient, user: User, client_for: ClientFor
) -> None:
    """Its connection dies while it waits for one of the tasks."""
    ids = [make(api, f"task {index}") for index in range(3)]
    wanted = {"timeout_seconds": 7}
    plan = change(api, wanted, dry_run=True).json()["hash"]
    before = list(Task.objects.order_by("pk").values())
    statuses: list[int] = []

    def work() -> None:
        caller = client_for(user)
        caller.raise_request_exception = False
        try:
            statuses.append(change(caller, wanted, hash=plan).status_code)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM tasks_api_task WHERE id = %s FOR UPDATE", [ids[-1]])
        thread.start()
        while not is_a_lock_awaited():
            pass
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        thread.join()

    assert statuses == [500]
    assert list(Task.objects.order_by("pk").values()) == before
    assert change(api, wanted, hash=plan).json()["changed"] == 3


@pytest.mark.parametrize("number", [2, 12])
def test_the_statements_do_not_grow_with_the_tasks(api: APIClient, number: int) -> None:
    for index in range(number):
        make(api, f"task {index}")
    wanted = {"set_headers": {"X-Key": "n3w"}, "add_tags": ["x"], "spread": 60}
    with CaptureQueriesContext(connection) as found:
        change(api, wanted, dry_run=True)

    assert len(found) < 45


# A model of headers and tags that shares nothing with the code.

NAMES = st.sampled_from(["X-A", "x-a", "X-B", "X-C"])
VALUES = st.sampled_from(["1", "2", "long value"])


def unique_headers(values: Any) -> Any:
    return st.dictionaries(NAMES, values, max_size=3).filter(
        lambda headers: len({name.lower() for name in headers}) == len(headers)
    )


def replace_headers(
    headers: dict[str, str], wanted: dict[str, str | None]
) -> dict[str, str]:
    kept = copy.copy(headers)
    for name, value in wanted.items():
        same = [each for each in kept if each.lower() == name.lower()]
        for each in same:
            if value is None:
                del kept[each]
            else:
                kept[each] = value
        if not same and value is not None:
            kept[name] = value
    return kept


@given(
    st.lists(unique_headers(VALUES), min_size=1, max_size=4),
    unique_headers(st.one_of(st.none(), VALUES)).filter(bool),
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_headers_change_as_the_model_says(
    api: APIClient, stored: list[dict[str, str]], wanted: dict[str, str | None]
) -> None:
    ids = [
        make(api, f"task {index}", headers=headers or None)
        for index, headers in enumerate(stored)
    ]
    try:
        answer = apply_change(api, {"set_headers": wanted})

        expected = [replace_headers(headers, wanted) for headers in stored]
        assert [headers_of(each) for each in ids] == expected
        differing = sum(a != b for a, b in zip(stored, expected, strict=True))
        assert answer.json()["changed"] == differing
    finally:
        for each in ids:
            api.delete(f"/tasks/{each}")


def test_a_schedule_changes_for_all_and_their_next_runs_with_it(api: APIClient) -> None:
    make(api, "one")
    make(api, "two")

    answer = apply_change(api, {"cron": "30 7 * * *", "timezone": "Europe/Berlin"})

    assert answer.json()["changed"] == 2
    for task in answer.json()["tasks"]:
        assert task["changes"]["cron"] == {"from": "0 6 * * *", "to": "30 7 * * *"}
        assert task["fire_times_before"] != task["fire_times_after"]
    assert Task.objects.filter(
        next_fire_at__gt=timezone.now() + timedelta(days=2)
    ).count() == (0)
