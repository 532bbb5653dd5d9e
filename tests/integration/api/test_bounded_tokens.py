"""A token with bounds makes what they allow, reaches what it made, and mints nothing wider."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, Token, User
from tasks_api.models import Task
from tests.integration.support.routes import all_routes
from tests.integration.support.token_clients import client_with_token

pytestmark = pytest.mark.django_db

BOUNDS: dict[str, Any] = {
    "hosts": ["api.example.com"],
    "paths": ["/hooks/"],
    "methods": ["POST"],
    "tags": ["agent"],
    "runs_per_day": 100,
    "horizon": 7 * 24 * 3600,
    "renew_within": 7 * 24 * 3600,
}
URL = "https://api.example.com/hooks/a"


def in_hours(hours: float) -> str:
    return (timezone.now() + timedelta(hours=hours)).isoformat()


def one_time(**more: Any) -> dict[str, Any]:
    return {
        "task_type": "one_time",
        "run_datetime": in_hours(1),
        "url": URL,
        "post_data": {},
        **more,
    }


def client_of(token: str) -> APIClient:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api


def issue(api: APIClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/tokens/", body, format="json")
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
def wide(user: User, settings: LazySettings) -> APIClient:
    settings.SCHEDULER_MIN_FREQUENCY = 3600
    return client_with_token(user)


@pytest.fixture
def made(wide: APIClient) -> dict[str, Any]:
    return issue(wide, scope="write", bounds=BOUNDS)


@pytest.fixture
def narrow(made: dict[str, Any]) -> APIClient:
    return client_of(made["token"])


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["limit"]


def test_bounds_are_shown_with_the_token(wide: APIClient, made: dict[str, Any]) -> None:
    shown = wide.get(f"/tokens/{made['id']}/").json()

    assert shown["bounds"] == made["bounds"] == BOUNDS
    assert shown["renew_by"] == made["renew_by"]
    others = wide.get("/tokens/").json()["tokens"]
    assert [("bounds" in each) for each in others] == [True, False]


def test_what_the_bounds_allow_is_made_with_their_tags(narrow: APIClient) -> None:
    answer = narrow.post("/tasks/", one_time(tags=["mine"]), format="json")

    assert answer.status_code == 201
    shown = narrow.get(answer["Location"]).json()
    assert shown["tags"] == ["mine", "agent"]


@pytest.mark.parametrize(
    ("more", "bound"),
    [
        ({"url": "https://evil.example/hooks/a"}, "hosts"),
        ({"url": "https://api.example.com.evil.example/hooks/a"}, "hosts"),
        ({"url": "https://api.example.com:8443/hooks/a"}, "hosts"),
        ({"url": "https://evil.example:443/hooks/?https://api.example.com"}, "hosts"),
        ({"url": "https://api.example.com/"}, "paths"),
        ({"url": "https://api.example.com/hooks"}, "paths"),
        ({"url": "https://api.example.com/hooks/../admin"}, "paths"),
        ({"url": "https://api.example.com/hooks/%2e%2e/admin"}, "paths"),
        ({"url": "https://api.example.com/hooks/%252e%252e/admin"}, "paths"),
        ({"url": "https://api.example.com/hooks/..;/admin"}, "paths"),
        ({"url": "https://api.example.com/hooks/%2e%2e%2fadmin"}, "paths"),
        ({"url": "https://api.example.com/hooks/..%5cadmin"}, "paths"),
        ({"method": "DELETE"}, "methods"),
        ({"headers": {"X-HTTP-Method-Override": "DELETE"}}, "headers"),
        ({"headers": {"X_Original_Url": "/admin"}}, "headers"),
        ({"run_datetime": "2100-01-01T00:00:00"}, "horizon"),
        ({"url": None, "queue": "mail"}, "queues"),
    ],
)
def test_what_lies_outside_is_refused(
    narrow: APIClient, more: dict[str, Any], bound: str
) -> None:
    body = one_time(**more)
    periodic = {"task_type": "periodic", "cron": "0 * * * *", "url": URL, "name": "p"}

    answers = [
        narrow.post("/tasks/", body, format="json"),
        narrow.post("/tasks/bulk/", {"tasks": [one_time(), body]}, format="json"),
        narrow.put("/tasks/by-name/x/", body, format="json"),
        narrow.post(
            "/tasks/apply/",
            {"tag": "t", "tasks": [{**body, "name": "n"}]},
            format="json",
        ),
    ]

    assert {refusal(each) for each in answers} == {(403, "out_of_bounds", bound)}
    endless = narrow.post("/tasks/", periodic, format="json")
    assert refusal(endless) == (403, "out_of_bounds", "horizon")
    assert not Task.objects.exists()


def test_an_edit_does_not_leave_the_bounds_whoever_makes_it(
    narrow: APIClient, wide: APIClient
) -> None:
    task = narrow.post("/tasks/", one_time(name="a"), format="json")["Location"]
    elsewhere = {"url": "https://evil.example/hooks/a"}

    for api in (narrow, wide):
        answer = api.patch(task, elsewhere, format="json")
        assert refusal(answer) == (403, "out_of_bounds", "hosts")
        named = api.put("/tasks/by-name/a/", one_time(**elsewhere), format="json")
        assert refusal(named) == (403, "out_of_bounds", "hosts")
        assert api.patch(task, {"tags": []}, format="json").status_code == 200
    assert Task.objects.get().tags == ["agent"]
    assert Task.objects.get().bounds is not None


def test_it_reaches_what_it_made_and_nothing_else(
    narrow: APIClient, wide: APIClient, made: dict[str, Any]
) -> None:
    own = narrow.post("/tasks/", one_time(), format="json").json()["id"]
    other = wide.post("/tasks/", one_time(name="other"), format="json").json()["id"]

    for path, missing in (("", 404), ("next/", 404), ("runs/", 404)):
        assert narrow.get(f"/tasks/{own}/{path}").status_code == 200
        assert narrow.get(f"/tasks/{other}/{path}").status_code == missing
    assert narrow.delete(f"/tasks/{other}/").status_code == 403
    for verb in ("pause", "resume", "run"):
        assert narrow.post(f"/tasks/{other}/{verb}/").status_code == 403
    named = narrow.put("/tasks/by-name/other/", one_time(), format="json")
    assert named.status_code == 403
    plan = {"tag": "x", "tasks": [one_time(name="other")]}
    assert narrow.post("/tasks/apply/", plan, format="json").status_code == 403
    assert wide.get(f"/tasks/{own}/").status_code == 200
    listed = narrow.get("/tasks/").json()
    assert (listed["count"], [each["id"] for each in listed["tasks"]]) == (1, [own])
    assert narrow.get("/tasks/?owner=all").status_code == 400
    assert narrow.delete(f"/tasks/{own}/").status_code == 200


def test_an_apply_removes_only_what_the_token_made(
    narrow: APIClient, wide: APIClient
) -> None:
    body = {"tag": "t", "tasks": [one_time(name="keep")]}
    assert wide.post("/tasks/apply/", body, format="json").status_code == 200
    listed = {"tag": "t", "tasks": [one_time(name="own")]}
    assert narrow.post("/tasks/apply/", listed, format="json").status_code == 200

    gone = narrow.post("/tasks/apply/", {"tag": "t", "tasks": []}, format="json")

    assert gone.json()["counts"]["delete"] == 1
    alive = Task.objects.filter(ended_at=None)
    assert list(alive.values_list("name", flat=True)) == ["keep"]


REACHED = {
    "tasks", "create-tasks", "named-task", "apply-tasks", "preview-task", "task",
    "task-alias", "pause-task", "resume-task", "pause-tasks", "resume-tasks",
    "tokens", "renew-token", "run-task", "next-fire-times", "task-runs", "run",
    "redrive-run", "cancel-run", "cron-jobs", "rest-jobs", "rest-job", "usage",
}  # fmt: skip


def test_every_other_route_is_closed_to_it(narrow: APIClient, user: User) -> None:
    """Who adds a view says in `bounded_methods` if tokens with bounds may call it."""
    open_to_it = set()
    for route in all_routes():
        view = getattr(route.callback, "view_class", None) or getattr(
            route.callback, "cls", None
        )
        if getattr(view, "bounded_methods", ()):
            open_to_it.add(route.name)
    # The root shows a page to browsers, and is the API of cron jobs to others.
    assert open_to_it | {"cron-jobs"} == REACHED

    values = {"name": "ann"}
    for path in (
        "/runs/", "/tokens/", "/users/", "/users/ann/", "/audit/",
        "/signing-secrets/", "/channels/", "/rules/", "/stats/", "/forecast/",
        "/account/", "/queues/", "/next?queue=a",
    ):  # fmt: skip
        assert narrow.get(path, values).status_code == 403, path
    for path in ("/enqueue", "/runs/redrive/", "/runs/cancel/", "/users/"):
        assert narrow.post(path, {}, format="json").status_code == 403, path


def test_it_mints_no_wider_token(narrow: APIClient) -> None:
    for bounds in (
        {"hosts": ["api.example.com", "evil.example"]},
        {"paths": ["/"]},
        {"paths": ["/hooks"]},
        {"methods": ["POST", "GET"]},
        {"runs_per_day": 101},
        {"horizon": 8 * 24 * 3600},
        {"renew_within": 8 * 24 * 3600},
    ):
        answer = narrow.post("/tokens/", {"bounds": bounds}, format="json")
        assert refusal(answer)[:2] == (403, "out_of_bounds"), bounds
    same = issue(narrow)
    fewer = issue(narrow, bounds={"runs_per_day": 5, "tags": ["child"]})

    assert same["bounds"] == BOUNDS
    assert fewer["bounds"] == {
        **BOUNDS,
        "runs_per_day": 5,
        "tags": ["agent", "child"],
    }
    answer = client_of(same["token"]).post(
        "/tasks/", one_time(url="https://evil.example/"), format="json"
    )
    assert refusal(answer) == (403, "out_of_bounds", "hosts")
    assert narrow.post("/tokens/", {"user": "adam"}, format="json").status_code == 403


def test_a_parent_reaches_what_its_children_made_and_not_the_reverse(
    narrow: APIClient,
) -> None:
    child = client_of(issue(narrow, bounds={"runs_per_day": 5})["token"])
    of_child = child.post("/tasks/", one_time(), format="json")["Location"]
    of_parent = narrow.post("/tasks/", one_time(), format="json")["Location"]

    assert narrow.get(of_child).status_code == 200
    assert child.get(of_parent).status_code == 404


def test_an_administrator_with_bounds_reaches_no_more(
    user: User, colleague: User
) -> None:
    services.change_user(user, role=Role.ADMIN)
    admin = client_with_token(user)
    narrow = client_of(issue(admin, bounds=BOUNDS)["token"])
    other = client_with_token(colleague).post("/tasks/", one_time(), format="json")

    assert narrow.get(other["Location"]).status_code == 404
    assert narrow.post("/users/", {"name": "eve"}, format="json").status_code == 403


def test_only_a_call_for_it_renews(
    narrow: APIClient, wide: APIClient, made: dict[str, Any], stranger: User
) -> None:
    past = timezone.now() - timedelta(days=6)
    bounds = Token.objects.get(uuid=made["id"]).bounds
    assert bounds is not None
    type(bounds).objects.update(ends_at=past + timedelta(days=7))
    narrow.post("/tasks/", one_time(), format="json")
    bounds.refresh_from_db()
    assert bounds.ends_at == past + timedelta(days=7)
    path = f"/tokens/{made['id']}/renew/"

    for api in (narrow, wide):
        assert api.post(path).json()["renew_by"] > made["renew_by"][:10]
    assert client_with_token(stranger).post(path).status_code == 404
    child = client_of(issue(narrow, bounds={"tags": ["x"]})["token"])
    assert child.post(path).status_code == 404
    plain = issue(wide)
    assert wide.post(f"/tokens/{plain['id']}/renew/").status_code == 409


def test_a_rotated_token_keeps_its_bounds(
    wide: APIClient, made: dict[str, Any]
) -> None:
    rotated = wide.post(f"/tokens/{made['id']}/rotate/").json()

    assert rotated["bounds"] == BOUNDS
    narrow = client_of(rotated["token"])
    assert narrow.post("/tokens/", {"bounds": {"horizon": 1}}, format="json")
    assert Token.objects.get(uuid=rotated["id"]).bounds_id == (
        Token.objects.get(uuid=made["id"]).bounds_id
    )


def test_the_older_formats_refuse_in_their_own_shapes(narrow: APIClient) -> None:
    job = {"id": "a", "endpoint": "https://evil.example/", "payload": 1}
    cron = narrow.post("/", {**job, "cron": "0 * * * *"}, format="json")
    task = {"method": "POST", "body": {}, "expected_range": "200-299"}
    body = {
        "task": {**task, "uri": "https://evil.example/"},
        "schedule": in_hours(1),
    }
    rest = narrow.post("/api/v1/jobs", body, format="json")

    assert (cron.status_code, rest.status_code) == (403, 403)
    assert cron["Content-Type"].startswith("text/plain")
    assert b"hosts" in cron.content
    assert "hosts" in rest.json()["message"]
    body = {**body, "task": {**task, "uri": URL}}
    link = narrow.post("/api/v1/jobs", body, format="json").json()["link"]
    assert narrow.get(link).json()["status"] == "PENDING"


def test_a_quota_of_the_token_holds_for_its_tasks(wide: APIClient) -> None:
    narrow = client_of(issue(wide, bounds={"tasks": 2, "payload_bytes": 20})["token"])
    large = one_time(post_data={"a": "x" * 20})

    answer = narrow.post("/tasks/", large, format="json")
    assert refusal(answer) == (403, "quota_exceeded", "payload_bytes")
    two = {"tasks": [one_time(), one_time()]}
    assert narrow.post("/tasks/bulk/", two, format="json").status_code == 201
    answer = narrow.post("/tasks/", one_time(), format="json")
    assert refusal(answer) == (403, "quota_exceeded", "tasks")
    assert wide.post("/tasks/", one_time(), format="json").status_code == 201


@pytest.mark.parametrize(
    ("bounds", "field"),
    [
        ({}, "bounds"),
        ([], "bounds"),
        ("all", "bounds"),
        ({"host": ["a"]}, "host"),
        ({"hosts": "a"}, "bounds.hosts"),
        ({"hosts": [7]}, "bounds.hosts"),
        ({"hosts": ["a/b"]}, "bounds.hosts"),
        ({"hosts": ["user@a"]}, "bounds.hosts"),
        ({"hosts": ["*"]}, "bounds.hosts"),
        ({"hosts": ["a:0"]}, "bounds.hosts"),
        ({"hosts": [""]}, "bounds.hosts"),
        ({"hosts": ["a"] * 101}, "bounds.hosts"),
        ({"paths": ["hooks"]}, "bounds.paths"),
        ({"paths": ["/a/../b"]}, "bounds.paths"),
        ({"methods": ["TRACE"]}, "bounds.methods"),
        ({"tags": [""]}, "bounds.tags"),
        ({"runs_per_day": 0}, "bounds.runs_per_day"),
        ({"runs_per_day": 100_001}, "bounds.runs_per_day"),
        ({"runs_per_day": True}, "bounds.runs_per_day"),
        ({"horizon": -1}, "bounds.horizon"),
        ({"renew_within": 1e99}, "bounds.renew_within"),
    ],
)
def test_wrong_bounds_are_refused(wide: APIClient, bounds: Any, field: str) -> None:
    answer = wide.post("/tokens/", {"bounds": bounds}, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert Token.objects.count() == 1


def test_a_revoked_token_is_renewed_by_others(
    wide: APIClient, made: dict[str, Any]
) -> None:
    wide.delete(f"/tokens/{made['id']}/")

    answer = wide.post(f"/tokens/{made['id']}/renew/")

    assert answer.status_code == 200
    assert answer.json()["revoked_at"]
    assert client_of(made["token"]).get("/usage/").status_code == 401


def test_usage_shows_what_the_token_has_used(
    wide: APIClient, narrow: APIClient
) -> None:
    narrow.post("/tasks/", one_time(), format="json")

    shown = narrow.get("/usage/").json()["token"]

    quotas = {each["quota"]: each for each in shown["quotas"]}
    assert quotas["tasks"]["used"] == 1
    assert (quotas["runs_per_day"]["limit"], quotas["runs_per_day"]["used"]) == (100, 0)
    assert shown["renew_by"]
    assert wide.get("/usage/").json()["token"] is None


def test_requests_of_the_token_are_counted_apart(wide: APIClient) -> None:
    narrow = client_of(issue(wide, bounds={"requests_per_minute": 1000})["token"])

    answer = narrow.get("/usage/")

    assert answer["RateLimit-Policy"] == '"token";q=1000;w=60'
    assert "RateLimit" not in wide.get("/usage/")
