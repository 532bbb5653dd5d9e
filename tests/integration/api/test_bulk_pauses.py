"""Tasks of a filter are paused and resumed together, after a plan."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts import services as accounts
from accounts.models import AuditEntry, Role, User
from tasks_api.domain.schedules import Interval
from tasks_api.domain.timestamps import format_timestamp
from tasks_api.models import Task
from tasks_api.services import pausing, task_selection
from tests.conftest import ClientFor, MakeTask
from tests.integration.support.stored_runs import hourly_task
from tests.integration.support.threads import is_a_lock_awaited, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "the billing database moves"


def pause(api: APIClient, filter: dict[str, Any], **body: Any) -> Any:
    return api.post("/tasks/pause/", {"filter": filter, **body}, format="json")


def resume(api: APIClient, filter: dict[str, Any], **body: Any) -> Any:
    return api.post("/tasks/resume/", {"filter": filter, **body}, format="json")


def paused_names() -> set[str]:
    return set(Task.objects.filter(is_paused=True).values_list("name", flat=True))


def names_of(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.content
    return {task["name"] for task in answer.json()["tasks"]}


@pytest.fixture
def billing(make_task: MakeTask) -> list[Task]:
    """Two tasks of a tag, and one without it."""
    make_task(name="other")
    return [make_task(name=name, tags=("billing",)) for name in ("a", "b")]


@pytest.mark.usefixtures("billing")
def test_a_plan_changes_nothing_and_its_hash_does_what_it_says(api: APIClient) -> None:
    plan = pause(api, {"tag": "billing"}, dry_run=True)

    assert names_of(plan) == {"a", "b"}
    body = plan.json()
    assert (body["count"], body["has_more"], body["dry_run"]) == (2, False, True)
    assert body["message"] == "Nothing was changed"
    assert paused_names() == set()

    done = pause(api, {"tag": "billing"}, hash=body["hash"])
    assert done.json() == {
        **body,
        "message": "Tasks have been successfully paused",
        "dry_run": False,
    }
    assert paused_names() == {"a", "b"}


def test_another_set_than_in_the_plan_is_refused(
    api: APIClient, billing: list[Task], make_task: MakeTask
) -> None:
    plan = pause(api, {"tag": "billing"}, dry_run=True).json()["hash"]
    make_task(name="new", tags=("billing",))

    answer = pause(api, {"tag": "billing"}, hash=plan)

    assert answer.status_code == 409
    assert "another one now" in answer.json()["error"]["message"]
    assert paused_names() == set()


@pytest.mark.usefixtures("billing")
def test_the_hash_of_another_request_is_refused(api: APIClient) -> None:
    plan = pause(api, {"tag": "billing"}, dry_run=True).json()["hash"]

    assert pause(api, {"tag": "billing"}, reason="x", hash=plan).status_code == 409
    assert resume(api, {"tag": "billing"}, hash=plan).status_code == 409
    assert paused_names() == set()


@pytest.mark.usefixtures("billing")
def test_a_pause_has_a_reason_and_an_end_and_a_repeat_passes_over_it(
    api: APIClient,
) -> None:
    hold = {
        "reason": REASON,
        "until": format_timestamp(timezone.now() + timedelta(hours=1)),
        "catch_up": "latest",
    }

    assert pause(api, {"tag": "billing"}, **hold).json()["count"] == 2
    assert pause(api, {"tag": "billing"}, **hold).json()["count"] == 0
    assert pause(api, {"tag": "billing"}).json()["count"] == 0
    assert pause(api, {"tag": "billing"}, reason="another").json()["count"] == 2

    shown = api.get("/tasks/", {"tag": "billing"}).json()["tasks"]
    assert [task["pause_reason"] for task in shown] == ["another"] * 2
    assert not any("catch_up" in task for task in shown)
    assert resume(api, {"tag": "billing"}).json()["count"] == 2
    assert resume(api, {"tag": "billing"}).json()["count"] == 0
    assert paused_names() == set()


@pytest.mark.usefixtures("billing")
def test_one_entry_says_how_the_tasks_were_chosen(api: APIClient) -> None:
    pause(api, {"tag": "billing"})
    resume(api, {"tag": "billing"})

    for action in ("task.pause", "task.resume"):
        entry = AuditEntry.objects.get(action=action)
        assert len(entry.object_ids or ()) == 2
        assert entry.changes == {
            "filter": [None, {"tag": "billing"}],
            "count": [None, 2],
        }


def test_a_task_catches_up_only_if_the_request_says_so(
    api: APIClient, user: User
) -> None:
    task = hourly_task(user)
    pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())

    assert resume(api, {"state": "paused"}, catch_up="all").status_code == 200
    for way in ("resume", "pause"):
        answer = api.post(f"/tasks/{task.pk}/{way}/", {"catch_up": "all"}, "json")
        assert answer.status_code == 200
    assert api.get(f"/tasks/{task.pk}").json()["catch_up"] == "all"
    by_id = {"ids": [str(task.pk)], "catch_up": "none"}
    assert api.post("/tasks/resume/", by_id, format="json").status_code == 200
    assert "catch_up" not in api.get(f"/tasks/{task.pk}").json()


def test_more_than_a_batch_takes_several_calls(
    api: APIClient, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_selection, "MAX_TASKS", 3)
    monkeypatch.setattr(task_selection, "ROWS_EXAMINED", 2)
    for index in range(7):
        make_task(name=f"task {index}", tags=("many",))

    pages = [pause(api, {"tag": "many"}).json() for _ in range(3)]

    assert [page["count"] for page in pages] == [3, 3, 1]
    assert [page["has_more"] for page in pages] == [True, True, False]
    assert len(paused_names()) == 7
    two = resume(api, {"tag": "many"}, limit=2).json()
    assert (two["count"], two["has_more"]) == (2, True)


def test_a_member_reaches_own_tasks_and_an_admin_those_of_all(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    make_task(name="mine", tags=("t",))
    make_task(colleague, name="theirs", tags=("t",))
    api = client_for(user)

    assert pause(api, {"tag": "t"}).json()["count"] == 1
    everybody = {"tag": "t", "owner": "all"}
    assert pause(api, everybody).status_code == 403
    assert paused_names() == {"mine"}

    accounts.change_user(colleague, role=Role.ADMIN)
    admin = client_for(colleague)
    assert names_of(pause(admin, {"tag": "t"}, dry_run=True)) == {"theirs"}
    assert names_of(pause(admin, everybody)) == {"theirs"}
    assert names_of(resume(admin, everybody)) == {"mine", "theirs"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"filter": {}}, "It should have a condition"),
        ({"filter": {"tag": None}}, "It should have a condition"),
        ({"filter": []}, "It should be an object"),
        ({"filter": None}, "It should be an object"),
        ({"filter": {"tagg": "a"}}, "Unknown field: filter.tagg. Did you mean"),
        ({"filter": {"name": 7}}, "filter.name"),
        ({"filter": {"name": "\0"}}, "NUL"),
        ({"filter": {"name": "x" * 256}}, "name"),
        ({"filter": {"tag": []}}, "filter.tag"),
        ({"filter": {"tag": [7]}}, "filter.tag"),
        ({"filter": {"tag": {"a": 1}}}, "filter.tag"),
        ({"filter": {"state": "broken"}}, "state"),
        ({"filter": {"created_after": "soon"}}, "created_after"),
        ({"filter": {"tag": "a"}, "ids": ["a"]}, "Unknown field: ids"),
        ({"filter": {"tag": "a"}, "hash": 7}, "hash"),
        ({"filter": {"tag": "a"}, "dry_run": "yes"}, "dry_run"),
        ({"filter": {"tag": "a"}, "limit": 0}, "limit"),
        ({"filter": {"tag": "a"}, "limit": 10_001}, "limit"),
        ({"filter": {"tag": "a"}, "catch_up": "some"}, "catch_up"),
        ({"filter": {"tag": "a"}, "catch_up": ["all"]}, "catch_up"),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_wrong_request_is_named(
    api: APIClient, verb: str, body: dict[str, Any], message: str
) -> None:
    answer = api.post(f"/tasks/{verb}/", body, format="json")

    assert answer.status_code == 400, answer.content
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("number", [2, 12])
def test_the_statements_do_not_grow_with_the_tasks(
    api: APIClient, make_task: MakeTask, number: int
) -> None:
    for _ in range(number):
        make_task(tags=("t",))
    with CaptureQueriesContext(connection) as found:
        pause(api, {"tag": "t"})
        resume(api, {"tag": "t"})

    assert len(found) < 60


def test_two_at_once_pause_each_task_once(
    user: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    for index in range(30):
        make_task(name=f"task {index}", tags=("t",))

    counts = run_in_threads(
        3, lambda: pause(client_for(user), {"tag": "t"}).json()["count"]
    )

    assert sum(counts) == 30
    assert len(paused_names()) == 30


# A model of the filters that shares nothing with their SQL.


class Sample(NamedTuple):
    name: str
    tags: tuple[str, ...]
    host: str
    is_periodic: bool
    is_paused: bool

    def is_wanted(self, wanted: dict[str, Any]) -> bool:
        parts = [self.name, self.host, *self.tags]
        checks: dict[str, Callable[[Any], bool]] = {
            "name": lambda value: self.name == value,
            "name_prefix": lambda value: self.name.startswith(value),
            "host": lambda value: (
                value.lower()
                in (self.host.lower(), self.host.lower().partition(":")[0])
            ),
            "search": lambda value: any(
                value.lower() in part.lower() for part in parts
            ),
            "tag": lambda value: (
                {value} <= set(self.tags)
                if isinstance(value, str)
                else set(value) <= set(self.tags)
            ),
            "state": lambda value: self.is_paused == (value == "paused"),
            "task_type": lambda value: self.is_periodic == (value == "periodic"),
        }
        return all(checks[name](value) for name, value in wanted.items())


TAGS = ("red", "blue", "Blue")
HOSTS = ("a.example", "A.example:8080", "b.example")
samples = st.lists(
    st.builds(
        Sample,
        st.sampled_from(["", "x", "x/1", "x/2", "y%", "y_1", "Ünï"]),
        st.lists(st.sampled_from(TAGS), unique=True).map(tuple),
        st.sampled_from(HOSTS),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda sample: sample.name or object(),
)
filters = st.dictionaries(
    st.sampled_from(
        ["name", "name_prefix", "host", "search", "tag", "state", "task_type"]
    ),
    st.none(),
    min_size=1,
    max_size=3,
).flatmap(
    lambda names: st.fixed_dictionaries(
        {
            name: {
                "name": st.sampled_from(["x", "x/1", "y%", "ünï"]),
                "name_prefix": st.sampled_from(["x", "x/", "y_", "y%", "Ü", "%"]),
                "host": st.sampled_from(["a.EXAMPLE", "a.example:8080", "example"]),
                "search": st.sampled_from(["X/", "blue", "example", "%", "8080"]),
                "tag": st.one_of(
                    st.sampled_from(TAGS),
                    st.lists(st.sampled_from(TAGS), min_size=1, max_size=3),
                ),
                "state": st.sampled_from(["active", "paused"]),
                "task_type": st.sampled_from(["periodic", "one_time"]),
            }[name]
            for name in names
        }
    )
)


@given(samples, filters)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_filter_finds_what_the_model_and_the_list_do(
    api: APIClient,
    user: User,
    make_task: MakeTask,
    wanted_tasks: list[Sample],
    wanted: dict[str, Any],
) -> None:
    expected = set()
    for sample in wanted_tasks:
        task = make_task(
            name=sample.name,
            tags=sample.tags,
            url=f"http://{sample.host}/hook",
            schedule=Interval(timezone.now(), timedelta(hours=2))
            if sample.is_periodic
            else None,
        )
        if sample.is_paused:
            pausing.pause_tasks(user, [str(task.pk)], now=timezone.now())
        if sample.is_wanted(wanted):
            expected.add(str(task.pk))
    try:
        query = {**wanted, "limit": 1000}
        listed = api.get("/tasks/", query).json()["tasks"]
        assert {task["id"] for task in listed} == expected

        pause(api, wanted, reason=REASON)

        held = Task.objects.filter(hold_reason=REASON).values_list("pk", flat=True)
        assert set(map(str, held)) == expected
    finally:
        for task_id in Task.objects.filter(ended_at=None).values_list("pk", flat=True):
            api.delete(f"/tasks/{task_id}")
        Task.objects.update(hold_reason="")


def test_the_entry_names_the_user_where_a_deletion_finds_the_name(
    user: User, colleague: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    accounts.change_user(colleague, role=Role.ADMIN)
    make_task(name="mine", tags=("t",))

    pause(client_for(colleague), {"tag": "t", "owner": user.name})

    changes = AuditEntry.objects.get(action="task.pause").changes
    assert changes == {
        "filter": [None, {"tag": "t"}],
        "count": [None, 1],
        "user": [None, user.name],
    }


def test_a_task_that_left_the_filter_while_the_call_waited_stays_as_it_is(
    user: User, client_for: ClientFor, make_task: MakeTask
) -> None:
    first, second = (make_task(name=name, tags=("t",)) for name in ("a", "b"))
    answers: list[Any] = []

    def work() -> None:
        try:
            answers.append(pause(client_for(user), {"tag": "t"}))
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        Task.objects.select_for_update().get(pk=first.pk)
        thread.start()
        while not is_a_lock_awaited():
            pass
        Task.objects.filter(pk=first.pk).update(tags=[])
        pausing.pause_tasks(user, [str(second.pk)], now=timezone.now())
    thread.join()

    assert answers[0].json()["count"] == 0
    assert paused_names() == {"b"}
    assert AuditEntry.objects.filter(action="task.pause").count() == 1
