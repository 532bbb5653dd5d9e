"""Lanes through the API: limits, tasks that belong to them, pauses and refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from tasks_api.models import Lane, LaneCeiling, Task
from tests.conftest import ClientFor, tenant_of
from tests.integration.support.audit_log import logged_actions
from tests.integration.support.lane_rows import run_in_lane
from tests.integration.support.stored_runs import run_ids_of, store_run

pytestmark = pytest.mark.django_db

CRM: dict[str, Any] = {
    "name": "crm",
    "host": "api.example.com",
    "rate": {"limit": 20, "per": "second", "burst": 4},
    "concurrency": 5,
    "breaker": {"after": 10, "for": 30},
}


@pytest.fixture
def admin(tenant_admin: User, client_for: ClientFor) -> APIClient:
    return client_for(tenant_admin)


def make_lane(admin: APIClient, **given: Any) -> Any:
    answer = admin.post("/lanes/", {"name": "crm", **given}, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


def make_task(
    api: APIClient, url: str = "https://api.example.com/x", **more: Any
) -> Any:
    body = {
        "task_type": "one_time",
        "url": url,
        "post_data": {},
        "run_datetime": (timezone.now() + timedelta(hours=1)).isoformat(),
        **more,
    }
    return api.post("/tasks/", body, format="json")


def lane_of(answer: Any) -> str | None:
    lane = Task.objects.get(pk=answer.json()["id"]).lane
    return lane.name if lane else None


def error(answer: Any) -> str:
    return str(answer.json()["error"]["message"])


def test_a_lane_is_shown_with_its_limits_and_its_state(
    admin: APIClient, api: APIClient
) -> None:
    made = admin.post("/lanes/", CRM, format="json")

    assert made.status_code == 201
    assert made["Location"] == "/lanes/crm/"
    shown = api.get("/lanes/crm/").json()
    assert made.json() | {"state": shown["state"]} == shown
    assert {name: made.json()[name] for name in CRM} == CRM
    state = made.json()["state"]
    assert (state["waiting"], state["running"], state["paused"]) == (0, 0, False)
    assert (state["rate_share"], state["breaker"]) == (1.0, "closed")
    listed = api.get("/lanes/").json()
    assert [lane["name"] for lane in listed["lanes"]] == ["crm"]
    assert [action for _, action, *_ in logged_actions()][-1:] == [
        "lane.create"
    ] or any("lane.create" in entry for entry in logged_actions())


def test_tasks_belong_to_the_lane_that_they_name_or_to_that_of_their_host(
    admin: APIClient, api: APIClient
) -> None:
    before = make_task(api)
    make_lane(admin, host="api.example.com")
    make_lane(admin, name="bulk")

    by_host, by_name = make_task(api), make_task(api, lane="bulk")
    other = make_task(api, "https://other.example.com/")
    with_credentials = make_task(api, "https://u:p@API.example.com/x?y=//z")

    assert lane_of(before) == lane_of(by_host) == lane_of(with_credentials) == "crm"
    assert lane_of(by_name) == "bulk"
    assert lane_of(other) is None
    assert api.get(f"/tasks/{by_name.json()['id']}/").json()["lane"] == "bulk"
    assert "lane" not in api.get(f"/tasks/{by_host.json()['id']}/").json()


def test_a_changed_task_changes_its_lane(admin: APIClient, api: APIClient) -> None:
    make_lane(admin, host="api.example.com")
    make_lane(admin, name="bulk")
    path = f"/tasks/{make_task(api, lane='bulk').json()['id']}/"

    def patch(**given: Any) -> str | None:
        answer = api.patch(path, given, format="json")
        assert answer.status_code == 200, answer.json()
        lane = Task.objects.get().lane
        return lane.name if lane else None

    assert patch(lane=None) == "crm"
    assert patch(url="https://other.example.com/") is None
    assert patch(lane="bulk") == "bulk"


def test_a_task_cannot_name_a_lane_that_is_not_there(
    admin: APIClient, api: APIClient
) -> None:
    answer = make_task(api, lane="crm")

    assert (answer.status_code, error(answer)) == (400, "There is no lane crm")
    assert not Task.objects.exists()


def test_a_lane_of_another_tenant_is_none(
    admin: APIClient, stranger: User, client_for: ClientFor
) -> None:
    make_lane(admin, host="api.example.com")
    other = client_for(stranger)

    assert other.get("/lanes/crm/").status_code == 404
    assert other.get("/lanes/").json()["lanes"] == []
    assert make_task(other, lane="crm").status_code == 400
    assert lane_of(make_task(other)) is None


def test_members_read_lanes_and_do_not_change_them(
    admin: APIClient, api: APIClient
) -> None:
    make_lane(admin)

    assert api.get("/lanes/crm/").status_code == 200
    for answer in (
        api.post("/lanes/", {"name": "x"}, format="json"),
        api.patch("/lanes/crm/", {"concurrency": 1}, format="json"),
        api.post("/lanes/crm/pause/", {}, format="json"),
        api.post("/lanes/crm/resume/"),
        api.delete("/lanes/crm/"),
    ):
        assert answer.status_code == 403


def test_given_limits_change_and_null_takes_them_away(admin: APIClient) -> None:
    admin.post("/lanes/", CRM, format="json")
    change = {"rate": {"limit": 5, "per": "minute"}, "concurrency": None}

    changed = admin.patch("/lanes/crm/", change, format="json").json()

    assert changed["rate"] == {"limit": 5, "per": "minute", "burst": 1}
    assert (changed["concurrency"], changed["breaker"]) == (None, CRM["breaker"])
    # All slots from before the change are over when the new limits begin to count.
    next_slot_at = Lane.objects.get().next_slot_at
    assert next_slot_at is not None
    assert next_slot_at > timezone.now() + timedelta(seconds=1)


def test_a_lane_with_tasks_stays(admin: APIClient, api: APIClient) -> None:
    make_lane(admin, host="api.example.com")
    make_task(api)
    make_task(api)

    refused = admin.delete("/lanes/crm/")
    assert (refused.status_code, error(refused)) == (409, "2 tasks belong to this lane")
    admin.patch("/lanes/crm/", {"host": None}, format="json")
    assert admin.delete("/lanes/crm/").status_code == 200

    assert admin.get("/lanes/crm/").status_code == 404
    assert set(Task.objects.values_list("lane", flat=True)) == {None}


def test_a_name_and_a_host_are_given_once(admin: APIClient) -> None:
    make_lane(admin, host="api.example.com")

    again = admin.post("/lanes/", {"name": "crm"}, format="json")
    other = admin.post(
        "/lanes/", {"name": "b", "host": "API.example.com"}, format="json"
    )

    assert (again.status_code, error(again)) == (
        409,
        "There is a lane with the name crm already",
    )
    assert (other.status_code, error(other)) == (
        409,
        "There is a lane with the host api.example.com already",
    )


def test_a_pause_says_why_and_until_when(admin: APIClient, api: APIClient) -> None:
    make_lane(admin)
    until = timezone.now() + timedelta(hours=1)
    hold = {"reason": "it moves", "until": until.isoformat()}

    paused = admin.post("/lanes/crm/pause/", hold, format="json").json()["state"]
    resumed = admin.post("/lanes/crm/resume/").json()["state"]

    assert (paused["paused"], paused["reason"]) == (True, "it moves")
    assert paused["next_slot_at"] == paused["until"]
    assert (resumed["paused"], resumed["reason"], resumed["until"]) == (
        False,
        None,
        None,
    )
    past = {"until": "2020-01-01T00:00:00Z"}
    assert admin.post("/lanes/crm/pause/", past, format="json").status_code == 400


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"host": "https://a.example"}, "host"),
        ({"host": "a.example/x"}, "host"),
        ({"host": "u@a.example"}, "host"),
        ({"host": "a.example\n"}, "host"),
        ({"host": []}, "host"),
        ({"host": "a" * 256}, "host"),
        ({"rate": 5}, "rate"),
        ({"rate": {}}, "rate.limit"),
        ({"rate": {"limit": 0}}, "rate.limit"),
        ({"rate": {"limit": 10**30}}, "rate.limit"),
        ({"rate": {"limit": True}}, "rate.limit"),
        ({"rate": {"limit": 5, "per": "day"}}, "rate.per"),
        ({"rate": {"limit": 5, "per": ["second"]}}, "rate.per"),
        ({"rate": {"limit": 5, "burst": 6}}, "rate.burst"),
        ({"rate": {"limit": 5, "bursts": 6}}, "rate.bursts"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "5"}, "concurrency"),
        ({"breaker": {"for": 5}}, "breaker.after"),
        ({"breaker": {"after": 5, "for": -1}}, "breaker.for"),
        ({"limit": 5}, "limit"),
    ],
)
def test_a_wrong_value_is_refused_and_named(
    admin: APIClient, given: dict[str, Any], field: str
) -> None:
    answer = admin.post("/lanes/", {"name": "crm", **given}, format="json")

    assert answer.status_code == 400
    assert field in error(answer)
    assert not Lane.objects.exists()


@pytest.mark.parametrize("name", ["", "a b", "a/b", 5, "ü", "a" * 101, {}, "a\n"])
def test_a_task_needs_a_name_of_a_lane(api: APIClient, name: Any) -> None:
    answer = make_task(api, lane=name)

    assert answer.status_code == 400
    assert "lane" in error(answer)


def test_a_task_with_a_queue_has_no_lane(admin: APIClient, api: APIClient) -> None:
    make_lane(admin)
    body: dict[str, Any] = {"url": None, "queue": "q", "lane": "crm"}

    assert make_task(api, **body).status_code == 400


def test_a_lane_shows_no_slot_that_the_ceiling_forbids(
    admin: APIClient, user: User
) -> None:
    LaneCeiling.objects.create(tenant=tenant_of(user), max_per_second=1)
    make_lane(admin, rate={"limit": 1000})
    later = timezone.now() + timedelta(seconds=5)
    Lane.objects.update(next_slot_at=later)

    shown = admin.get("/lanes/crm/").json()["state"]["next_slot_at"]

    assert shown[:19] == f"{later:%Y-%m-%dT%H:%M:%S}"


def test_the_lists_of_tasks_and_runs_filter_by_lane(
    admin: APIClient, api: APIClient, user: User
) -> None:
    make_lane(admin, host="api.example.com")
    make_lane(admin, name="erp")
    by_host, by_name = make_task(api), make_task(api, lane="erp")
    for name, made in (("crm", by_host), ("erp", by_name)):
        task = Task.objects.get(pk=made.json()["id"])
        waits, ran = run_in_lane(task), store_run(task, ago=9, lane_id=task.lane_id)

        tasks = api.get(f"/tasks/?lane={name}").json()["tasks"]
        runs = run_ids_of(api.get(f"/runs/?lane={name}"))
        waiting = run_ids_of(api.get(f"/runs/?lane={name}&state=pending,retrying"))

        assert [each["id"] for each in tasks] == [str(task.pk)]
        assert runs == [str(waits.pk), str(ran.pk)]
        assert waiting == [str(waits.pk)]
    assert run_ids_of(api.get("/runs/?lane=no-such")) == []
    assert api.get("/runs/?lane=").status_code == 400
